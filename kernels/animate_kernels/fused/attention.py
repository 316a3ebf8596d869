"""Triton: attention, dense or block-sparse with the skipped blocks' means, in 16 or 8 bits, in one kernel.

A program holds a tile of queries and walks blocks of 64 keys with an online softmax: all of them, or those of its list
and then the means of the others, 64 at a time, in the same softmax. The means cost 1/64 of dense attention. Plain
Triton reaches about 400 to 480 TFLOP/s in bf16 on an H100 where FlashAttention-3 reaches 640 (FA3 paper, arXiv
2407.08608); what this kernel reaches is not measured.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from animate_kernels.eight_bit import BLOCK, Fp8Heads
from animate_kernels.sparse import TILE_BLOCKS, Selection, centred


@triton.jit
def _fold(scores, values, largest, total, mix, EIGHT_BIT: tl.constexpr):
    """One block into the online softmax. Scores are in powers of two; in 8 bits weights are 448 times as large."""
    higher = tl.maximum(largest, tl.max(scores, axis=1))
    weights = tl.exp2(scores - higher[:, None] + (8.807354922057604 if EIGHT_BIT else 0.0))  # log2(448)
    shrink = tl.exp2(largest - higher)
    total = total * shrink + tl.sum(weights, axis=1)
    # the product apart from the sum: 8-bit tensor cores add in about 22 bits
    mix = mix * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
    return higher, total, mix


@triton.jit
def _attention_kernel(
    query, key, value, out, query_scale, key_scale, value_scale,
    lists, exact, key_means, value_means, lengths,
    num_queries, num_keys, num_blocks, num_read, heads, softmax_scale,
    query_l, query_h, key_l, key_h, value_l, value_h, value_d, out_l, out_h,
    SPARSE: tl.constexpr, EIGHT_BIT: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr, SCALE_BLOCK: tl.constexpr,
    HEAD: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    head = tl.program_id(1)
    rows = tile * TILE + tl.arange(0, TILE)
    d = tl.arange(0, HEAD)
    inside = rows[:, None] < num_queries
    start = query + tile.to(tl.int64) * TILE * query_l + head.to(tl.int64) * query_h
    q = tl.load(start + tl.arange(0, TILE)[:, None] * query_l + d[None, :], mask=inside, other=0.0)
    factor = tl.full((TILE,), 1.0, tl.float32) * softmax_scale
    if EIGHT_BIT:
        factor *= tl.load(query_scale + rows // SCALE_BLOCK * heads + head, mask=rows < num_queries, other=0.0)
    largest = tl.full((TILE,), float("-inf"), tl.float32)
    total = tl.zeros((TILE,), tl.float32)
    mix = tl.zeros((TILE, HEAD), tl.float32)
    column = tl.arange(0, BLOCK)
    for index in range(num_read):
        block = tile * 0 + index  # the interpreter counts in Python's integers
        if SPARSE:
            block = tl.load(lists + (head * tl.num_programs(0) + tile) * num_read + index)
        here = block * BLOCK + column < num_keys
        k_start = key + block.to(tl.int64) * BLOCK * key_l + head.to(tl.int64) * key_h
        k = tl.load(k_start + column[None, :] * key_l + d[:, None], mask=here[None, :], other=0.0)
        v_start = value + block.to(tl.int64) * BLOCK * value_l + head.to(tl.int64) * value_h
        v = tl.load(v_start + column[:, None] * value_l + d[None, :] * value_d, mask=here[:, None], other=0.0)
        scores = tl.dot(q, k) * factor[:, None]
        if EIGHT_BIT:
            scores *= tl.load(key_scale + block * heads + head)
        scores = tl.where(here[None, :], scores, float("-inf"))
        largest, total, mix = _fold(scores, v, largest, total, mix, EIGHT_BIT)
    if SPARSE:
        if EIGHT_BIT:
            q = (q.to(tl.float32) * (factor / softmax_scale)[:, None]).to(key_means.dtype.element_ty)
        for start_block in range(0, num_blocks, BLOCK):
            blocks = start_block + column
            known = blocks < num_blocks
            place = (blocks * heads + head) * HEAD
            k = tl.load(key_means + place[None, :] + d[:, None], mask=known[None, :], other=0.0)
            v = tl.load(value_means + place[:, None] + d[None, :], mask=known[:, None], other=0.0)
            scores = tl.dot(q, k) * softmax_scale
            scores += tl.log2(tl.load(lengths + blocks, mask=known, other=1).to(tl.float32))[None, :]
            read = tl.load(exact + (head * tl.num_programs(0) + tile) * num_blocks + blocks, mask=known, other=1)
            scores = tl.where((read == 0)[None, :], scores, float("-inf"))
            largest, total, mix = _fold(scores, v, largest, total, mix, EIGHT_BIT)
    mix = mix / total[:, None]
    if EIGHT_BIT:
        mix = mix * tl.load(value_scale + head * HEAD + d)[None, :]
    end = out + tile.to(tl.int64) * TILE * out_l + head.to(tl.int64) * out_h
    place = tl.arange(0, TILE)[:, None] * out_l + d[None, :]
    tl.store(end + place, mix.to(out.dtype.element_ty), mask=inside)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """As `reference.attention`, for heads of 16, 32, 64 or 128."""
    return _launch(query, key, value, query.dtype, None, None)


def attention_8bit(heads: Fp8Heads, out: torch.dtype) -> torch.Tensor:
    """As `eight_bit.attention_8bit`."""
    return _launch(heads.query, heads.key, heads.value.permute(2, 0, 1), out, None, heads)


def sparse_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, selection: Selection) -> torch.Tensor:
    """As `sparse.sparse_attention`, for blocks of 16, 32 or 64."""
    return _launch(query, key, value, query.dtype, selection, None)


def sparse_attention_8bit(heads: Fp8Heads, selection: Selection, out: torch.dtype) -> torch.Tensor:
    """As `sparse.sparse_attention_8bit`, for blocks of 64, to which the scales belong."""
    if selection.block != BLOCK:
        raise ValueError(f"8-bit scales are for blocks of {BLOCK} tokens, not {selection.block}")
    selection = centred(selection, heads.key_mean)
    return _launch(heads.query, heads.key, heads.value.permute(2, 0, 1), out, selection, heads)


def _launch(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out_dtype: torch.dtype,
    selection: Selection | None,
    heads8: Fp8Heads | None,
) -> torch.Tensor:
    length, heads, head_width = query.shape
    block = BLOCK if selection is None else selection.block
    tile, num_blocks = TILE_BLOCKS * block, math.ceil(len(key) / block)
    out = torch.empty(length, heads, head_width, dtype=out_dtype, device=query.device)
    scales = (None, None, None) if heads8 is None else (heads8.query_scale, heads8.key_scale, heads8.value_scale)
    tables = (None,) * 5 if selection is None else _tables(selection, heads8)
    _attention_kernel[(math.ceil(length / tile), heads)](
        query, key, value, out, *scales, *tables,
        length, len(key), num_blocks, num_blocks if selection is None else selection.lists.shape[-1], heads,
        head_width**-0.5 * math.log2(math.e),
        query.stride(0), query.stride(1), key.stride(0), key.stride(1), *value.stride(), out.stride(0), out.stride(1),
        SPARSE=selection is not None, EIGHT_BIT=heads8 is not None, TILE=tile, BLOCK=block, SCALE_BLOCK=BLOCK,
        HEAD=head_width, num_warps=8 if tile == 128 else 4, num_stages=3,
    )  # fmt: skip
    return out


def _tables(selection: Selection, heads8: Fp8Heads | None) -> tuple[torch.Tensor, ...]:
    """Of the kernel's arguments; value means in units of the values' scales."""
    means = selection.value_means
    if heads8 is not None:
        means = (means.float() / heads8.value_scale).to(means.dtype)
    exact = selection.exact.view(torch.uint8)
    return selection.lists, exact, selection.key_means, means, selection.lengths
