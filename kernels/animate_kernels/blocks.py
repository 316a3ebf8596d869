"""Summaries of queries, keys and values by blocks of neighbouring tokens: what sparse attention chooses and stands by,
and what 8-bit attention takes its scales from, in one pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Of states `l heads d` in blocks of `size` tokens, the last of which may be short.

    means, squares, largest: `blocks heads d` fp32, each channel's mean, mean square and largest magnitude.
    lengths: `blocks` fp32.
    """

    size: int
    means: torch.Tensor
    squares: torch.Tensor
    largest: torch.Tensor
    lengths: torch.Tensor

    def __len__(self) -> int:
        return len(self.means)

    def mean(self) -> torch.Tensor:
        """`heads d`: of all tokens."""
        return torch.einsum("bhd,b->hd", self.means, self.lengths / self.lengths.sum())

    def joined(self, number: int) -> Blocks:
        """Blocks of `number` of these each, the last of which may have fewer."""
        missing = -len(self) % number
        lengths = F.pad(self.lengths, (0, missing)).unflatten(0, (-1, number))
        means, squares, largest = (
            F.pad(part, (0, 0, 0, 0, 0, missing)).unflatten(0, (-1, number))
            for part in (self.means, self.squares, self.largest)
        )
        shares = lengths / lengths.sum(dim=1, keepdim=True)
        return Blocks(
            size=self.size * number,
            means=torch.einsum("tbhd,tb->thd", means, shares),
            squares=torch.einsum("tbhd,tb->thd", squares, shares),
            largest=largest.amax(dim=1),
            lengths=lengths.sum(dim=1),
        )


Summarize = Callable[[torch.Tensor, int], Blocks]


def summarize(states: torch.Tensor, size: int) -> Blocks:
    """The definition."""
    whole = len(states) // size
    parts = [states[: whole * size].unflatten(0, (whole, size))]
    if whole * size < len(states):
        parts.append(states[None, whole * size :])
    return Blocks(
        size=size,
        means=torch.cat([part.mean(dim=1, dtype=torch.float32) for part in parts]),
        squares=torch.cat([part.float().square().mean(dim=1) for part in parts]),
        largest=torch.cat([part.abs().amax(dim=1).float() for part in parts]),
        lengths=block_lengths(len(states), size, states.device),
    )


def block_lengths(num_tokens: int, size: int, device: torch.device) -> torch.Tensor:
    """`blocks` fp32: how many tokens each has."""
    num_blocks = math.ceil(num_tokens / size)
    lengths = torch.full((num_blocks,), float(size), device=device)
    lengths[-1] = num_tokens - (num_blocks - 1) * size
    return lengths
