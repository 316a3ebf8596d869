"""A step at half the width and height: a quarter of the tokens, where there is little but noise to see.

The picture that the small step predicts is scaled up, and the full velocity leads from the full noise to it; so every
solver takes it like any other. Conditions are averaged down. Training-free, and a loss of detail:
`animate_benchmarks.validate` measures it. Idea: progressive resolution, as in Jenga (arXiv 2505.16864).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from animate_pipelines.diffusion.schedule import NUM_TRAIN_TIMESTEPS
from animate_pipelines.families.wan_animate.encode import SegmentInputs

Velocity = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]
_PATCH = 2


def halve_inputs(inputs: SegmentInputs) -> SegmentInputs:
    """Return the same conditions at half the width and height, rounded down to whole patches."""
    return replace(inputs, condition=_halve(inputs.condition), pose_latents=_halve(inputs.pose_latents))


def widen(velocity_of: Velocity, latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
    """Return the velocity `1 16 t h w` at latents that are nearly noise, from one of half the size.

    velocity_of: for halved inputs.

    An average of noise is weaker noise, so its strength is restored.
    """
    sigma = timestep.float() / NUM_TRAIN_TIMESTEPS
    small = _halve(latents)
    small = small / small.std()
    sample = small - sigma * velocity_of(small, timestep, progress)
    return (latents - _scale(sample, latents.shape[3:], "bicubic")) / sigma


def _halve(latents: torch.Tensor) -> torch.Tensor:
    height, width = (size // (2 * _PATCH) * _PATCH for size in latents.shape[3:])
    return _scale(latents, torch.Size((height, width)), "area")


def _scale(latents: torch.Tensor, size: torch.Size, mode: str) -> torch.Tensor:
    frames = latents[0].transpose(0, 1).float()
    return F.interpolate(frames, size=size, mode=mode).transpose(0, 1)[None].to(latents.dtype)
