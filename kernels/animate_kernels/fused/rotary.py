"""Compute the RMSNorm of queries and keys and their rotary positions in Triton, in one launch.

    y          = x / sqrt(mean(x^2) + epsilon) * weight       over the full width of a row
    out_2j     = y_2j cos_j - y_2j+1 sin_j                    for each pair of channels j of a head
    out_2j+1   = y_2j sin_j + y_2j+1 cos_j

A program reads a row of 5120 twice, a few heads at a time; the second read comes from the first-level cache. So the row
takes no registers, and no lanes are idle for what 5120 lacks to a power of two (8,192): 0.40 ms of instructions where
it was 1.05 (`benchmarks/LOG.md`; counted, not measured). Queries and keys come from one product and go into the layout
that every attention backend reads.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.definitions import EPSILON

_CHUNK_HEADS = 8


@triton.jit
def _norm_rotate_kernel(
    x_ptr, weight_ptr, cos_ptr, sin_ptr, out_ptr, heads, head_width, stride_l, stride_n, epsilon,
    ROTATE: tl.constexpr, BLOCK_H: tl.constexpr, CHUNKS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write a row of queries or of keys. Grid: `(length, n)`, n being 2 for queries and keys.

    x_ptr: `length n width` by its strides, in elements; width is `heads head_width`.
    weight_ptr: `n width`, contiguous.
    cos_ptr, sin_ptr: `length head_width/2` fp32, contiguous; read where `ROTATE`.
    out_ptr: `length n width`, contiguous.
    BLOCK_H: heads of a chunk; `CHUNKS` of them hold all heads.
    BLOCK_D: `head_width` rounded up to a power of two.
    """
    # a program for each row of queries and of keys, which lie side by side in the rows of one product
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    dtype = out_ptr.dtype.element_ty
    offs_h = tl.arange(0, BLOCK_H)[:, None]
    offs_d = tl.arange(0, BLOCK_D)[None, :]
    width = heads * head_width

    # first read: the mean square of the whole row, added up lane by lane and reduced once
    x_ptr += row * stride_l + part * stride_n
    squares = tl.zeros((BLOCK_H, BLOCK_D), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        offs = (chunk * BLOCK_H + offs_h) * head_width + offs_d
        mask = (chunk * BLOCK_H + offs_h < heads) & (offs_d < head_width)
        x = tl.load(x_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        squares += x * x
    # one reciprocal a row in place of a division a value
    rstd = 1.0 / tl.sqrt(tl.sum(squares) / width + epsilon)

    # the position's cosines and sines, the same for every head
    if ROTATE:
        pairs = head_width // 2
        pair = tl.arange(0, BLOCK_D // 2)
        cos = tl.load(cos_ptr + row * pairs + pair, mask=pair < pairs, other=0.0)[None, :]
        sin = tl.load(sin_ptr + row * pairs + pair, mask=pair < pairs, other=0.0)[None, :]

    # second read: normalise, weigh and turn
    out_ptr += (row * tl.num_programs(1) + part) * width
    for chunk in tl.static_range(CHUNKS):
        offs = (chunk * BLOCK_H + offs_h) * head_width + offs_d
        mask = (chunk * BLOCK_H + offs_h < heads) & (offs_d < head_width)
        x = tl.load(x_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        weight = tl.load(weight_ptr + part * width + offs, mask=mask, other=0.0).to(tl.float32)
        # rounded, weighed and rounded again, as the official code does
        x = ((x * rstd).to(dtype).to(tl.float32) * weight).to(dtype)
        if ROTATE:
            # neighbouring channels are a pair; a view splits them, where an index for each took a remainder
            a, b = tl.split(x.to(tl.float32).reshape(BLOCK_H, BLOCK_D // 2, 2))
            x = tl.join((a * cos - b * sin).to(dtype), (a * sin + b * cos).to(dtype)).reshape(BLOCK_H, BLOCK_D)
        # contiguous heads, as every attention backend reads them
        tl.store(out_ptr + offs, x, mask=mask)


def norm_rotate(
    states: torch.Tensor, weight: torch.Tensor, heads: int, cos: torch.Tensor | None, sin: torch.Tensor | None
) -> torch.Tensor:
    """Compute `definitions.norm_rotate`."""
    length, parts, width = states.shape
    out = torch.empty(length, parts, heads, width // heads, dtype=states.dtype, device=states.device)
    _norm_rotate_kernel[(length, parts)](
        states, weight.contiguous(), cos, sin, out, heads, width // heads, states.stride(0), states.stride(1), EPSILON,
        ROTATE=cos is not None, BLOCK_H=_CHUNK_HEADS, CHUNKS=triton.cdiv(heads, _CHUNK_HEADS),
        BLOCK_D=triton.next_power_of_2(width // heads), num_warps=4,
    )  # fmt: skip
    return out
