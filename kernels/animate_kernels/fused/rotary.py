"""Triton: RMSNorm over the full width of queries and keys, and their rotary positions, in one pass over a row.

A row of 5120 stays in registers between the norm and the turning. Queries and keys come from one product and go in one
launch, into the layout that every attention backend reads.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.reference import EPSILON


@triton.jit
def _norm_rotate_kernel(
    states, weight, cos, sin, out, pairs, head_pairs, row_stride, part_stride, epsilon,
    ROTATE: tl.constexpr, PAIRS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    kind = out.dtype.element_ty
    pair = tl.arange(0, PAIRS)
    inside = pair < pairs
    both = pair[:, None] * 2 + tl.arange(0, 2)[None, :]
    mask = inside[:, None] & (both >= 0)
    x = tl.load(states + row * row_stride + part * part_stride + both, mask=mask, other=0.0).to(tl.float32)
    first, second = tl.split(x)
    mean = tl.sum(first * first + second * second, axis=0) / (2 * pairs)
    factor = 1.0 / tl.sqrt(mean + epsilon)
    first_weight, second_weight = tl.split(tl.load(weight + part * pairs * 2 + both, mask=mask, other=0.0))
    # as the official code: rounded, times the weight, rounded
    first = ((first * factor).to(kind).to(tl.float32) * first_weight.to(tl.float32)).to(kind)
    second = ((second * factor).to(kind).to(tl.float32) * second_weight.to(tl.float32)).to(kind)
    if ROTATE:
        place = row * head_pairs + pair % head_pairs
        c = tl.load(cos + place, mask=inside, other=0.0)
        s = tl.load(sin + place, mask=inside, other=0.0)
        a = first.to(tl.float32)
        b = second.to(tl.float32)
        first = (a * c - b * s).to(kind)
        second = (a * s + b * c).to(kind)
    parts = tl.num_programs(1)
    tl.store(out + (row * parts + part) * pairs * 2 + both, tl.join(first, second), mask=mask)


def norm_rotate(
    states: torch.Tensor, weight: torch.Tensor, heads: int, cos: torch.Tensor | None, sin: torch.Tensor | None
) -> torch.Tensor:
    """As `reference.norm_rotate`."""
    length, parts, width = states.shape
    out = torch.empty(length, parts, heads, width // heads, dtype=states.dtype, device=states.device)
    _norm_rotate_kernel[(length, parts)](
        states, weight.contiguous(), cos, sin, out,
        width // 2, width // heads // 2, states.stride(0), states.stride(1), EPSILON,
        ROTATE=cos is not None, PAIRS=triton.next_power_of_2(width // 2), num_warps=8,
    )  # fmt: skip
    return out
