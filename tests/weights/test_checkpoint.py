"""Checkpoints give their tensors in every published form, quantised ones included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate_weights.checkpoint import Checkpoint, open_checkpoint
from animate_weights.errors import BundleError
from animate_weights.quantized import dequantize, quantize_rowwise

FP8 = torch.float8_e4m3fn


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def _save(folder: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    save_file(tensors, folder / "model.safetensors")
    return open_checkpoint(folder / "model.safetensors")


def test_kijais_first_form(weight: torch.Tensor, tmp_path: Path) -> None:
    scale = torch.tensor(0.25)
    stored = (weight / scale).to(FP8)
    checkpoint = _save(
        tmp_path,
        {
            "scaled_fp8": torch.zeros(2, dtype=FP8),
            "blocks.0.ffn.0.weight": stored,
            "blocks.0.ffn.0.scale_weight": scale,
            "blocks.0.ffn.0.bias": torch.ones(6, dtype=torch.bfloat16),
        },
    )
    assert set(checkpoint.tensors) == {"blocks.0.ffn.0.weight", "blocks.0.ffn.0.bias"}
    torch.testing.assert_close(checkpoint.read("blocks.0.ffn.0.weight"), stored.float() * 0.25, rtol=0, atol=0)
    assert checkpoint.read("blocks.0.ffn.0.bias").dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [FP8, torch.float8_e5m2])
def test_kijais_second_form_and_comfyui(dtype: torch.dtype, weight: torch.Tensor, tmp_path: Path) -> None:
    stored = weight.to(dtype)
    checkpoint = _save(
        tmp_path,
        {
            "model.diffusion_model.q.weight": stored,
            "model.diffusion_model.q.weight_scale": torch.tensor([2.0]),
            "model.diffusion_model.q.comfy_quant": torch.zeros(9, dtype=torch.uint8),
            "model.diffusion_model.q.input_scale": torch.tensor(1.0),
        },
    )
    assert set(checkpoint.tensors) == {"q.weight"}
    torch.testing.assert_close(checkpoint.read("q.weight"), stored.float() * 2, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [FP8, torch.int8])
def test_lightx2vs_scales_of_rows(dtype: torch.dtype, weight: torch.Tensor, tmp_path: Path) -> None:
    scale = torch.arange(1.0, 7.0)[:, None]
    stored = (weight * 10).to(dtype)
    checkpoint = _save(tmp_path, {"q.weight": stored, "q.weight_scale": scale})
    torch.testing.assert_close(checkpoint.read("q.weight"), stored.float() * scale, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"q.weight_scale": torch.ones(6, 1)}, r"q\.weight_scale is the scale of a tensor that is not there"),
        ({"q.weight": torch.zeros(6, 4, dtype=torch.int8)}, r"q\.weight is quantised and has no scale"),
        (
            {
                "q.weight": torch.zeros(6, 4).to(FP8),
                "k.weight": torch.zeros(2, 2).to(FP8),
                "k.scale_weight": torch.ones(1),
            },
            r"q\.weight is quantised and has no scale",
        ),
        ({"q.weight": torch.zeros(6, 4).to(FP8), "q.weight_scale": torch.ones(4)}, r"weight_scale has the wrong shape"),
    ],
)
def test_what_cannot_be_dequantised_is_refused(tensors: dict[str, torch.Tensor], message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message):
        _save(tmp_path, tensors)


def test_plain_fp8_is_what_it_says(weight: torch.Tensor, tmp_path: Path) -> None:
    assert torch.equal(_save(tmp_path, {"q.weight": weight.to(FP8)}).read("q.weight").float(), weight.to(FP8).float())


def test_our_fp8_keeps_three_bits_and_rows_of_zeros() -> None:
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    weight[5] = 0
    weight[7] *= 1e-6
    values, scale = quantize_rowwise(weight)
    assert (values.dtype, scale.dtype, tuple(scale.shape)) == (FP8, torch.float32, (64, 1))
    assert float(scale[5]) == 1.0
    restored = dequantize(values, scale)
    largest = weight.abs().amax(dim=1, keepdim=True)
    assert bool(((restored - weight).abs() <= weight.abs() / 16 + largest / 448 * 2**-9).all())
    torch.testing.assert_close(restored.abs().amax(dim=1, keepdim=True), largest)


@pytest.mark.parametrize("keep", [4, 40, -1])
def test_a_cut_off_file_is_refused(keep: int, weight: torch.Tensor, tmp_path: Path) -> None:
    save_file({"q.weight": weight}, tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:keep])
    with pytest.raises(BundleError, match=r"model\.safetensors cannot be read: it is (cut off|not a safetensors file)"):
        open_checkpoint(tmp_path / "model.safetensors")


def test_a_pickle_with_a_state_dict(weight: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"state_dict": {"q.weight": weight}, "epoch": 3}, tmp_path / "model.pth")
    assert torch.equal(open_checkpoint(tmp_path / "model.pth").read("q.weight"), weight)


def test_pickles_of_both_forms_and_cut_off_ones(weight: torch.Tensor, tmp_path: Path) -> None:
    archive, older, cut = (tmp_path / f"{name}.pth" for name in ("archive", "older", "cut"))
    torch.save({"a": weight}, archive)
    torch.save({"a": weight}, older, _use_new_zipfile_serialization=False)
    cut.write_bytes(archive.read_bytes()[:-10])
    for path in (archive, older):
        assert torch.equal(open_checkpoint(path).read("a"), weight)
    with pytest.raises(
        BundleError, match=r"^cut\.pth cannot be read: it is cut off: the end of the archive is missing$"
    ):
        open_checkpoint(cut)
