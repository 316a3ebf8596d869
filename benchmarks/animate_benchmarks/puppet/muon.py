"""Muon for matrices and convolutions, Adam for everything else.

Momentum whose singular values are all brought to one (Jordan et al., "Muon", 2024), scaled to the size of Adam's steps
(Liu et al., "Muon is Scalable for LLM Training", 2025), so that one learning rate serves both. torch's own Muon refuses
convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_MOMENTUM = 0.95
_BETAS = (0.9, 0.98)
_EPS = 1e-8
_STEP_SIZE = 0.2  # root mean square of Adam's typical update
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Parameters with two axes or more take orthogonal steps; of convolutions the inner axes are one."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float) -> None:
        super().__init__(list(groups), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                matrix = _is_matrix(parameter)
                if matrix:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal(parameter) if matrix else self._adam(parameter)
                parameter.add_(update, alpha=-group["lr"])

    def _orthogonal(self, parameter: nn.Parameter) -> torch.Tensor:
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: torch.Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        direction = gradient.lerp(momentum, _MOMENTUM).flatten(1)
        step = orthogonalize(direction) * (_STEP_SIZE * max(direction.shape) ** 0.5)
        return step.view_as(parameter)

    def _adam(self, parameter: nn.Parameter) -> torch.Tensor:
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if not state:
            state["count"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["count"] += 1
        count = state["count"].item()
        state["mean"].lerp_(gradient, 1 - _BETAS[0])
        state["square"].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        spread = (state["square"] / (1 - _BETAS[1] ** count)).sqrt().add_(_EPS)
        update: torch.Tensor = state["mean"] / (1 - _BETAS[0] ** count) / spread
        return update


def orthogonalize(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest matrix with all singular values about one, by a quintic Newton-Schulz iteration in bf16."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / (x.norm() + 1e-12)).bfloat16()
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.to(matrix.dtype)
    return x.T if tall else x


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and min(parameter.flatten(1).shape) > 3
