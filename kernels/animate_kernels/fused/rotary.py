"""Triton: RMSNorm over the full width of queries and keys, and their rotary positions, in one launch.

A program reads a row of 5120 twice, the second time from the first-level cache, a few heads at a time: that needs no
registers for the row and no lanes for what 5120 lacks to a power of two. Queries and keys come from one product and go
into the layout that every attention backend reads.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.definitions import EPSILON

_CHUNK_HEADS = 8


@triton.jit
def _norm_rotate_kernel(
    states, weight, cos, sin, out, heads, head_width, row_stride, part_stride, epsilon,
    ROTATE: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr, HEAD: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    kind = out.dtype.element_ty
    head = tl.arange(0, CHUNK)[:, None]
    column = tl.arange(0, HEAD)[None, :]
    width = heads * head_width
    start = states + row * row_stride + part * part_stride
    squares = tl.zeros((CHUNK, HEAD), tl.float32)
    for chunk in tl.static_range(CHUNKS):
        place = (chunk * CHUNK + head) * head_width + column
        inside = (chunk * CHUNK + head < heads) & (column < head_width)
        x = tl.load(start + place, mask=inside, other=0.0).to(tl.float32)
        squares += x * x
    factor = 1.0 / tl.sqrt(tl.sum(squares) / width + epsilon)
    if ROTATE:
        pairs = head_width // 2
        pair = tl.arange(0, HEAD // 2)
        c = tl.load(cos + row * pairs + pair, mask=pair < pairs, other=0.0)[None, :]
        s = tl.load(sin + row * pairs + pair, mask=pair < pairs, other=0.0)[None, :]
    end = out + (row * tl.num_programs(1) + part) * width
    for chunk in tl.static_range(CHUNKS):
        place = (chunk * CHUNK + head) * head_width + column
        inside = (chunk * CHUNK + head < heads) & (column < head_width)
        x = tl.load(start + place, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(weight + part * width + place, mask=inside, other=0.0).to(tl.float32)
        x = ((x * factor).to(kind).to(tl.float32) * w).to(kind)  # as the official code: rounded, times w, rounded
        if ROTATE:
            a, b = tl.split(x.to(tl.float32).reshape(CHUNK, HEAD // 2, 2))
            x = tl.join((a * c - b * s).to(kind), (a * s + b * c).to(kind)).reshape(CHUNK, HEAD)
        tl.store(end + place, x, mask=inside)


def norm_rotate(
    states: torch.Tensor, weight: torch.Tensor, heads: int, cos: torch.Tensor | None, sin: torch.Tensor | None
) -> torch.Tensor:
    """As `definitions.norm_rotate`."""
    length, parts, width = states.shape
    out = torch.empty(length, parts, heads, width // heads, dtype=states.dtype, device=states.device)
    _norm_rotate_kernel[(length, parts)](
        states, weight.contiguous(), cos, sin, out, heads, width // heads, states.stride(0), states.stride(1), EPSILON,
        ROTATE=cos is not None, CHUNK=_CHUNK_HEADS, CHUNKS=triton.cdiv(heads, _CHUNK_HEADS),
        HEAD=triton.next_power_of_2(width // heads), num_warps=4,
    )  # fmt: skip
    return out
