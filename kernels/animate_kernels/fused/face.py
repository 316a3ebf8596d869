"""Triton: the face adapter's attention in one pass: each head's RMSNorm, five scores, their softmax and the mix.

Five keys are too few for tensor cores and a frame is looked up per token, so that any order of tokens will do.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.definitions import EPSILON
from animate_kernels.order import TokenOrder

_PROGRAM_HEADS = 8


@triton.jit
def _face_kernel(
    query, weight, key, value, frames, out, heads, head_width, scale, epsilon,
    HEADS: tl.constexpr, HEAD: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    token = tl.program_id(0).to(tl.int64)
    kind = out.dtype.element_ty
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, HEAD)[None, :]
    inside = (head < heads) & (column < head_width)
    place = head * head_width + column
    width = heads * head_width
    q = tl.load(query + token * width + place, mask=inside, other=0.0).to(tl.float32)
    q = q * (1.0 / tl.sqrt(tl.sum(q * q, axis=1) / head_width + epsilon))[:, None]
    w = tl.load(weight + column, mask=column < head_width, other=0.0).to(tl.float32)
    q = (q.to(kind).to(tl.float32) * w).to(kind).to(tl.float32)
    seen = tl.load(frames + token).to(tl.int64) * KEYS
    largest = tl.full((HEADS,), float("-inf"), tl.float32)
    total = tl.zeros((HEADS,), tl.float32)
    mix = tl.zeros((HEADS, HEAD), tl.float32)
    for index in tl.static_range(KEYS):
        k = tl.load(key + (seen + index) * width + place, mask=inside, other=0.0).to(tl.float32)
        v = tl.load(value + (seen + index) * width + place, mask=inside, other=0.0).to(tl.float32)
        score = tl.sum(q * k, axis=1) * scale
        higher = tl.maximum(largest, score)
        shrink = tl.exp(largest - higher)
        weight_of_key = tl.exp(score - higher)
        total = total * shrink + weight_of_key
        mix = mix * shrink[:, None] + weight_of_key[:, None] * v
        largest = higher
    tl.store(out + token * width + place, (mix * (1.0 / total)[:, None]).to(kind), mask=inside)


def face_attention(
    query: torch.Tensor, weight: torch.Tensor, key: torch.Tensor, value: torch.Tensor, order: TokenOrder
) -> torch.Tensor:
    """As `definitions.face_attention`."""
    length, heads, head_width = query.shape
    out = torch.empty(length, heads * head_width, dtype=query.dtype, device=query.device)
    _face_kernel[(length, triton.cdiv(heads, _PROGRAM_HEADS))](
        query.contiguous(), weight, key.contiguous(), value.contiguous(), order.frames, out,
        heads, head_width, head_width**-0.5, EPSILON,
        HEADS=_PROGRAM_HEADS, HEAD=triton.next_power_of_2(head_width), KEYS=key.shape[1], num_warps=2,
    )  # fmt: skip
    return out
