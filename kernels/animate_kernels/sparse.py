"""Block-sparse attention: which blocks of keys a tile of queries reads exactly, and how the others count.

Keys lie along a Morton curve (`order`), so a block is a small cube of the video; no block here is a transformer block.
For each head, a tile of queries reads exactly the blocks that it is expected to weigh most, the reference frame's and
the neighbours'. Each other block counts as its mean key and mean value, as often as it has tokens, in the same softmax:
no mass is dropped, which is what hurts models of few steps (`benchmarks/LOG.md` has its cost in pictures).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from animate_kernels.blocks import Blocks
from animate_kernels.eight_bit import (
    Fp8Heads,
    along_tokens,
    dequantize_blocks,
    dequantize_heads,
    quantize_blocks,
    round_e4m3,
)
from animate_kernels.fp8 import FP8_MAX

TILE_BLOCKS = 2  # blocks of a tile of queries
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The blocks that tiles of queries read, and the means of all blocks.

    block: tokens of a block; a tile has `TILE_BLOCKS` blocks.
    lists: `heads tiles n` int32, the blocks read exactly, ascending.
    exact: `heads tiles blocks` bool, true for the same blocks.
    key_means, value_means: `blocks heads d` fp32, the means of every block.
    lengths: `blocks` fp32, tokens of each block.
    """

    block: int
    lists: torch.Tensor
    exact: torch.Tensor
    key_means: torch.Tensor
    value_means: torch.Tensor
    lengths: torch.Tensor


def choose_blocks(scores: torch.Tensor, num_read: int, num_reference_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the lists and marks of a `Selection`: forced blocks first, then the best. This is the definition.

    scores: `heads tiles blocks` fp32.
    num_read: blocks that a tile reads; at least `least_read`.
    num_reference_blocks: leading blocks that every tile reads.
    """
    forced = forced_blocks(scores.shape[-1], num_reference_blocks).to(scores.device)
    best = scores.masked_fill(forced, torch.inf).topk(num_read, dim=-1).indices.sort(dim=-1).values
    return best.to(torch.int32), torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True)


def forced_blocks(num_blocks: int, num_reference_blocks: int) -> torch.Tensor:
    """Return the blocks that each tile must read, `tiles blocks` bool.

    They are the reference frame's, and the tile's own with one neighbour on either side.
    """
    blocks = torch.arange(num_blocks)
    start = torch.arange(0, num_blocks, TILE_BLOCKS)[:, None]
    near = (blocks >= start - 1) & (blocks <= start + TILE_BLOCKS)
    return near | (blocks < num_reference_blocks)


def least_read(num_blocks: int, num_reference_blocks: int) -> int:
    """Return how many blocks are read whatever the density: the most that can be forced on a tile."""
    return min(num_blocks, num_reference_blocks + TILE_BLOCKS + 2)


ChooseBlocks = Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]


def select(
    query: Blocks,
    key: Blocks,
    value: Blocks,
    *,
    density: float,
    num_reference: int,
    choose: ChooseBlocks = choose_blocks,
) -> Selection:
    """Select the blocks to read, from summaries of queries, keys and values in one order.

    Blocks are ranked by the weight that a tile's queries should give them: the mean exponential of scores whose mean
    and variance are known, channel by channel as if channels were independent.

    query, key, value: their summaries.
    density: share of the blocks that a tile reads exactly; forced blocks are always read.
    num_reference: tokens at the beginning that every tile reads exactly.
    choose: `choose_blocks` or its kernel.
    """
    tiles, spread = query.joined(TILE_BLOCKS), key.squares - key.means.square()
    scores = torch.einsum("qhd,khd->hqk", tiles.means, key.means)
    scores += torch.einsum("qhd,khd->hqk", tiles.squares, spread) / 2 / math.sqrt(spread.shape[-1])
    num_reference_blocks = math.ceil(num_reference / key.size)
    num_read = max(math.ceil(density * len(key)), least_read(len(key), num_reference_blocks))
    lists, exact = choose(scores, num_read, num_reference_blocks)
    return Selection(
        block=key.size, lists=lists, exact=exact, key_means=key.means, value_means=value.means, lengths=key.lengths
    )


def sparse_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Attend and return `l heads d`. This is the definition, with all scores at once.

    One softmax runs over the keys of the blocks read exactly and the means of the others.
    """
    weights, total = _weights(query.float(), key.float(), selection)
    return _mix(weights, total, value, selection).to(query.dtype)


def sparse_attention_8bit(heads: Fp8Heads, selection: Selection, out: torch.dtype) -> torch.Tensor:
    """Attend over 8-bit heads and 8-bit means, and return `l heads d` in `out`. This is the definition.

    Weights are rounded to e4m3 relative to each query's largest.
    """
    query, key, value = dequantize_heads(heads)
    means = means_8bit(selection.key_means, selection.value_means, heads)
    rounded = replace(
        selection,
        key_means=dequantize_blocks(means.key, means.key_scale),
        value_means=means.value.permute(2, 0, 1).float() * heads.value_scale,
    )
    weights, total = _weights(query, key, rounded)
    return _mix(round_e4m3(weights * FP8_MAX).float() / FP8_MAX, total, value, rounded).to(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Means:
    """The means of blocks in e4m3.

    key: `blocks heads d` e4m3, less the keys' mean.
    key_scale: `blocks/64 heads` fp32.
    value: `heads d blocks` e4m3, in the values' scales.
    """

    key: torch.Tensor
    key_scale: torch.Tensor
    value: torch.Tensor


def means_8bit(key_means: torch.Tensor, value_means: torch.Tensor, heads: Fp8Heads) -> Fp8Means:
    """Round the means of 16-bit keys and values to e4m3, as 8-bit heads need them.

    key_means, value_means: `blocks heads d`.
    heads: gives the keys' mean and the values' scales.
    """
    key, scale = quantize_blocks(key_means - heads.key_mean)
    return Fp8Means(key=key, key_scale=scale, value=along_tokens(value_means / heads.value_scale))


def _weights(query: torch.Tensor, key: torch.Tensor, selection: Selection) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights `heads q k+blocks`, each query's largest being 1, and their sums `q heads 1`."""
    scale = query.shape[-1] ** -0.5
    exact = _rows(selection.exact, TILE_BLOCKS * selection.block, len(query), dim=1)
    read = _rows(exact, selection.block, len(key), dim=2)
    scores = torch.einsum("qhd,khd->hqk", query, key) * scale
    means = torch.einsum("qhd,khd->hqk", query, selection.key_means) * scale
    means = (means + selection.lengths.log()).masked_fill(exact, _NEVER)
    scores = torch.cat([scores.masked_fill(~read, _NEVER), means], dim=-1)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return weights, weights.sum(dim=-1).t()[..., None]


def _mix(weights: torch.Tensor, total: torch.Tensor, value: torch.Tensor, selection: Selection) -> torch.Tensor:
    """Return the weighted mean of values and value means, `q heads d` fp32."""
    values = torch.cat([value.float(), selection.value_means])
    return torch.einsum("hqk,khd->qhd", weights, values) / total


def _rows(marks: torch.Tensor, times: int, length: int, dim: int) -> torch.Tensor:
    """Repeat marks along `dim` for the tokens of their blocks or tiles, up to `length`."""
    return marks.repeat_interleave(times, dim=dim).narrow(dim, 0, length)
