"""The segment loop equals diffusers' `WanAnimatePipeline` on the same small weights.

Both get the same sigmas, CLIP states and letter-boxed reference, where diffusers departs from the official code: the
sigmas through a scheduler that overwrites its own, the CLIP states through the method that computes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler, WanAnimatePipeline
from PIL import Image

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.schedule import unipc_sigmas
from animate_pipelines.diffusion.segments import Segment, plan_segments, segment_indices
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.diffusion.vae import to_pixels
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.blocks import StepConstants
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.request.params import RenderParams

WIDTH, HEIGHT, SEGMENT_FRAMES, STEPS, SHIFT, SEED = 64, 48, 17, 3, 5.0, 11
TOLERANCE = 1e-4


@dataclass
class InputFiles:
    """A synthetic performance: `n` frames of each kind."""

    pose: np.ndarray
    face: np.ndarray
    background: np.ndarray
    masks: np.ndarray
    reference: np.ndarray


@dataclass
class Trace:
    """What a run fed its transformer at every call, and the video it made (`1 3 t h w`, -1..1)."""

    inputs: list[torch.Tensor] = field(default_factory=list)
    timesteps: list[float] = field(default_factory=list)
    velocities: list[torch.Tensor] = field(default_factory=list)
    video: torch.Tensor = field(default_factory=lambda: torch.empty(0))


@pytest.fixture(scope="module")
def oracle(tiny_bundle: Path) -> WanAnimatePipeline:
    pipeline = WanAnimatePipeline.from_pretrained(tiny_bundle, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("overlap", [1, 5])
@pytest.mark.parametrize("mode", ["animate", "replace"])
@pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
def test_loop_equals_diffusers(
    mode: str, overlap: int, guidance_scale: float, tiny_models: Models, oracle: WanAnimatePipeline
) -> None:
    num_frames = 25 if overlap == 1 else 26  # two segments, the second one padded
    media = _media(num_frames, tiny_models.family.transformers.select(turbo=False).face_size_px)
    params = RenderParams(
        reference_image="-",
        driving_video="-",
        mode=mode,  # type: ignore[arg-type]
        overlap=overlap,  # type: ignore[arg-type]
        prompt="a puppet waves",
        negative_prompt="blurred",
        guidance_scale=guidance_scale,
        seed=SEED,
    )
    ours, theirs = _run_ours(tiny_models, media, params), _run_diffusers(oracle, tiny_models, media, params)

    calls = 2 * STEPS * (2 if guidance_scale > 1 else 1)
    assert len(ours.inputs) == len(theirs.inputs) == calls
    assert ours.timesteps == theirs.timesteps
    for mine, other in zip(ours.inputs, theirs.inputs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=TOLERANCE)
    for mine, other in zip(ours.velocities, theirs.velocities, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=TOLERANCE)
    assert ours.video.shape == (1, 3, num_frames, HEIGHT, WIDTH)
    torch.testing.assert_close(ours.video, theirs.video, rtol=0, atol=TOLERANCE)
    assert float(ours.video.std()) > 0.05  # a comparison of two flat pictures would prove nothing


def _media(num_frames: int, face_size_px: int) -> InputFiles:
    random = np.random.default_rng(3)

    def frames(*shape: int) -> np.ndarray:
        return random.integers(0, 256, (*shape, 3), np.uint8)

    masks = np.zeros((num_frames, HEIGHT, WIDTH), np.uint8)
    for index, mask in enumerate(masks):
        mask[8:40, 10 + index % 20 : 30 + index % 20] = 1
    background = frames(num_frames, HEIGHT, WIDTH) * (1 - masks[..., None])
    return InputFiles(
        pose=frames(num_frames, HEIGHT, WIDTH),
        face=frames(num_frames, face_size_px, face_size_px),
        background=background,
        masks=masks,
        reference=frames(HEIGHT, WIDTH),
    )


def _run_ours(models: Models, media: InputFiles, params: RenderParams) -> Trace:
    trace = Trace()
    transformer = models.family.transformers.select(turbo=False)
    recipe = Recipe(num_steps=STEPS, shift=SHIFT, guidance_scale=params.guidance_scale)
    num_frames = len(media.pose)

    def pictures(segment: Segment) -> SegmentFrames:
        indices = segment_indices(segment, num_frames)
        replaces = params.mode == "replace"
        return SegmentFrames(
            pose=media.pose[indices],
            face=media.face[indices],
            background=media.background[indices] if replaces else None,
            masks=media.masks[indices] if replaces else None,
        )

    with torch.no_grad():
        constants = encode_constants(
            models.family.encoders, models.family.readers, transformer, media.reference, params
        )
    rendered = render_segments(
        AnimateSegmentModel(_recording(transformer, trace), models.family.vae, constants, recipe),
        pictures,
        plan_segments(num_frames, SEGMENT_FRAMES, params.overlap),
        recipe,
        first_state(SEED),
        carried_frames=params.overlap,
    )
    trace.video = torch.cat([pixels for _, pixels in rendered], dim=2)[:, :, :num_frames]
    return trace


def _recording(transformer: AnimateTransformer, trace: Trace) -> AnimateTransformer:
    class Recording(AnimateTransformer):
        def velocity(
            self, latents: torch.Tensor, timestep: torch.Tensor, constants: StepConstants, progress: float = 0.0
        ) -> torch.Tensor:
            trace.inputs.append(torch.cat([latents, constants.condition], dim=1))
            trace.timesteps.append(float(timestep))
            trace.velocities.append(super().velocity(latents, timestep, constants, progress))
            return trace.velocities[-1]

    return Recording(transformer._model)


def _run_diffusers(pipeline: WanAnimatePipeline, models: Models, media: InputFiles, params: RenderParams) -> Trace:
    trace = Trace()
    pipeline.scheduler = _OfficialSigmas.from_config(pipeline.scheduler.config, flow_shift=SHIFT)
    with torch.no_grad():
        image_embeds = models.family.image_encoder.encode(to_pixels(media.reference[None], models.device)[:, :, 0])
    forward = pipeline.transformer.forward

    def record(hidden_states: torch.Tensor, timestep: torch.Tensor, **kwargs: Any) -> Any:
        trace.inputs.append(hidden_states)
        trace.timesteps.append(float(timestep))
        result = forward(hidden_states=hidden_states, timestep=timestep, **kwargs)
        trace.velocities.append(result[0])
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "encode_image", lambda image, device: image_embeds)
        patch.setattr(pipeline.transformer, "forward", record)
        frames = pipeline(
            mode=params.mode,
            image=Image.fromarray(media.reference),
            pose_video=_pictures(media.pose),
            face_video=_pictures(media.face),
            background_video=_pictures(media.background) if params.mode == "replace" else None,
            mask_video=_pictures(media.masks * 255) if params.mode == "replace" else None,
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            height=HEIGHT,
            width=WIDTH,
            segment_frame_length=SEGMENT_FRAMES,
            num_inference_steps=STEPS,
            prev_segment_conditioning_frames=params.overlap,
            guidance_scale=params.guidance_scale,
            generator=torch.Generator().manual_seed(SEED),
            output_type="pt",
        ).frames
    trace.video = frames.transpose(1, 2) * 2 - 1
    return trace


class _OfficialSigmas(UniPCMultistepScheduler):
    def set_timesteps(self, num_inference_steps: int, device: Any = None, **kwargs: Any) -> None:
        super().set_timesteps(num_inference_steps, device=device, **kwargs)
        self.sigmas = torch.from_numpy(unipc_sigmas(num_inference_steps, SHIFT))
        self.timesteps = (self.sigmas[:-1] * 1000).to(torch.int64)


def _pictures(frames: np.ndarray) -> list[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]
