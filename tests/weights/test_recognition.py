"""Bundles are told by their index files or telling tensors; a family that is known but not supported is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from animate_weights.errors import BundleError
from animate_weights.manifest import read_manifest
from animate_weights.recognition import recognise_family


def _write(folder: Path, name: str, values: dict[str, Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("name", "values", "family"),
    [
        ("model_index.json", {"_class_name": "WanAnimatePipeline"}, "wan-animate"),
        ("model_index.json", {"_class_name": "WanImageToVideoPipeline", "boundary_ratio": 0.9}, "wan-i2v"),
        ("model_index.json", {"_class_name": "WanPipeline", "expand_timesteps": True}, "wan-ti2v"),
        ("model_index.json", {"_class_name": "WanPipeline"}, "wan-t2v"),
        ("modular_model_index.json", {"_class_name": "WanAnimate2DistilledModularPipeline"}, "wan-animate-2"),
        ("config.json", {"_class_name": "WanModel_S2V", "model_type": "s2v"}, "wan-s2v"),
        ("config.json", {"_class_name": "WanAnimateModel"}, "wan-animate"),
        ("high_noise_model/config.json", {"_class_name": "WanModel", "model_type": "i2v"}, "wan-i2v"),
    ],
)
def test_index_files_tell_the_family(name: str, values: dict[str, Any], family: str, tmp_path: Path) -> None:
    found = recognise_family(_write(tmp_path, name, values))
    assert found is not None
    assert found.name == family


@pytest.mark.parametrize(
    ("tensors", "family"),
    [
        ({"face_adapter.fuser_blocks.0.q_norm.weight": (4,)}, "wan-animate"),
        ({"audio_injector.injector.0.q.weight": (4, 4)}, "wan-s2v"),
        ({"patch_embedding_mask.weight": (4, 4)}, "scail-2"),
        ({"blocks.0.block.self_attn.q.weight": (4, 4)}, "wan-animate-2"),
        ({"patch_embedding.weight": (8, 36, 1, 2, 2)}, "wan-i2v"),
        ({"patch_embedding.weight": (8, 36, 1, 2, 2), "img_emb.proj.1.weight": (4, 4)}, "wan-animate-2"),
        ({"patch_embedding.weight": (8, 48, 1, 2, 2)}, "wan-ti2v"),
        ({"patch_embedding.weight": (8, 16, 1, 2, 2)}, None),
    ],
)
def test_telling_tensors_tell_the_family(
    tensors: dict[str, tuple[int, ...]], family: str | None, tmp_path: Path
) -> None:
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, tmp_path / "model.safetensors")
    found = recognise_family(tmp_path)
    assert (found and found.name) == family


def test_a_known_family_that_is_not_supported_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path, "model_index.json", {"_class_name": "WanImageToVideoPipeline"})
    with pytest.raises(BundleError, match=r"Wan2.2-I2V-A14B \(image to video\).*supported are wan-animate") as refused:
        read_manifest(folder)
    assert (refused.value.value, refused.value.limit) == ("wan-i2v", ["wan-animate"])


def test_an_unknown_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a StableDiffusionPipeline"):
        read_manifest(_write(tmp_path, "model_index.json", {"_class_name": "StableDiffusionPipeline"}))


def test_a_manifest_of_a_family_that_is_not_installed_is_named_when_it_is_loaded(tmp_path: Path) -> None:
    from animate_pipelines.families.registry import load_models

    values = {"name": "other", "render_areas": [[64, 64]], "segment_frames": 5, "steps": 1, "shift": 1.0}
    folder = _write(tmp_path, "manifest.json", values | {"family": "elsewhere"})
    with pytest.raises(BundleError, match="of the family 'elsewhere'; installed are wan-animate"):
        load_models(folder)
