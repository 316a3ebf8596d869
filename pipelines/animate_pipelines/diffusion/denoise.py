"""From noise to the latents of one segment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from animate_pipelines.diffusion.schedule import Solver
from animate_pipelines.families.wan_animate.encode import JobConstants, SegmentInputs
from animate_pipelines.families.wan_animate.half_step import Velocity, halve_inputs, widen
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer


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
    half_first_step: bool = False,
) -> torch.Tensor:
    """Latents `1 16 t h w`; the first frame is the reference's. `on_step` is called with the number of steps done."""
    latents = noise
    velocity_of = _velocity(transformer, constants, inputs, guidance_scale)
    first = velocity_of
    if half_first_step:
        first = partial(widen, _velocity(transformer, constants, halve_inputs(inputs), guidance_scale))
    for index, timestep in enumerate(solver.timesteps):
        take = velocity_of if index else first
        velocity = take(latents, timestep.to(latents.device)[None], index / len(solver.timesteps))
        latents = solver.step(velocity, index, latents)
        on_step(index + 1)
    return latents


def _velocity(
    transformer: AnimateTransformer, constants: JobConstants, inputs: SegmentInputs, guidance_scale: float
) -> Velocity:
    """Of latents, timestep and progress, with guidance. What the steps share is encoded here, once."""
    pose = transformer.embed_pose(inputs.pose_latents)
    encode = partial(transformer.encode_step_constants, condition=inputs.condition, pose=pose)
    seen = encode(motion=inputs.motion, context=constants.context)
    if constants.negative_context is None or inputs.negative_motion is None:
        return lambda latents, timestep, progress: transformer.velocity(latents, timestep, seen, progress)
    unguided = encode(motion=inputs.negative_motion, context=constants.negative_context)

    def guided(latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        velocity = transformer.velocity(latents, timestep, seen, progress)
        other = transformer.velocity(latents, timestep, unguided, progress)
        return other + guidance_scale * (velocity - other)

    return guided
