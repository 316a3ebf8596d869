"""The segment loop: conditioning in, pixels out, one segment carrying its last frames into the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch

from animate_pipelines.diffusion.denoise import denoise, draw_noise
from animate_pipelines.diffusion.schedule import DpmSolver, FlowEuler, Solver, UniPC
from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.diffusion.state import LoopState
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.families.wan_animate.encode import JobConstants, encode_segment
from animate_pipelines.families.wan_animate.pictures import SegmentFrames
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.loading.execution import FullSolver
from animate_pipelines.media.read_ahead import read_ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How noise is walked down: full steps with UniPC or DPM-Solver++, few steps of a distilled model with Euler."""

    num_steps: int
    shift: float
    guidance_scale: float
    turbo: bool
    full_solver: FullSolver = "unipc"
    half_first_step: bool = False

    def solver(self) -> Solver:
        """A new solver, for one segment."""
        full = UniPC if self.full_solver == "unipc" else DpmSolver
        return (FlowEuler if self.turbo else full)(self.num_steps, self.shift)


@torch.no_grad()
def render_segments(
    transformer: AnimateTransformer,
    vae: VideoVae,
    constants: JobConstants,
    segments: Sequence[Segment],
    pictures: Callable[[Segment], SegmentFrames],
    schedule: Schedule,
    state: LoopState,
    *,
    overlap: int,
    on_step: Callable[[Segment, int], None],
) -> Generator[tuple[Segment, torch.Tensor], None, None]:
    """Each segment with its new pixels `1 3 t h w` in -1..1, without the carried frames; `state` is ready for the next.

    `t` may exceed `segment.num_new_frames` in the last segment: what follows is padding.
    pictures: called in a thread, for the next segment while this one denoises; so two segments' pictures are in memory.
    """
    with closing(read_ahead(map(pictures, segments), 1)) as drawn:
        for segment, (frames,) in zip(segments, drawn, strict=True):
            inputs = encode_segment(vae, transformer, constants, frames, state.carried)
            noise = draw_noise(inputs, vae.latent_channels, state.generator)
            latents = denoise(
                transformer,
                constants,
                inputs,
                schedule.solver(),
                noise,
                guidance_scale=schedule.guidance_scale,
                on_step=partial(on_step, segment),
                half_first_step=schedule.half_first_step,
            )
            pixels = vae.decode(latents[:, :, 1:])[:, :, segment.overlap :]
            state.carried = pixels[:, :, -overlap:]
            yield segment, pixels
