"""Bundles are found, described and made."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch
from diffusers import WanAnimatePipeline

from animate_weights.bundles import find_bundle
from animate_weights.errors import BundleError, BundleNotFound
from animate_weights.manifest import DETECTOR_PATH, fingerprint, read_manifest
from animate_weights.random_weights import uniform


def test_the_tiny_bundle_is_made_once_and_is_the_same_everywhere(tiny_bundle: Path, tmp_path: Path) -> None:
    again = find_bundle("tiny", tmp_path)
    files = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tiny_bundle) for p in tiny_bundle.rglob("*") if p.is_file())
    assert [f for f in files if (again / f).read_bytes() != (tiny_bundle / f).read_bytes()] == []
    assert fingerprint(again) == fingerprint(tiny_bundle)
    made = (again / "model_index.json").stat().st_mtime_ns
    assert find_bundle("tiny", tmp_path) == again
    assert (again / "model_index.json").stat().st_mtime_ns == made


def test_diffusers_loads_the_tiny_bundle(tiny_bundle: Path) -> None:
    pipeline = WanAnimatePipeline.from_pretrained(tiny_bundle, local_files_only=True)
    assert pipeline.transformer.config.motion_encoder_size == 32
    assert pipeline.scheduler.config.flow_shift == 5.0


def test_onnx_graphs_are_of_a_version_that_runtimes_read(tiny_bundle: Path) -> None:
    session = onnxruntime.InferenceSession(str(tiny_bundle / DETECTOR_PATH), providers=["CPUExecutionProvider"])
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    assert (source.shape, result.shape) == ([1, 3, 640, 640], [1, 300, 6])


def test_a_plain_download_is_described_by_the_published_defaults(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    manifest = read_manifest(tmp_path)
    assert (manifest.segment_frames, manifest.steps, manifest.shift) == (77, 20, 5.0)
    assert manifest.turbo_lora is None


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"model_index\.json"):
        read_manifest(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "manifest.json").write_text('{"name": "x"}')
    with pytest.raises(BundleError, match="cannot be read"):
        read_manifest(tmp_path)
    with pytest.raises(BundleNotFound, match="there is no bundle 'nowhere'"):
        find_bundle("nowhere", tmp_path)


def test_uniform_is_the_published_generator() -> None:
    # first values of a tensor of this name as recorded beside the official goldens
    first = uniform("patch_embedding.weight", (256, 36, 1, 2, 2)).flatten()[:4] * (3 / 144) ** 0.5
    golden = torch.tensor([-0.07614727318286896, 0.07190423458814621, -0.05019615218043327, -0.10902956128120422])
    torch.testing.assert_close(first, golden)
