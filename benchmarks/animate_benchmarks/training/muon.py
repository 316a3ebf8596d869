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
    """Muon for parameters with two axes or more, Adam for the others; the inner axes of convolutions count as one."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float) -> None:
        super().__init__(list(groups), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            matrices = [parameter for parameter in parameters if _is_matrix(parameter)]
            for matrix in matrices:
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
            updates = self._orthogonal(matrices)
            for parameter in parameters:
                update = updates[parameter] if parameter in updates else self._adam(parameter)
                parameter.add_(update, alpha=-group["lr"])

    def _orthogonal(self, parameters: list[nn.Parameter]) -> dict[nn.Parameter, torch.Tensor]:
        """Compute the steps of one shape together: a block's matrices are small, and there are many of them."""
        shapes: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in parameters:
            shapes.setdefault(tuple(parameter.flatten(1).shape), []).append(parameter)
        updates: dict[nn.Parameter, torch.Tensor] = {}
        for shape, alike in shapes.items():
            steps = orthogonalize(torch.stack([self._direction(parameter) for parameter in alike]))
            steps *= _STEP_SIZE * max(shape) ** 0.5
            updates |= {parameter: step.view_as(parameter) for parameter, step in zip(alike, steps, strict=True)}
        return updates

    def _direction(self, parameter: nn.Parameter) -> torch.Tensor:
        state = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: torch.Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM).flatten(1)

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


def orthogonalize(matrices: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """Return for each of `... m n` the nearest matrix with all singular values about one.

    A quintic Newton-Schulz iteration in bf16 finds it.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)).bfloat16()
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.to(matrices.dtype)
    return x.mT if tall else x


def _is_matrix(parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and min(parameter.flatten(1).shape) > 3
