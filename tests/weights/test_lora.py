"""LoRAs are merged whole, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate_weights.errors import BundleError
from animate_weights.lora import Lora, merge_lora, read_lora


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
