"""Summaries of queries, keys and values by blocks of neighbouring tokens, all of them in one pass.

Sparse attention chooses blocks by them and reads the means of the others; 8-bit attention takes its scales from them. A
block here is always a block of tokens, never a transformer block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A summary of states `l heads d` by blocks of tokens.

    size: tokens of a block; the last block may be short.
    means: `blocks heads d` fp32, each channel's mean.
    squares: `blocks heads d` fp32, each channel's mean square.
    largest: `blocks heads d` fp32, each channel's largest magnitude.
    lengths: `blocks` fp32, tokens of each block.
    """

    size: int
    means: torch.Tensor
    squares: torch.Tensor
    largest: torch.Tensor
    lengths: torch.Tensor

    def __len__(self) -> int:
        return len(self.means)

    def mean(self) -> torch.Tensor:
        """Return the mean over all tokens, `heads d`."""
        return torch.einsum("bhd,b->hd", self.means, self.lengths / self.lengths.sum())

    def joined(self, number: int) -> Blocks:
        """Return larger blocks, each `number` of these; the last may join fewer."""
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
    """Summarise states `l heads d` by blocks of `size` tokens. This is the definition."""
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
    """Return how many tokens each block has, `blocks` fp32."""
    num_blocks = math.ceil(num_tokens / size)
    lengths = torch.full((num_blocks,), float(size), device=device)
    lengths[-1] = num_tokens - (num_blocks - 1) * size
    return lengths
