"""The original layout loads through the real path and computes what the official code computed (recorded, fp32)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_weights import GOLDEN
from original_bundle import write_golden_bundle
from safetensors.torch import load_file

from animate_pipelines.diffusion.image_encoder import ImageEncoder
from animate_pipelines.diffusion.text import MAX_TOKENS
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.loading.networks import open_network
from animate_weights.layouts import Component, find_layout
from animate_weights.random_weights import uniform

CPU = torch.device("cpu")
Golden = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_golden_bundle(tmp_path_factory.mktemp("original"))
    assert find_layout(folder) == "original"
    return folder


def _load(bundle: Path, component: Component) -> torch.nn.Module:
    network: torch.nn.Module = open_network(bundle, component).load(torch.float32, CPU)
    return network


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_file(GOLDEN / "transformer_tiny.safetensors")


@pytest.fixture(scope="module")
def transformer(bundle: Path) -> AnimateTransformer:
    return AnimateTransformer(_load(bundle, "transformer"))


@pytest.fixture(scope="module")
def motion(transformer: AnimateTransformer) -> torch.Tensor:
    with torch.no_grad():
        return transformer.embed_face(uniform("in.face", (1, 3, 9, 512, 512)))


@torch.no_grad()
def test_transformer_equals_the_official_one(
    transformer: AnimateTransformer, motion: torch.Tensor, golden: Golden
) -> None:
    prompt = torch.nn.functional.pad(golden["in.ctx"], (0, 0, 0, MAX_TOKENS - len(golden["in.ctx"])))
    context = transformer.embed_context(prompt[None], uniform("in.clip", (1, 257, 1280)))
    pose = transformer.embed_pose(golden["in.pose"])
    constants = transformer.encode_step_constants(
        condition=golden["in.y"][None], pose=pose, motion=motion, context=context
    )
    velocity = transformer.velocity(golden["in.noise"][None], golden["in.t"], constants)
    assert _relative(context.image[None, :16], golden["fp32.img_emb"]) < 1e-5
    assert len(context.text) == len(golden["in.ctx"]) + 1
    text = context.text.repeat_interleave(context.counts.int(), dim=0)
    assert len(text) == MAX_TOKENS
    assert _relative(text[None, :16], golden["fp32.text_embedding"]) < 1e-5
    assert _relative(pose, golden["fp32.pose_patch_embedding"]) < 1e-5
    assert _relative(motion[:, 1:], golden["fp32.face_encoder out (B,T,5,C)"]) < 1e-5
    assert not motion[:, 0].any()
    assert _relative(velocity[0], golden["fp32.out"]) < 1e-5


@torch.no_grad()
def test_vae_equals_the_official_one(bundle: Path) -> None:
    golden, vae = load_file(GOLDEN / "vae_tiny.safetensors"), VideoVae(_load(bundle, "vae"))
    assert _relative(vae.encode(golden["x"][None])[0], golden["enc_norm(x)"]) < 1e-5
    assert _relative(vae.encode(golden["x"][None, :, :1])[0], golden["enc_norm(x[:1])"]) < 1e-5
    assert _relative(vae.encode(golden["x2_17f"][None])[0], golden["enc_norm(x2)"]) < 1e-5
    assert _relative(vae.decode(golden["z"][None])[0], golden["dec(z)"]) < 1e-5


@torch.no_grad()
def test_text_encoder_equals_the_official_one(bundle: Path) -> None:
    golden = load_file(GOLDEN / "encoders_tiny.safetensors")
    states = _load(bundle, "text_encoder")(golden["t5.ids"], golden["t5.mask"]).last_hidden_state
    assert _relative(states[:, : golden["t5.out"].shape[1]], golden["t5.out"]) < 1e-5


@torch.no_grad()
def test_image_encoder_equals_the_official_one(bundle: Path) -> None:
    golden, model = load_file(GOLDEN / "encoders_tiny.safetensors"), _load(bundle, "image_encoder")
    states = model(golden["clip.x"], output_hidden_states=True).hidden_states[-2]
    assert _relative(states, golden["clip.out_penultimate"]) < 1e-5
    # the picture's way to the network, at the published side of 224 pixels
    pixels = ImageEncoder.prepare(golden["clip.img_in[-1,1]"][None], 224)
    assert _relative(pixels[:, :, ::7, ::7], golden["clip.preprocessed224"]) < 1e-5
