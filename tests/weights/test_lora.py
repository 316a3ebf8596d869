"""LoRAs are merged whole, or refused by name."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate_weights.checkpoint import open_checkpoint
from animate_weights.errors import BundleError
from animate_weights.lora import Lora, merge_lora, read_lora
from animate_weights.lora_names import plain_key


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "blocks.0.attn1.to_q.weight": torch.randn(6, 4),
        "blocks.0.attn1.to_q.bias": torch.randn(6),
        "blocks.0.attn1.norm_q.weight": torch.randn(6),
        "blocks.0.scale_shift_table": torch.randn(1, 6, 6),
        "face_adapter.0.to_k.weight": torch.randn(3, 4),
        "face_adapter.0.to_v.weight": torch.randn(3, 4),
    }


def _read(tmp_path: Path, tensors: dict[str, torch.Tensor], strength: float = 1.0) -> Lora:
    save_file(tensors, tmp_path / "lora.safetensors")
    return read_lora(tmp_path / "lora.safetensors", strength=strength)


@pytest.mark.parametrize(
    ("prefix", "down", "up"),
    [
        ("diffusion_model.", "lora_down.weight", "lora_up.weight"),
        ("base_model.model.", "lora_A.weight", "lora_B.weight"),
        ("", "lora_A.default.weight", "lora_B.default.weight"),
    ],
)
@pytest.mark.parametrize("alpha", [None, 1.0])
def test_products_in_every_spelling(
    prefix: str, down: str, up: str, alpha: float | None, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    low, high = torch.randn(2, 4), torch.randn(6, 2)
    layer = f"{prefix}blocks.0.self_attn.q"
    tensors = {f"{layer}.{down}": low, f"{layer}.{up}": high}
    if alpha is not None:
        tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    before = weights["blocks.0.attn1.to_q.weight"].clone()
    merge_lora(weights, _read(tmp_path, tensors, strength=0.5))
    expected = before + high @ low * 0.5 * (1.0 if alpha is None else alpha / 2)
    torch.testing.assert_close(weights["blocks.0.attn1.to_q.weight"], expected)


def test_whole_tensor_deltas_and_split_rows(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in weights.items()}
    deltas = {
        "diffusion_model.blocks.0.self_attn.q.diff_b": torch.randn(6),
        "diffusion_model.blocks.0.self_attn.norm_q.diff": torch.randn(6),
        "diffusion_model.blocks.0.diff_m": torch.randn(1, 6, 6),
        "diffusion_model.face_adapter.fuser_blocks.0.linear1_kv.diff": torch.randn(6, 4),
    }
    merge_lora(weights, _read(tmp_path, deltas))
    q, norm, modulation, rows = deltas.values()
    for name, delta in {
        "blocks.0.attn1.to_q.bias": q,
        "blocks.0.attn1.norm_q.weight": norm,
        "blocks.0.scale_shift_table": modulation,
        "face_adapter.0.to_k.weight": rows[:3],
        "face_adapter.0.to_v.weight": rows[3:],
    }.items():
        torch.testing.assert_close(weights[name], before[name] + delta)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"blocks.9.self_attn.q.diff_b": torch.zeros(6)}, "matches no tensor"),
        ({"blocks.0.self_attn.q.diff_b": torch.zeros(5)}, "wrong shape"),
        ({"blocks.0.self_attn.q.hada_w1": torch.zeros(5)}, "no known kind"),
        ({"blocks.0.self_attn.q.lora_down.weight": torch.zeros(2, 4)}, "lacks blocks.0.self_attn.q.lora_up.weight"),
    ],
)
def test_what_does_not_match_is_refused_by_name(
    tensors: dict[str, torch.Tensor], message: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=message):
        merge_lora(weights, _read(tmp_path, tensors))


def test_the_relighting_lora_as_published(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    low, high = torch.randn(2, 4), torch.randn(6, 2)
    layer = "blocks.0.self_attn.q"
    pickled = {f"{layer}.lora_A.default.weight": low, f"{layer}.lora_B.default.weight": high}
    torch.save({"state_dict": pickled}, tmp_path / "relighting_lora.ckpt")
    folder = tmp_path / "relighting_lora"
    folder.mkdir()
    peft = {f"base_model.model.{layer}.lora_A.weight": low, f"base_model.model.{layer}.lora_B.weight": high}
    save_file(peft, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"lora_alpha": 6, "r": 2}')
    name = "blocks.0.attn1.to_q.weight"
    for path, scale in (
        (tmp_path / "relighting_lora.ckpt", 1),
        (folder, 3),
        (folder / "adapter_model.safetensors", 3),
    ):
        lora = read_lora(path)
        assert lora.targets == (name,)
        torch.testing.assert_close(lora.delta(name), high @ low * scale)
    (folder / "adapter_config.json").write_text('{"lora_alpha": 6, "r": 2, "use_rslora": true}')
    with pytest.raises(BundleError, match="use_rslora, which is not supported"):
        read_lora(folder)


def test_keys_and_values_of_a_face_block_take_their_halves_of_a_product(tmp_path: Path) -> None:
    low, high = torch.randn(2, 4), torch.randn(6, 2)
    layer = "diffusion_model.face_adapter.fuser_blocks.0.linear1_kv"
    lora = _read(tmp_path, {f"{layer}.lora_down.weight": low, f"{layer}.lora_up.weight": high})
    torch.testing.assert_close(lora.delta("face_adapter.0.to_k.weight"), (high @ low)[:3])
    torch.testing.assert_close(lora.delta("face_adapter.0.to_v.weight"), (high @ low)[3:])
    assert lora.delta("face_adapter.0.to_q.weight") is None


def test_code_in_a_pickle_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "lora.ckpt").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(BundleError, match=r"lora\.ckpt cannot be read"):
        read_lora(tmp_path / "lora.ckpt")
    assert not (tmp_path / "ran").exists()


def test_an_unreadable_file_is_a_bundle_error(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(BundleError, match=r"bad\.safetensors cannot be read"):
        read_lora(tmp_path / "bad.safetensors")


LAYER, TARGET = "diffusion_model.blocks.0.self_attn.q", "blocks.0.attn1.to_q.weight"
LOW, HIGH = torch.arange(8.0).reshape(2, 4), torch.arange(12.0).reshape(6, 2)
PRODUCT = {f"{LAYER}.lora_down.weight": LOW, f"{LAYER}.lora_up.weight": HIGH}
ADAPTER = "lora_adapter_metadata"
PATTERNS = {"r": 4, "lora_alpha": 4, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_q": 6}}


def _headed(tmp_path: Path, metadata: dict[str, str], tensors: dict[str, torch.Tensor] = PRODUCT) -> Lora:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "lora.safetensors", metadata)
    return read_lora(tmp_path / "lora.safetensors")


@pytest.mark.parametrize(
    ("metadata", "scale"),
    [
        ({}, 1.0),
        ({ADAPTER: json.dumps({"transformer.r": 2, "transformer.lora_alpha": 1})}, 0.5),
        ({ADAPTER: json.dumps({"r": 2, "lora_alpha": 8})}, 4.0),
        (
            {ADAPTER: json.dumps({"r": 4, "lora_alpha": 4, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_q": 6}})},
            3.0,
        ),
        ({"lora_alpha": "1", "rank": "2"}, 0.5),
        ({"ss_network_alpha": "4.0", "ss_network_dim": "2"}, 2.0),
        ({"ss_network_alpha": "Dynamic", "ss_network_dim": "Dynamic"}, 1.0),
    ],
)
def test_alpha_from_the_header(metadata: dict[str, str], scale: float, tmp_path: Path) -> None:
    lora = _headed(tmp_path, metadata)
    assert lora.problems({TARGET: (6, 4)}) == []
    torch.testing.assert_close(lora.delta(TARGET), HIGH @ LOW * scale)


@pytest.mark.parametrize(
    ("metadata", "alpha", "words"),
    [
        ({"lora_alpha": "1", "rank": "2"}, 2.0, "lora_alpha in the header says alpha 1"),
        ({"lora_alpha": "1", "rank": "3"}, None, "lora_alpha in the header says rank 3, the LoRA's .* has 2"),
    ],
)
def test_two_scales_are_an_error(metadata: dict[str, str], alpha: float | None, words: str, tmp_path: Path) -> None:
    own = {} if alpha is None else {f"{LAYER}.alpha": torch.tensor(alpha)}
    (problem,) = _headed(tmp_path, metadata, PRODUCT | own).problems({TARGET: (6, 4)})
    assert re.search(words, problem)


def test_two_statements_beside_the_factors_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match="lora_alpha in the header says alpha 1, ss_network_alpha in the header says 2"
    ):
        _headed(tmp_path, {"lora_alpha": "1", "ss_network_alpha": "2"})
    with pytest.raises(BundleError, match="sets use_dora, which is not supported"):
        _headed(tmp_path, {ADAPTER: json.dumps({"lora_alpha": 1, "use_dora": True})})


def test_halves_of_different_rank_and_wild_values_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    uneven = {f"{LAYER}.lora_down.weight": torch.zeros(3, 4), f"{LAYER}.lora_up.weight": HIGH}
    with pytest.raises(BundleError, match=r"self_attn\.q\.lora_down\.weight has the rank 3, .*lora_up\.weight has 2"):
        merge_lora(weights, _headed(tmp_path, {}, uneven))
    for value in (float("nan"), float("inf")):
        wild = {f"{LAYER}.lora_down.weight": LOW * value, f"{LAYER}.lora_up.weight": HIGH}
        with pytest.raises(BundleError, match=r"self_attn\.q\.lora_down\.weight has values that are not finite"):
            merge_lora(weights, _headed(tmp_path, {}, wild))


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("lora_unet_blocks_0_self_attn_q.lora_down.weight", "blocks.0.self_attn.q.lora_down.weight"),
        ("lora_unet_blocks_12_cross_attn_norm_k_img.diff", "blocks.12.cross_attn.norm_k_img.diff"),
        ("lora_unet_blocks_3_cross_attn_k_img.alpha", "blocks.3.cross_attn.k_img.alpha"),
        ("lora_unet_blocks_7_ffn_0.lora_up.weight", "blocks.7.ffn.0.lora_up.weight"),
        ("lora_unet_time_projection_1.lora_up.weight", "time_projection.1.lora_up.weight"),
        ("lora_unet_img_emb_proj_1.lora_up.weight", "img_emb.proj.1.lora_up.weight"),
        ("lora_unet_head_head.lora_up.weight", "head.head.lora_up.weight"),
        ("lora_unet_face_adapter_fuser_blocks_4_linear1_kv.alpha", "face_adapter.fuser_blocks.4.linear1_kv.alpha"),
        ("lora_unet_blocks_0_attn1_to_out_0.lora_up.weight", "blocks.0.attn1.to_out.0.lora_up.weight"),
        ("base_model.model.blocks.0.ffn.2.lora_A.style.weight", "blocks.0.ffn.2.lora_A.weight"),
        ("transformer.blocks.0.attn1.to_q.lora_B.default.weight", "blocks.0.attn1.to_q.lora_B.weight"),
    ],
)
def test_keys_of_every_trainer(key: str, plain: str) -> None:
    assert plain_key(key) == plain


def test_kohya_names_of_every_layer_lead_back(tmp_path: Path) -> None:
    """Of the layers of the published transformer: each with its dots as underscores comes back."""
    shapes = json.loads((Path(__file__).parents[1] / "golden/transformer_original_shapes.json").read_text())
    layers = {name.rpartition(".")[0] for name in shapes if name.endswith(".weight")}
    kept = {layer for layer in layers if not layer.startswith("motion_encoder.")}
    assert len(kept) > 400
    assert [
        layer for layer in kept if plain_key(f"lora_unet_{layer.replace('.', '_')}.alpha") != f"{layer}.alpha"
    ] == []


@pytest.mark.parametrize("other", ["blocks.0.self_attn.q", "lora_unet_blocks_0_self_attn_q", "blocks.0.attn1.to_q"])
def test_a_layer_in_two_spellings_is_an_error(other: str, tmp_path: Path) -> None:
    twice = PRODUCT | {f"{other}.lora_down.weight": LOW, f"{other}.lora_up.weight": HIGH}
    with pytest.raises(BundleError, match="in two spellings"):
        _headed(tmp_path, {}, twice)


FOREIGN = {
    "a GGUF file": b"GGUF\3\0\0\0" + bytes(64),
    "an ONNX model": b"\x08\x0a\x12\x07pytorch" + bytes(64),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "a web page": b"<!DOCTYPE html><html></html>",
    "a ZIP archive that torch did not write": b"",
    r"a pickle of Python objects \(torch\.nn\.modules\.linear\.Linear\)": b"",
    "neither safetensors nor a pickle": bytes(range(200, 250)),
}


@pytest.mark.parametrize("words", FOREIGN)
@pytest.mark.parametrize("name", ["x.safetensors", "x.gguf", "x.pt"])
def test_other_files_are_told_by_their_bytes(words: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FOREIGN[words])
    if "ZIP" in words:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif "Python objects" in words:
        torch.save(torch.nn.Linear(2, 2), path)
    words = words if name != "x.safetensors" or FOREIGN[words][:1] not in (b"", bytes([200])) else "safetensors file"
    for read in (read_lora, open_checkpoint):
        with pytest.raises(BundleError, match=words) as caught:
            read(path)
        assert "weights_only" not in caught.value.message


def test_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file(PRODUCT, tmp_path / "lora.bin")
    assert read_lora(tmp_path / "lora.bin").targets == (TARGET,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_weights_that_are_not_finite_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    values = torch.ones(4, 4)
    save_file({"whole": values.to(dtype), "wild": (values * float("nan")).to(dtype)}, tmp_path / "w.safetensors")
    checkpoint = open_checkpoint(tmp_path / "w.safetensors")
    checkpoint.read("whole")
    with pytest.raises(BundleError, match=r"wild in w\.safetensors has values that are not finite"):
        checkpoint.read("wild")
