"""`verify_bundle` says the right thing of good, cut off, flipped, mixed-up and incomplete bundles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from real_size import T5_FILE, VAE_FILE, write_real_size_bundle
from safetensors.torch import load_file, save_file

from animate_pipelines.verify import Verdict, verify_bundle
from animate_weights.hashes import hash_files, write_hashes

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    write_hashes(folder, hash_files(folder, lambda num_bytes: None))
    return folder


def _verify(bundle: Path) -> dict[str, Verdict]:
    return {verdict.subject: verdict for verdict in verify_bundle(bundle, lambda num_bytes: None)}


def _bad(verdicts: dict[str, Verdict]) -> set[str]:
    return {subject for subject, verdict in verdicts.items() if verdict.state == "bad"}


def test_a_good_bundle(bundle: Path) -> None:
    verdicts = _verify(bundle)
    assert _bad(verdicts) == set()
    assert verdicts["bytes"].detail == "17 files are what they were"
    assert verdicts["transformer"].detail.startswith("233 tensors (233 float32)")
    assert (verdicts["animate"].detail, verdicts["turbo"].detail) == ("works", "works")
    assert verdicts["replace"] == Verdict(subject="replace", state="note", detail="works, without relighting")


def test_a_cut_off_file(bundle: Path) -> None:
    path = bundle / "transformer" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])
    verdicts = _verify(bundle)
    assert f"transformer/{WEIGHTS} is not what it was" in verdicts["bytes"].detail
    assert f"{WEIGHTS} cannot be read: it is cut off" in verdicts["transformer"].detail
    assert verdicts["vae"].state == "ok"
    assert verdicts["animate"].detail == "does not work: bytes, transformer"


def test_a_flipped_bit_is_found_by_its_hash_alone(bundle: Path) -> None:
    path = bundle / "text_encoder/model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    verdicts = _verify(bundle)
    assert verdicts["bytes"].detail == "text_encoder/model.safetensors is not what it was: its SHA-256 differs"
    assert verdicts["text_encoder"].state == "ok"
    assert _bad(verdicts) == {"bytes", "animate", "replace", "turbo"}


def test_mixed_up_files(bundle: Path) -> None:
    shutil.copy(bundle / "transformer" / WEIGHTS, bundle / "vae" / WEIGHTS)
    verdicts = _verify(bundle)
    assert f"in {WEIGHTS} is not part of the network" in verdicts["vae"].detail
    assert "more" in verdicts["vae"].detail
    assert "vae" in verdicts["replace"].detail


def test_a_lora_of_another_model_costs_its_mode_alone(bundle: Path) -> None:
    path = bundle / "loras/lightx2v_4step.safetensors"
    tensors = load_file(path)
    tensors["diffusion_model.blocks.39.self_attn.q.diff_b"] = torch.zeros(48)
    save_file(tensors, path)
    write_hashes(bundle, hash_files(bundle, lambda num_bytes: None))
    verdicts = _verify(bundle)
    assert "blocks.39.self_attn.q.diff_b matches no tensor" in verdicts["few-step LoRA"].detail
    assert _bad(verdicts) == {"few-step LoRA", "turbo"}


@pytest.mark.parametrize(
    ("gone", "subject"), [("tokenizer", "tokeniser"), ("process_checkpoint/det", "person detector"), ("vae", "vae")]
)
def test_what_is_missing_is_named(gone: str, subject: str, bundle: Path) -> None:
    shutil.rmtree(bundle / gone)
    verdicts = _verify(bundle)
    assert "lacks" in verdicts[subject].detail
    assert subject in verdicts["animate"].detail


def test_a_damaged_configuration(bundle: Path) -> None:
    config = bundle / "transformer/config.json"
    config.write_text(config.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": "two"'))
    assert "transformer cannot be built" in _verify(bundle)["transformer"].detail


def test_the_real_size_is_verified_by_name_and_shape(tmp_path: Path) -> None:
    bundle = write_real_size_bundle(tmp_path)
    verdicts = {v.subject: v for v in verify_bundle(bundle, lambda num_bytes: None, hashes=False)}
    assert verdicts["transformer"].detail == "1441 tensors (1441 bfloat16), 34.55 GB"
    assert verdicts["text_encoder"].detail.startswith("242 tensors (242 bfloat16)")
    shutil.copy(bundle / VAE_FILE, bundle / T5_FILE)
    verdicts = {v.subject: v for v in verify_bundle(bundle, lambda num_bytes: None, hashes=False)}
    assert verdicts["text_encoder"].detail == "token_embedding.weight is missing"
