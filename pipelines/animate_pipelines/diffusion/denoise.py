"""From noise to the latents of one segment. Knows no tensor but latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from animate_pipelines.diffusion.schedule import Solver


class Denoiser(Protocol):
    """A model with every condition of one segment.

    noise_shape: of the latents, `1 c t h w`.
    device: of the latents.
    """

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Return the shape of the noise."""

    @property
    def device(self) -> torch.device:
        """Return the device of the latents."""

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        """Return the velocity at `latents`, guidance included.

        timestep: `1`, as the solver made it.
        progress: the share of the steps that is done, 0 at the first.
        """

    def settle(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after a step, with the known ones put back into them."""


def draw_noise(denoiser: Denoiser, generator: torch.Generator) -> torch.Tensor:
    """Return fp32 noise on the denoiser's device.

    generator: draws on its own device: the CPU's noise is the same beside any device.
    """
    noise = torch.randn(denoiser.noise_shape, generator=generator, device=generator.device)
    return noise.to(denoiser.device)


def denoise(denoiser: Denoiser, solver: Solver, noise: torch.Tensor, *, on_step: Callable[[int], None]) -> torch.Tensor:
    """Return the latents of a segment, denoised from `noise`.

    on_step: called with the number of steps done.
    """
    latents = noise
    for index, timestep in enumerate(solver.timesteps):
        velocity = denoiser.velocity(latents, timestep.to(latents.device)[None], index / len(solver.timesteps))
        latents = denoiser.settle(solver.step(velocity, index, latents))
        on_step(index + 1)
    return latents
