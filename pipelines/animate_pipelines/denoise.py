"""From noise to the latents of one segment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from animate_pipelines.encode import JobConstants, SegmentInputs
from animate_pipelines.schedule import Solver
from animate_pipelines.transformer import AnimateTransformer


def draw_noise(inputs: SegmentInputs, channels: int, generator: torch.Generator) -> torch.Tensor:
    """`1 16 t h w` fp32 on the inputs' device, drawn on the generator's: the CPU's is the same beside any device."""
    _, _, frames, height, width = inputs.condition.shape
    noise = torch.randn(1, channels, frames, height, width, generator=generator, device=generator.device)
    return noise.to(inputs.condition.device)


def denoise(
    transformer: AnimateTransformer,
    constants: JobConstants,
    inputs: SegmentInputs,
    solver: Solver,
    noise: torch.Tensor,
    *,
    guidance_scale: float,
    on_step: Callable[[int], None],
) -> torch.Tensor:
    """Latents `1 16 t h w`; the first frame is the reference's. `on_step` is called with the number of steps done."""
    latents = noise
    velocity_of = partial(transformer.velocity, condition=inputs.condition, pose=inputs.pose)
    for index, timestep in enumerate(solver.timesteps):
        time = timestep.to(latents.device)[None]
        velocity = velocity_of(latents, time, motion=inputs.motion, context=constants.context)
        if constants.negative_context is not None and inputs.negative_motion is not None:
            unguided = velocity_of(latents, time, motion=inputs.negative_motion, context=constants.negative_context)
            velocity = unguided + guidance_scale * (velocity - unguided)
        latents = solver.step(velocity, index, latents)
        on_step(index + 1)
    return latents
