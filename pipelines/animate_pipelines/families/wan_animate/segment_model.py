"""One segment at a time: conditions in, velocities and pixels out."""

from __future__ import annotations

from functools import partial

import torch

from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.families.wan_animate.encode import JobConstants, SegmentInputs, encode_segment
from animate_pipelines.families.wan_animate.half_step import Velocity, halve_inputs, widen
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer


class AnimateSegmentModel:
    """The transformer and the VAE with the conditions of a whole job; see `SegmentModel`."""

    def __init__(self, transformer: AnimateTransformer, vae: VideoVae, constants: JobConstants, recipe: Recipe) -> None:
        self._transformer, self._vae, self._constants, self._recipe = transformer, vae, constants, recipe

    def prepare(self, drive: SegmentFrames, carried: torch.Tensor | None) -> AnimateDenoiser:
        """Return the denoiser of a segment with these pictures, begun by the `carried` frames."""
        inputs = encode_segment(self._vae, self._transformer, self._constants, drive, carried)
        return AnimateDenoiser(
            self._transformer, self._constants, inputs, self._recipe, channels=self._vae.latent_channels
        )

    def finish(self, latents: torch.Tensor, segment: Segment) -> torch.Tensor:
        """Return the new pixels `1 3 t h w`: without the reference's, which come first, and the carried ones."""
        return self._vae.decode(latents[:, :, 1:])[:, :, segment.overlap :]


class AnimateDenoiser:
    """A segment's velocities; see `Denoiser`. The values that its steps share are encoded once."""

    def __init__(
        self,
        transformer: AnimateTransformer,
        constants: JobConstants,
        inputs: SegmentInputs,
        recipe: Recipe,
        *,
        channels: int,
    ) -> None:
        self.noise_shape = (1, channels, *inputs.condition.shape[2:])
        self.device = inputs.condition.device
        self._velocity = guided_velocity(transformer, constants, inputs, recipe)
        self._first = self._velocity
        if recipe.half_first_step:
            small = guided_velocity(transformer, constants, halve_inputs(inputs), recipe)
            self._first = partial(widen, small)

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        """Return the velocity `1 16 t h w`, guidance included."""
        take = self._velocity if progress else self._first
        return take(latents, timestep, progress)

    def settle(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents as they are: the known ones are part of the condition."""
        return latents


def guided_velocity(
    transformer: AnimateTransformer, constants: JobConstants, inputs: SegmentInputs, recipe: Recipe
) -> Velocity:
    """Return the velocity as a function of latents, timestep and progress.

    Guidance goes from a black face and the negative prompt to the face and the prompt.
    """
    pose = transformer.embed_pose(inputs.pose_latents)
    encode = partial(transformer.encode_step_constants, condition=inputs.condition, pose=pose, sparsity=recipe.sparsity)
    positive = encode(motion=inputs.motion, context=constants.context)
    if constants.negative_context is None or inputs.negative_motion is None:
        return lambda latents, timestep, progress: transformer.velocity(latents, timestep, positive, progress)
    negative = encode(motion=inputs.negative_motion, context=constants.negative_context)

    def guided(latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        velocity = transformer.velocity(latents, timestep, positive, progress)
        unguided = transformer.velocity(latents, timestep, negative, progress)
        return unguided + recipe.guidance_scale * (velocity - unguided)

    return guided
