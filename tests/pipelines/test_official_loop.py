"""The segment loop equals the official `WanAnimate.generate` on small weights (recorded values, fp32)."""

from __future__ import annotations

import pytest
import torch
from golden_weights import GOLDEN, golden_transformer, golden_vae
from safetensors.torch import load_file

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.recipe import Recipe, SolverName
from animate_pipelines.diffusion.segments import Segment, plan_segments, segment_indices
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.diffusion.text import MAX_TOKENS
from animate_pipelines.diffusion.vae import VideoVae, to_pixels
from animate_pipelines.families.wan_animate.blocks import StepConstants
from animate_pipelines.families.wan_animate.encode import JobConstants
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer, Expression
from animate_weights.random_weights import uniform

NUM_FRAMES, SEGMENT_FRAMES = 14, 9


FaceTokens = dict[bytes, torch.Tensor]


@pytest.fixture(scope="module")
def faces() -> FaceTokens:
    """The cases show the same faces, whose tokens take most of the time."""
    return {}


@pytest.fixture(scope="module")
def transformer() -> AnimateTransformer:
    return AnimateTransformer(golden_transformer())


@pytest.fixture(scope="module")
def vae() -> VideoVae:
    return VideoVae(golden_vae())


@pytest.mark.parametrize(
    ("mode", "solver", "steps"), [("animate", "unipc", 2), ("animate", "dpmpp", 3), ("replace", "unipc", 2)]
)
def test_loop_equals_the_official_one(
    mode: str, solver: SolverName, steps: int, transformer: AnimateTransformer, vae: VideoVae, faces: FaceTokens
) -> None:
    golden = load_file(GOLDEN / f"{mode}_r1_{solver}.safetensors")
    calls: list[dict[str, torch.Tensor]] = []
    recipe = Recipe(num_steps=steps, shift=5.0, solver=solver)
    rendered = render_segments(
        AnimateSegmentModel(_recording(transformer, calls, faces), vae, _constants(golden, transformer, vae), recipe),
        lambda segment: _pictures(golden, segment, mode),
        plan_segments(NUM_FRAMES, SEGMENT_FRAMES, overlap=1),
        recipe,
        first_state(7),
        carried_frames=1,
    )
    video = torch.cat([pixels for _, pixels in rendered], dim=2)[0, :, :NUM_FRAMES]

    assert len(calls) == 2 * steps
    for index, call in enumerate(calls):
        wanted = {name: golden[f"call{index}.{name}"] for name in ("x_in", "y", "velocity_out")}
        assert int(call["t"]) == int(golden[f"call{index}.t"])
        assert torch.equal(call["y"][:4], wanted["y"][:4])  # masks
        if index % steps == 0:
            assert torch.equal(call["x_in"], wanted["x_in"])  # noise
        torch.testing.assert_close(call["x_in"], wanted["x_in"], rtol=0, atol=2e-5)
        torch.testing.assert_close(call["y"], wanted["y"], rtol=0, atol=2e-5)
        torch.testing.assert_close(call["velocity_out"], wanted["velocity_out"], rtol=0, atol=5e-5)
    torch.testing.assert_close(video, golden["video_out[-1,1] CTHW"], rtol=0, atol=5e-5)


def _constants(golden: dict[str, torch.Tensor], transformer: AnimateTransformer, vae: VideoVae) -> JobConstants:
    latents = vae.encode(to_pixels(golden["media.ref"][None].numpy(), vae.device))
    prompt = torch.nn.functional.pad(golden["ctx"], (0, 0, 0, MAX_TOKENS - len(golden["ctx"])))
    return JobConstants(
        context=transformer.embed_context(prompt[None], uniform("m.clip", (1, 257, 1280))),
        negative_context=None,
        reference_latents=torch.cat([torch.ones_like(latents[:, :4]), latents], dim=1),
    )


def _pictures(golden: dict[str, torch.Tensor], segment: Segment, mode: str) -> SegmentFrames:
    indices = segment_indices(segment, NUM_FRAMES)
    face = _media_uint8("m.face", (NUM_FRAMES, 512, 512, 3))
    return SegmentFrames(
        pose=golden["media.pose"][indices].numpy(),
        face=face[indices].numpy(),
        background=golden["media.bg"][indices].numpy() if mode == "replace" else None,
        masks=(golden["media.mask"][indices] > 127).to(torch.uint8).numpy() if mode == "replace" else None,
    )


def _media_uint8(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.round((uniform(name, shape) + 1) * 127.5).to(torch.uint8)


def _recording(
    transformer: AnimateTransformer, calls: list[dict[str, torch.Tensor]], faces: FaceTokens
) -> AnimateTransformer:
    class Recording(AnimateTransformer):
        def embed_face(self, face_pixel_values: torch.Tensor, expression: Expression | None = None) -> torch.Tensor:
            key = face_pixel_values.numpy().tobytes()
            if key not in faces:
                faces[key] = super().embed_face(face_pixel_values, expression)
            return faces[key]

        def velocity(
            self, latents: torch.Tensor, timestep: torch.Tensor, constants: StepConstants, progress: float = 0.0
        ) -> torch.Tensor:
            velocity = super().velocity(latents, timestep, constants, progress)
            y = constants.condition[0]
            calls.append({"x_in": latents[0], "y": y, "t": timestep, "velocity_out": velocity[0]})
            return velocity

    return Recording(transformer._model)
