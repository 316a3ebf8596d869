"""The original SAM 2 checkpoint becomes transformers' tracker: every tensor of the real one, at real size, unread."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from transformers import Sam2VideoModel

from animate_pipelines.errors import BundleError
from animate_pipelines.perception.sam2_files import hiera_large_config, load_original, renamed

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    """The checkpoint's tensors on the meta device."""
    shapes = json.loads((GOLDEN / "sam2_hiera_large_shapes.json").read_text())
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def needed() -> dict[str, torch.Size]:
    with init_empty_weights():
        return {name: tensor.shape for name, tensor in Sam2VideoModel(hiera_large_config()).state_dict().items()}


def test_every_tensor_has_its_place(original: dict[str, torch.Tensor], needed: dict[str, torch.Size]) -> None:
    found = renamed(original, needed)
    assert len(original) == 900
    assert sum(tensor.numel() for tensor in original.values()) == 224_430_386
    assert {name: tensor.shape for name, tensor in found.items()} == needed


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("memory_attention.norm.weight", None, "layer_norm.weight is missing"),
        ("no_obj_ptr", (1, 255), r"no_object_pointer is \(1, 255\), not \(1, 256\)"),
        ("obj_ptr_tpos_proj.weight", (256, 64), "obj_ptr_tpos_proj.weight is not of this network"),
    ],
)
def test_what_does_not_fit_is_named(
    name: str,
    change: tuple[int, ...] | None,
    said: str,
    original: dict[str, torch.Tensor],
    needed: dict[str, torch.Size],
) -> None:
    tensors = {key: tensor for key, tensor in original.items() if key != name}
    if change is not None:
        tensors[name] = torch.empty(change, device="meta")
    with pytest.raises(BundleError, match=said):
        renamed(tensors, needed)


def test_rows_and_values_are_kept() -> None:
    """Two tensors of equal shape could be exchanged unseen by the test above."""
    marked = {
        "sam_prompt_encoder.point_embeddings.0.weight": torch.full((1, 2), 0.0),
        "sam_prompt_encoder.point_embeddings.1.weight": torch.full((1, 2), 1.0),
        "image_encoder.trunk.blocks.3.norm1.weight": torch.full((2,), 31.0),
        "image_encoder.trunk.blocks.3.norm2.weight": torch.full((2,), 32.0),
        "sam_mask_decoder.pred_obj_score_head.layers.0.weight": torch.full((2,), 40.0),
        "sam_mask_decoder.pred_obj_score_head.layers.1.weight": torch.full((2,), 41.0),
        "memory_encoder.mask_downsampler.encoder.3.bias": torch.full((2,), 53.0),
        "memory_encoder.mask_downsampler.encoder.4.bias": torch.full((2,), 54.0),
    }
    expected = {
        "prompt_encoder.point_embed.weight": torch.tensor([[0.0, 0.0], [1.0, 1.0]]),
        "vision_encoder.backbone.blocks.3.layer_norm1.weight": torch.full((2,), 31.0),
        "vision_encoder.backbone.blocks.3.layer_norm2.weight": torch.full((2,), 32.0),
        "mask_decoder.pred_obj_score_head.proj_in.weight": torch.full((2,), 40.0),
        "mask_decoder.pred_obj_score_head.layers.0.weight": torch.full((2,), 41.0),
        "memory_encoder.mask_downsampler.layers.1.conv.bias": torch.full((2,), 53.0),
        "memory_encoder.mask_downsampler.layers.1.layer_norm.bias": torch.full((2,), 54.0),
    }
    found = renamed(marked, {name: tensor.shape for name, tensor in expected.items()})
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "sam2_hiera_large.pt").write_bytes(b"no checkpoint")
    with pytest.raises(BundleError, match="cannot be read"):
        load_original(tmp_path / "sam2_hiera_large.pt")
