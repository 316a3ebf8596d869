"""A bundle in fp8 loads back to exactly what was written, in both layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from golden_weights import golden_vae
from original_bundle import write_renamed_bundle
from safetensors.torch import load_file

from animate_pipelines.loading.networks import open_network
from animate_weights.errors import BundleError
from animate_weights.quantize import quantize_bundle
from animate_weights.quantized import dequantize, quantize_rowwise

_QUANTISED = "blocks.2.ffn.net.0.proj.weight"
_KEPT = "condition_embedder.text_embedder.linear_1.weight"


@pytest.fixture
def bundles(tiny_bundle: Path, tmp_path: Path) -> dict[str, Path]:
    saved = Path(shutil.copytree(tiny_bundle, tmp_path / "diffusers"))
    shutil.rmtree(saved / "vae")
    golden_vae().save_pretrained(saved / "vae")
    return {"diffusers": saved, "original": write_renamed_bundle(saved, tmp_path / "original")}


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_what_was_written_comes_back(layout: str, bundles: dict[str, Path], tmp_path: Path) -> None:
    source, destination = bundles[layout], tmp_path / "fp8"
    quantize_bundle(source, destination, lambda num_bytes: None)
    plain = load_file(bundles["diffusers"] / "transformer/diffusion_pytorch_model.safetensors")
    model = open_network(destination, "transformer").load(torch.float32, torch.device("cpu"))
    loaded = dict(model.named_parameters())
    assert loaded.keys() == plain.keys()
    changed = [name for name in plain if not torch.equal(loaded[name], plain[name].to(torch.bfloat16).float())]
    assert len(changed) == 64  # 5 blocks of 12 matrices, one face block of 4
    for name in changed:
        assert torch.equal(loaded[name], dequantize(*quantize_rowwise(plain[name])))
    assert _QUANTISED in changed
    assert _KEPT not in changed
    assert json.loads((destination / "manifest.json").read_text())["name"] == "tiny-fp8"


def test_the_file_holds_fp8_and_the_rest_is_shared(tiny_bundle: Path, tmp_path: Path) -> None:
    quantize_bundle(tiny_bundle, tmp_path / "fp8", lambda num_bytes: None)
    stored = load_file(tmp_path / "fp8/transformer/diffusion_pytorch_model.safetensors")  # the library reads it as well
    plain = load_file(tiny_bundle / "transformer/diffusion_pytorch_model.safetensors")
    values, scale = quantize_rowwise(plain[_QUANTISED])
    assert torch.equal(stored[_QUANTISED].view(torch.uint8), values.view(torch.uint8))
    assert torch.equal(stored[_QUANTISED.replace(".weight", ".weight_scale")], scale)
    assert stored[_KEPT].dtype == torch.bfloat16
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "fp8" / vae).samefile(tiny_bundle / vae)
    with pytest.raises(BundleError, match="exists already"):
        quantize_bundle(tiny_bundle, tmp_path / "fp8", lambda num_bytes: None)
