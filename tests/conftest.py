"""Fixtures shared by all tests: the tiny bundle, made once, and its networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animate_pipelines.models import Models, load_models
from animate_weights.bundles import find_bundle

# Tests run in several processes; more threads in each would only wait for one another.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ANIMATE_HOME for this run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def tiny_bundle(home: Path) -> Path:
    return find_bundle("tiny", home)


@pytest.fixture(scope="session")
def tiny_models(tiny_bundle: Path) -> Models:
    return load_models(tiny_bundle)
