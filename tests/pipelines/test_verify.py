"""`verify_bundle` says the right thing of good, cut off, flipped, mixed-up and incomplete bundles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from golden_weights import golden_vae
from original_bundle import write_renamed_bundle
from real_size import T5_FILE, VAE_FILE, write_real_size_bundle
from safetensors.torch import load_file, save_file

from animate_pipelines.families.verify import Verdict, verify_bundle
from animate_weights.hashes import hash_files, write_hashes
from animate_weights.layouts import Layout

WEIGHTS = "diffusion_pytorch_model.safetensors"
# By layout: the last file of the transformer, the files of VAE and text encoder, and how many files there are.
FILES: dict[Layout, tuple[str, str, str, int]] = {
    "diffusers": (f"transformer/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors", 17),
    "original": ("diffusion_pytorch_model-00004-of-00004.safetensors", VAE_FILE, T5_FILE, 15),
}
EACH = pytest.mark.parametrize("layout", FILES)


@pytest.fixture(scope="module")
def originals(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    """The tiny bundle with a VAE of the published depth, in both layouts, with hashes."""
    folder = tmp_path_factory.mktemp("bundles")
    saved = Path(shutil.copytree(tiny_bundle, folder / "diffusers"))
    shutil.rmtree(saved / "vae")
    golden_vae().save_pretrained(saved / "vae")
    made: dict[Layout, Path] = {"diffusers": saved, "original": write_renamed_bundle(saved, folder / "original")}
    for path in made.values():
        write_hashes(path, hash_files(path, lambda num_bytes: None))
    return made


@pytest.fixture
def layout() -> Layout:
    return "diffusers"


@pytest.fixture
def bundle(layout: Layout, originals: dict[Layout, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals[layout], tmp_path / "bundle"))


def _verify(bundle: Path) -> dict[str, Verdict]:
    return {verdict.subject: verdict for verdict in verify_bundle(bundle, lambda num_bytes: None)}


def _bad(verdicts: dict[str, Verdict]) -> set[str]:
    return {subject for subject, verdict in verdicts.items() if verdict.state == "bad"}


@EACH
def test_a_good_bundle(layout: Layout, bundle: Path) -> None:
    verdicts = _verify(bundle)
    assert _bad(verdicts) == set()
    assert verdicts["bundle"].detail == f"tiny, {layout} layout"
    assert verdicts["bytes"].detail == f"{FILES[layout][3]} files are what they were"
    # the original has two blur kernels for each of the three motion blocks, and a face block's keys and values in one
    assert verdicts["transformer"].detail.startswith(f"{233 if layout == 'diffusers' else 233 + 6 - 2} tensors (")
    assert (verdicts["animate"].detail, verdicts["turbo"].detail) == ("works", "works")
    assert verdicts["replace"] == Verdict(subject="replace", state="note", detail="works, without relighting")


@EACH
def test_a_cut_off_file(layout: Layout, bundle: Path) -> None:
    transformer, _, text, _ = FILES[layout]
    for name in (transformer, text):
        (bundle / name).write_bytes((bundle / name).read_bytes()[:-1000])
    verdicts = _verify(bundle)
    assert f"{transformer} is not what it was" in verdicts["bytes"].detail
    assert f"{Path(transformer).name} cannot be read: it is cut off" in verdicts["transformer"].detail
    assert f"{Path(text).name} cannot be read: it is cut off" in verdicts["text_encoder"].detail
    assert verdicts["vae"].state == "ok"
    assert verdicts["animate"].detail == "does not work: bytes, text_encoder, transformer"


@EACH
def test_a_flipped_bit_is_found_by_its_hash_alone(layout: Layout, bundle: Path) -> None:
    name = FILES[layout][0]
    damaged = bytearray((bundle / name).read_bytes())
    damaged[-5] ^= 1
    (bundle / name).write_bytes(damaged)
    verdicts = _verify(bundle)
    assert verdicts["bytes"].detail == f"{name} is not what it was: its SHA-256 differs"
    assert verdicts["transformer"].state == "ok"
    assert _bad(verdicts) == {"bytes", "animate", "replace", "turbo"}


@EACH
def test_mixed_up_files(layout: Layout, bundle: Path) -> None:
    _, vae, text, _ = FILES[layout]
    pairs = (vae, text) if layout == "original" else (vae, f"transformer/{WEIGHTS}")
    (bundle / vae).unlink()
    shutil.copy(bundle / pairs[1], bundle / vae)
    verdicts = _verify(bundle)
    other = "text_encoder" if layout == "original" else "transformer"
    assert verdicts["vae"].detail == f"{Path(vae).name} holds a {other}, not the vae"
    assert verdicts["replace"].detail == "does not work: bytes, vae"


def test_a_lora_in_the_transformers_place(bundle: Path) -> None:
    (bundle / "transformer" / WEIGHTS).unlink()
    shutil.copy(bundle / "loras/lightx2v_4step.safetensors", bundle / "transformer" / WEIGHTS)
    assert _verify(bundle)["transformer"].detail == f"{WEIGHTS} holds a LoRA, not the transformer"


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
    assert verdicts["text_encoder"].detail == f"{T5_FILE} holds a vae, not the text_encoder"


@EACH
def test_values_that_are_not_finite_are_named(layout: Layout, bundle: Path) -> None:
    path = bundle / FILES[layout][0]
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 2 and tensor.is_floating_point())
    tensors[name].view(-1)[3] = float("nan")
    save_file(tensors, path)
    write_hashes(bundle, hash_files(bundle, lambda num_bytes: None))
    verdicts = _verify(bundle)
    assert f"{name} in {path.name} has values that are not finite" in verdicts["transformer"].detail
    assert verdicts["animate"].state == "bad"
