"""Block-sparse attention: which blocks of keys a block of queries reads exactly, and what the others give instead.

Keys lie along a Morton curve (`order`), so a block is a small cube of the video. Per head, the blocks that a tile of
queries is expected to weigh most are read exactly, besides the reference frame's and the neighbours'. Each other block
counts as its mean key and mean value, as often as it has tokens, in the same softmax: no mass is dropped, which is what
hurts models of few steps (see `benchmarks/LOG.md` for what it costs in pictures).
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
    """What tiles of queries read. block: tokens of a block; a tile has `TILE_BLOCKS` of them.

    lists: `heads tiles n` int32, ascending: the blocks read exactly. exact: `heads tiles blocks` bool, the same.
    key_means, value_means: `blocks heads d` fp32, of every block. lengths: `blocks` fp32, tokens of each.
    """

    block: int
    lists: torch.Tensor
    exact: torch.Tensor
    key_means: torch.Tensor
    value_means: torch.Tensor
    lengths: torch.Tensor


def choose_blocks(scores: torch.Tensor, num_read: int, num_reference_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition: of fp32 scores `heads tiles blocks` the lists and marks of a `Selection`: forced, then best.

    num_read: at least `least_read`.
    """
    forced = forced_blocks(scores.shape[-1], num_reference_blocks).to(scores.device)
    best = scores.masked_fill(forced, torch.inf).topk(num_read, dim=-1).indices.sort(dim=-1).values
    return best.to(torch.int32), torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, True)


def forced_blocks(num_blocks: int, num_reference_blocks: int) -> torch.Tensor:
    """`tiles blocks` bool: the reference frame's blocks, and a tile's own ones with one neighbour on either side."""
    blocks = torch.arange(num_blocks)
    start = torch.arange(0, num_blocks, TILE_BLOCKS)[:, None]
    near = (blocks >= start - 1) & (blocks <= start + TILE_BLOCKS)
    return near | (blocks < num_reference_blocks)


def least_read(num_blocks: int, num_reference_blocks: int) -> int:
    """How many blocks are read whatever the density: as many as are forced on a tile at most."""
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
    """For queries, keys and values in one order, by their summaries.

    Blocks are ranked by the weight that a tile's queries will give them: the mean exponential of scores whose mean and
    variance are known, channel by channel as if these were independent.

    num_reference: tokens at the beginning that everything reads exactly. At least the forced blocks are read.
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
    """The definition: `l heads d`; one softmax over the exact keys and the other blocks' means, all scores at once."""
    weights, total = _weights(query.float(), key.float(), selection)
    return _mix(weights, total, value, selection).to(query.dtype)


def sparse_attention_8bit(heads: Fp8Heads, selection: Selection, out: torch.dtype) -> torch.Tensor:
    """The same over 8-bit heads and means; weights are rounded to e4m3 relative to each query's largest."""
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
    """key: `blocks heads d` e4m3, less the keys' mean, scales `blocks/64 heads` fp32. value: `heads d blocks` e4m3, in
    the values' scales."""

    key: torch.Tensor
    key_scale: torch.Tensor
    value: torch.Tensor


def means_8bit(key_means: torch.Tensor, value_means: torch.Tensor, heads: Fp8Heads) -> Fp8Means:
    """Of the means `blocks heads d` of 16-bit keys and values, as their 8-bit heads need them."""
    key, scale = quantize_blocks(key_means - heads.key_mean)
    return Fp8Means(key=key, key_scale=scale, value=along_tokens(value_means / heads.value_scale))


def _weights(query: torch.Tensor, key: torch.Tensor, selection: Selection) -> tuple[torch.Tensor, torch.Tensor]:
    """`heads q k+blocks`, the largest of a query 1, and their sums `q heads 1`."""
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
    values = torch.cat([value.float(), selection.value_means])
    return torch.einsum("hqk,khd->qhd", weights, values) / total


def _rows(marks: torch.Tensor, times: int, length: int, dim: int) -> torch.Tensor:
    return marks.repeat_interleave(times, dim=dim).narrow(dim, 0, length)
