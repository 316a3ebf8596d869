"""Triton: attention, dense or block-sparse with the skipped blocks' means, in 16 or 8 bits, in one kernel.

A program holds a tile of queries and walks the keys two blocks a step with an online softmax: all of them, or those of
its list and then the means of the others, a block of means at a time, in the same softmax. Between the products of a
step every score costs instructions that the tensor cores wait for, so there are few: scales and the softmax's shift are
one multiply-add, only the last step masks, and the mix is rescaled once for two blocks.
`python -m animate_benchmarks.gpu.machine_code` counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from animate_kernels import eight_bit, sparse
from animate_kernels.eight_bit import BLOCK, Fp8Heads
from animate_kernels.sparse import TILE_BLOCKS, Selection, means_8bit


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """rows: queries a program holds, at most a tile. stages: steps whose keys and values are fetched ahead, and one."""

    rows: int
    warps: int
    stages: int


_LOG2_448 = tl.constexpr(math.log2(448))
_LEAST_BLOCK, _LEAST_8BIT_WIDTH = 16, 32
SIXTEEN_BIT = Launch(rows=128, warps=8, stages=3)
EIGHT_BIT = Launch(rows=128, warps=8, stages=3)


@triton.jit
def _load_block(
    states, block, stride_l, stride_d, length, MASKED: tl.constexpr, BLOCK: tl.constexpr, HEAD: tl.constexpr
):  # fmt: skip
    """The block's `BLOCK HEAD` states; zeros past the end."""
    token = tl.arange(0, BLOCK)[:, None]
    start = states + tl.cast(block, tl.int64) * BLOCK * stride_l
    place = start + token * stride_l + tl.arange(0, HEAD)[None, :] * stride_d
    if MASKED:
        return tl.load(place, mask=block * BLOCK + token < length, other=0.0)
    return tl.load(place)


@triton.jit
def _scaled(factor, key_scale, block, heads, EIGHT_BIT: tl.constexpr):
    """What makes the scores with a block of keys powers of two."""
    if EIGHT_BIT:
        return factor * tl.load(key_scale + block * heads)
    return factor


@triton.jit
def _fold(scores, factor, values, largest, total, mix, EIGHT_BIT: tl.constexpr):
    """A block into the online softmax. Scores times factors `rows` are powers of two; 8-bit weights are times 448."""
    higher = tl.maximum(largest, tl.max(scores, axis=1) * factor)
    shift = higher - (_LOG2_448 if EIGHT_BIT else 0.0)
    weights = tl.exp2(scores * factor[:, None] - shift[:, None])
    shrink = tl.exp2(largest - higher)
    # the product apart from the sum: 8-bit tensor cores add in about 22 bits
    mix = mix * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
    return higher, total * shrink + tl.sum(weights, axis=1), mix


@triton.jit
def _fold_two(
    scores, factor, values, more_scores, more_factor, more_values, largest, total, mix, EIGHT_BIT: tl.constexpr
):  # fmt: skip
    """Two blocks, which rescale the mix once."""
    higher = tl.maximum(tl.max(scores, axis=1) * factor, tl.max(more_scores, axis=1) * more_factor)
    higher = tl.maximum(largest, higher)
    shift = higher - (_LOG2_448 if EIGHT_BIT else 0.0)
    weights = tl.exp2(scores * factor[:, None] - shift[:, None])
    more_weights = tl.exp2(more_scores * more_factor[:, None] - shift[:, None])
    shrink = tl.exp2(largest - higher)
    total = total * shrink + tl.sum(weights + more_weights, axis=1)
    if EIGHT_BIT:
        step = tl.dot(weights.to(values.dtype), values)
        mix = mix * shrink[:, None] + tl.dot(more_weights.to(values.dtype), more_values, step)
    else:
        mix = tl.dot(weights.to(values.dtype), values, mix * shrink[:, None])
        mix = tl.dot(more_weights.to(values.dtype), more_values, mix)
    return higher, total, mix


@triton.jit
def _attention_kernel(
    query, key, value, out, query_scale, key_scale, value_scale,
    lists, key_means, key_means_scale, value_means, counts,
    num_queries, num_keys, num_blocks, num_read, heads, softmax_scale,
    query_l, query_h, key_l, key_h, value_l, value_h, value_d, means_l, means_h, means_d, out_l, out_h,
    SPARSE: tl.constexpr, EIGHT_BIT: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
    SCALE_BLOCK: tl.constexpr, HEAD: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(0)
    head = tl.program_id(1)
    d = tl.arange(0, HEAD)
    row = part * ROWS + tl.arange(0, ROWS)
    inside = row[:, None] < num_queries
    first_row = part.to(tl.int64) * ROWS
    place = tl.arange(0, ROWS)[:, None]
    q = tl.load(query + first_row * query_l + head * query_h + place * query_l + d[None, :], mask=inside, other=0.0)
    factor = tl.full((ROWS,), 1.0, tl.float32) * softmax_scale
    if EIGHT_BIT:
        factor *= tl.load(query_scale + row // SCALE_BLOCK * heads + head, mask=row < num_queries, other=1.0)
        key_scale += head
        if SPARSE:
            key_means_scale += head
    key += head * key_h
    value += head.to(tl.int64) * value_h
    if SPARSE:
        tile = head * tl.cdiv(num_queries, TILE) + part * ROWS // TILE
        lists += tile * num_read
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    mix = tl.zeros((ROWS, HEAD), tl.float32)
    num_pairs = (num_read - 1) // 2  # without the last block, which may be short
    for pair in range(num_pairs):
        block = pair * 2
        other = block + 1
        if SPARSE:
            block = tl.load(lists + block)
            other = tl.load(lists + other)
        k = _load_block(key, block, key_l, 1, num_keys, False, BLOCK, HEAD)
        more_k = _load_block(key, other, key_l, 1, num_keys, False, BLOCK, HEAD)
        v = _load_block(value, block, value_l, value_d, num_keys, False, BLOCK, HEAD)
        more_v = _load_block(value, other, value_l, value_d, num_keys, False, BLOCK, HEAD)
        scores = tl.dot(q, k.T)
        more_scores = tl.dot(q, more_k.T)
        scale = _scaled(factor, key_scale, block, heads, EIGHT_BIT)
        more_scale = _scaled(factor, key_scale, other, heads, EIGHT_BIT)
        largest, total, mix = _fold_two(
            scores, scale, v, more_scores, more_scale, more_v, largest, total, mix, EIGHT_BIT
        )
    for index in tl.range(num_pairs * 2, num_read, num_stages=1):  # the last one or two
        block = index + tl.zeros((), tl.int32)
        if SPARSE:
            block = tl.load(lists + index)
        k = _load_block(key, block, key_l, 1, num_keys, True, BLOCK, HEAD)
        v = _load_block(value, block, value_l, value_d, num_keys, True, BLOCK, HEAD)
        here = block * BLOCK + tl.arange(0, BLOCK) < num_keys
        scores = tl.where(here[None, :], tl.dot(q, k.T), float("-inf"))
        scale = _scaled(factor, key_scale, block, heads, EIGHT_BIT)
        largest, total, mix = _fold(scores, scale, v, largest, total, mix, EIGHT_BIT)
    if SPARSE:
        key_means += head * HEAD
        value_means += head * means_h
        num_groups = tl.cdiv(num_blocks, BLOCK)
        counts += tile.to(tl.int64) * num_groups * BLOCK
        one = tl.full((ROWS,), 1.0, tl.float32)
        for group in range(num_groups):
            k = _load_block(key_means, group, heads * HEAD, 1, num_blocks, False, BLOCK, HEAD)
            v = _load_block(value_means, group, means_l, means_d, num_blocks, False, BLOCK, HEAD)
            count = tl.load(counts + group * BLOCK + tl.arange(0, BLOCK))
            scale = _scaled(factor, key_means_scale, group, heads, EIGHT_BIT)
            scores = tl.dot(q, k.T) * scale[:, None] + count[None, :]
            largest, total, mix = _fold(scores, one, v, largest, total, mix, EIGHT_BIT)
    mix = mix / total[:, None]
    if EIGHT_BIT:
        mix = mix * tl.load(value_scale + head * HEAD + d)[None, :]
    end = out + first_row * out_l + head * out_h
    tl.store(end + place * out_l + d[None, :], mix.to(out.dtype.element_ty), mask=inside)


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, launch: Launch = SIXTEEN_BIT
) -> torch.Tensor:
    """As `definitions.attention`, for heads that are a power of two wide, at least 16."""
    return _attend(query, key, value, query.dtype, None, None, launch)


def attention_8bit(heads: Fp8Heads, out: torch.dtype, launch: Launch = EIGHT_BIT) -> torch.Tensor:
    """As `eight_bit.attention_8bit`, by which heads of less than 32 go: tensor cores read no fewer."""
    if heads.query.shape[-1] < _LEAST_8BIT_WIDTH:
        return eight_bit.attention_8bit(heads, out)
    return _attend(heads.query, heads.key, heads.value.permute(2, 0, 1), out, None, heads, launch)


def sparse_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, selection: Selection, launch: Launch = SIXTEEN_BIT
) -> torch.Tensor:
    """As `sparse.sparse_attention`, by which blocks of less than 16 go: tensor cores read no fewer."""
    if selection.block < _LEAST_BLOCK:
        return sparse.sparse_attention(query, key, value, selection)
    return _attend(query, key, value, query.dtype, selection, None, launch)


def sparse_attention_8bit(
    heads: Fp8Heads, selection: Selection, out: torch.dtype, launch: Launch = EIGHT_BIT
) -> torch.Tensor:
    """As `sparse.sparse_attention_8bit`, by which all go but blocks of 64, to which the scales belong."""
    if selection.block != BLOCK or heads.query.shape[-1] < _LEAST_8BIT_WIDTH:
        return sparse.sparse_attention_8bit(heads, selection, out)
    return _attend(heads.query, heads.key, heads.value.permute(2, 0, 1), out, selection, heads, launch)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out_dtype: torch.dtype,
    selection: Selection | None,
    heads8: Fp8Heads | None,
    launch: Launch,
) -> torch.Tensor:
    length, heads, head_width = query.shape
    block = BLOCK if selection is None else selection.block
    tile, num_blocks = TILE_BLOCKS * block, math.ceil(len(key) / block)
    rows = min(launch.rows, tile)
    out = torch.empty(length, heads, head_width, dtype=out_dtype, device=query.device)
    scales = (None, None, None) if heads8 is None else (heads8.query_scale, heads8.key_scale, heads8.value_scale)
    tables, means_strides = _tables(selection, heads8, key.dtype)
    _attention_kernel[(math.ceil(length / rows), heads)](
        query, key, value, out, *scales, *tables,
        length, len(key), num_blocks, num_blocks if selection is None else selection.lists.shape[-1], heads,
        head_width**-0.5 * math.log2(math.e),
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), *value.stride(), *means_strides,
        out.stride(0), out.stride(1),
        SPARSE=selection is not None, EIGHT_BIT=heads8 is not None, TILE=tile, ROWS=rows, BLOCK=block,
        SCALE_BLOCK=BLOCK, HEAD=head_width, num_warps=launch.warps, num_stages=launch.stages,
    )  # fmt: skip
    return out


def _tables(
    selection: Selection | None, heads8: Fp8Heads | None, dtype: torch.dtype
) -> tuple[tuple[torch.Tensor | None, ...], tuple[int, ...]]:
    """Of the kernel's arguments, and the strides of the value means."""
    if selection is None:
        return (None,) * 5, (0, 0, 0)
    blocks = len(selection.lengths)
    padding = math.ceil(blocks / selection.block) * selection.block - blocks
    # how often a mean counts, as a power of two: not at all where its block is read, or is none
    exact = F.pad(selection.exact, (0, padding), value=True)
    counts = F.pad(selection.lengths.log2(), (0, padding)).expand(exact.shape).masked_fill(exact, -torch.inf)
    key_means, value_means = (
        F.pad(means, (0, 0, 0, 0, 0, padding)) for means in (selection.key_means, selection.value_means)
    )
    if heads8 is None:
        key_means, key_scale, value_means = key_means.to(dtype), None, value_means.to(dtype)
    else:
        means = means_8bit(key_means, value_means, heads8)
        key_means, key_scale, value_means = means.key, means.key_scale, means.value.permute(2, 0, 1)
    return (selection.lists, key_means, key_scale, value_means, counts), value_means.stride()
