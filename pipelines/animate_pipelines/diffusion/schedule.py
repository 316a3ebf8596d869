"""Noise levels and the solvers that walk down them.

The sigmas are the official ones. diffusers' own table for the same solver differs in its current release, so ours are
set on its scheduler after it has made its own; the solver's step is then bit-equal to the official one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler

NUM_TRAIN_TIMESTEPS = 1000


class Solver(Protocol):
    """Walks from noise to a sample. One object serves one segment: multistep solvers remember."""

    timesteps: torch.Tensor

    def step(self, velocity: torch.Tensor, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after step `index`.

        velocity: the model's at `timesteps[index]`.
        All tensors are fp32.
        """


def unipc_sigmas(num_steps: int, shift: float) -> np.ndarray:
    """Return `num_steps + 1` float32 noise levels, the last one 0.

    The top level is 1 - 1/1000, computed in float32.
    """
    top = float(np.float32(1.0) - np.float32(1.0 / NUM_TRAIN_TIMESTEPS))
    base = np.linspace(top, 0.0, num_steps + 1)[:-1]
    return _with_final_zero(shift * base / (1 + (shift - 1) * base))


def euler_sigmas(num_steps: int, shift: float) -> np.ndarray:
    """Return `num_steps + 1` float32 noise levels from exactly 1 to 0, as few-step models are distilled on."""
    return _with_final_zero(_levels_from_one(num_steps, shift))


def dpm_timesteps(num_steps: int, shift: float) -> torch.Tensor:
    """Return the `num_steps` int64 timesteps of DPM-Solver++: cut off from levels that are not rounded to float32 yet.

    Rounded first, 59 of 240 tables would have a timestep that is one off, such as 40 steps at shift 3.
    """
    return torch.from_numpy(_levels_from_one(num_steps, shift) * NUM_TRAIN_TIMESTEPS).to(torch.int64)


def _levels_from_one(num_steps: int, shift: float) -> np.ndarray:
    """Return `num_steps` float64 noise levels, the first one 1."""
    base = np.linspace(1.0, 0.0, num_steps + 1)[:-1]
    return shift * base / (1 + (shift - 1) * base)


def _with_final_zero(sigmas: np.ndarray) -> np.ndarray:
    return np.append(sigmas, 0.0).astype(np.float32)


class UniPC:
    """Second-order UniPC (bh2, data prediction). The model sees integer timesteps, the solver exact sigmas."""

    def __init__(self, num_steps: int, shift: float) -> None:
        sigmas = torch.from_numpy(unipc_sigmas(num_steps, shift))
        self._scheduler = UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, solver_order=2, solver_type="bh2"
        )
        self._scheduler.set_timesteps(num_steps)
        self._scheduler.set_begin_index(0)
        self._scheduler.sigmas = sigmas
        self._scheduler.timesteps = (sigmas[:-1] * NUM_TRAIN_TIMESTEPS).to(torch.int64)
        self.timesteps: torch.Tensor = self._scheduler.timesteps

    def step(self, velocity: torch.Tensor, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after step `index`; see `Solver`."""
        stepped: torch.Tensor = self._scheduler.step(velocity, self.timesteps[index], latents, return_dict=False)[0]
        return stepped


class DpmSolver:
    """Second-order DPM-Solver++ (midpoint, data prediction), the official code's other solver; integer timesteps.

    Ours, because diffusers' computes other sigmas for flows. With a = 1 - sigma and l = ln a - ln sigma.
    """

    def __init__(self, num_steps: int, shift: float) -> None:
        self._sigmas = torch.from_numpy(euler_sigmas(num_steps, shift))
        self._levels = torch.log(1 - self._sigmas) - torch.log(self._sigmas)
        self._last_sample: torch.Tensor | None = None
        self.timesteps = dpm_timesteps(num_steps, shift)

    def step(self, velocity: torch.Tensor, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after step `index`; see `Solver`."""
        sigmas, levels = self._sigmas.to(latents.device), self._levels.to(latents.device)
        sample = latents - sigmas[index] * velocity
        width = levels[index + 1] - levels[index]
        factor = (1 - sigmas[index + 1]) * torch.expm1(-width)
        stepped = sigmas[index + 1] / sigmas[index] * latents - factor * sample
        if self._last_sample is not None and index + 1 < len(self.timesteps):
            ratio = (levels[index] - levels[index - 1]) / width
            stepped = stepped - 0.5 * factor * (sample - self._last_sample) / ratio
        self._last_sample = sample
        return stepped


class FlowEuler:
    """First-order steps along the velocity, for few-step models; their timesteps are not rounded."""

    def __init__(self, num_steps: int, shift: float) -> None:
        self._sigmas = torch.from_numpy(euler_sigmas(num_steps, shift))
        self.timesteps: torch.Tensor = self._sigmas[:-1] * NUM_TRAIN_TIMESTEPS

    def step(self, velocity: torch.Tensor, index: int, latents: torch.Tensor) -> torch.Tensor:
        """Return the latents after step `index`; see `Solver`."""
        return latents + (self._sigmas[index + 1] - self._sigmas[index]).to(latents.device) * velocity
