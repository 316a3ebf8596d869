"""Fixtures shared by all tests: the tiny bundle, made once, its networks, and the packaged puppets' readers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from animate_pipelines.families.registry import Models
    from animate_pipelines.perception.readers import Readers

# Tests run in several processes; more threads in each would only wait for one another.
torch.set_num_threads(1)

# Kernels run in Triton's interpreter where there is no GPU. Triton reads this when it is imported, and diffusers
# imports Triton; so nothing of ours is imported before.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# Recorded values and their limits are of AVX-512's sums in bf16; AMX has others. oneDNN reads this at its first use.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ANIMATE_HOME for this run."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def tiny_bundle(home: Path) -> Path:
    from animate_weights.bundles import find_bundle

    return find_bundle("tiny", home)


@pytest.fixture(scope="session")
def tiny_models(tiny_bundle: Path) -> Models:
    from animate_pipelines.families.registry import load_models

    return load_models(tiny_bundle)


@pytest.fixture(scope="session")
def short_models(tiny_models: Models) -> Models:
    """The tiny bundle with segments of 5 frames: three of them cost less than one of its own 17."""
    return dataclasses.replace(tiny_models, manifest=dataclasses.replace(tiny_models.manifest, segment_frames=5))


@pytest.fixture(scope="session")
def readers(home: Path) -> Readers:
    """The puppet bundle's detector and pose network."""
    from animate_pipelines.loading.readers import load_readers
    from animate_weights.bundles import find_bundle

    return load_readers(find_bundle("puppet", home))
