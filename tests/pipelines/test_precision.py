"""In bf16 the transformer is as near to exact products as the official code, and nearer than diffusers' bf16 mode.

The recorded network, with its weights and conditions rounded to bf16; `fp32math_...` has fp32 products of those.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import GOLDEN, golden_transformer, golden_vae
from safetensors.torch import load_file

from animate_pipelines.diffusion.text import MAX_TOKENS
from animate_pipelines.diffusion.vae import VideoVae, to_pixels
from animate_pipelines.families.registry import load_models
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.loading.execution import Execution, default_execution
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_weights.random_weights import uniform

Golden = dict[str, torch.Tensor]
BF16 = torch.bfloat16


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_file(GOLDEN / "transformer_tiny.safetensors")


@pytest.fixture(scope="module")
def bf16() -> AnimateTransformer:
    model = golden_transformer()
    for parameter in model.parameters():  # not `.to`, which would round the positions' tables as well
        parameter.data = parameter.data.to(BF16)
    return AnimateTransformer(model)


@pytest.fixture(scope="module")
def motion(bf16: AnimateTransformer) -> torch.Tensor:
    with torch.no_grad():
        return bf16.embed_face(_rounded(uniform("in.face", (1, 3, 9, 512, 512))))


@torch.no_grad()
def _velocity(transformer: AnimateTransformer, motion: torch.Tensor, golden: Golden) -> torch.Tensor:
    prompt = torch.nn.functional.pad(golden["in.ctx"], (0, 0, 0, MAX_TOKENS - len(golden["in.ctx"])))
    velocity = transformer.velocity(
        golden["in.noise"][None],
        golden["in.t"],
        transformer.encode_step_constants(
            condition=_rounded(golden["in.y"])[None],
            pose=transformer.embed_pose(_rounded(golden["in.pose"])),
            motion=motion,
            context=transformer.embed_context(_rounded(prompt)[None], _rounded(uniform("in.clip", (1, 257, 1280)))),
        ),
    )
    assert velocity.dtype == torch.float32
    return velocity[0]


def test_bf16_is_as_exact_as_the_official_code(bf16: AnimateTransformer, motion: torch.Tensor, golden: Golden) -> None:
    exact, official = golden["fp32math_bf16weights_bf16cond.out"], golden["official_bf16_autocast_emulated.out"]
    ours = _velocity(bf16, motion, golden)
    assert _relative(ours, exact) < 0.006  # measured 0.0052
    assert _relative(ours, official) < 0.005  # measured 0.0034
    assert _relative(ours, exact) < 0.7 * _relative(golden["diffusers_bf16.out"], exact)
    assert _relative(ours, official) < 0.5 * _relative(golden["diffusers_bf16.out"], official)


def test_residuals_in_bf16_cost_what_the_recipe_says(
    bf16: AnimateTransformer, motion: torch.Tensor, golden: Golden
) -> None:
    exact = golden["fp32math_bf16weights_bf16cond.out"]
    faster = AnimateTransformer(bf16._model, torch.bfloat16)
    assert _relative(_velocity(faster, motion, golden), exact) == pytest.approx(0.0090, abs=0.0005)


def test_conditions_are_rounded_as_the_official_ones() -> None:
    every = np.arange(256, dtype=np.uint8)
    wanted = torch.from_numpy(every.astype(np.float64) / 127.5 - 1).to(BF16).float()
    frames = np.tile(every[:, None, None, None], (1, 1, 1, 3))
    vae = VideoVae(golden_vae(), BF16)
    assert torch.equal(vae.round_pixels(to_pixels(frames, torch.device("cpu")))[0, 0, :, 0, 0], wanted)
    pixels = to_pixels(np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8), torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(vae.encode(pixels), VideoVae(golden_vae()).encode(_rounded(pixels)))
        assert not torch.equal(vae.encode(pixels), VideoVae(golden_vae()).encode(pixels))


def test_recipes_are_the_official_types_on_a_gpu_and_fp32_on_the_cpu() -> None:
    assert default_execution("cpu") == Execution(
        device="cpu", dtype="float32", pixel_dtype="float32", image_dtype="float32"
    )
    gpu = default_execution("cuda:0")
    assert (gpu.dtype, gpu.image_dtype, gpu.pixel_dtype) == ("bfloat16", "float16", "bfloat16")
    assert (gpu.vae_dtype, gpu.residual_dtype) == ("float32", "float32")


def test_a_render_with_the_types_of_a_gpu(tiny_bundle: Path, media: InputFiles, tmp_path: Path) -> None:
    execution = dataclasses.replace(default_execution("cuda:0"), device="cpu")
    params = RenderParams(
        reference_image="-", driving_video="-", seed=3, resolution="480p", num_frames=17, guidance_scale=2.0
    )
    models = load_models(tiny_bundle, execution=execution)
    assert models.family.transformers.select(turbo=False).dtype == BF16
    result = render_video(models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert (result.num_frames, result.recipe["dtype"], result.recipe["vae_dtype"]) == (17, "bfloat16", "float32")


def _rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(BF16).float()


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())
