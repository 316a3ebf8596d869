"""What a server is told of a bundle that it serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate_pipelines.families.registry import load_models
from animate_weights.bundles import find_bundle


@pytest.mark.parametrize(
    ("bundle", "words"), [("puppet", "puppet reads drawn puppets only; real weights:"), ("tiny", "reads nothing")]
)
def test_what_a_bundle_does_not_read_is_told_before_any_job(bundle: str, words: str, tmp_path: Path) -> None:
    models = load_models(find_bundle(bundle, tmp_path), device="cpu")
    assert words in models.describe()["warning"]
