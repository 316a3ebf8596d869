"""Triton: attention to text and image in one pass over the queries, a softmax for each, and the two added.

There are so few keys that the queries' bytes count as much as the products: apart, each would read them all and write a
result, and a third pass would add the two.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from animate_kernels.fused.attention import _fold, _load_block

_ROWS, _BLOCK, _WARPS = 128, 64, 8


@triton.jit
def _look(q, key, value, log_counts, num_keys, heads, head, softmax_scale, ROWS: tl.constexpr, BLOCK: tl.constexpr,
          HEAD: tl.constexpr):  # fmt: skip
    """`ROWS HEAD`: what the queries see. log_counts: powers of two, or None where each key stands for itself."""
    key += head * HEAD
    value += head * HEAD
    one = tl.full((ROWS,), 1.0, tl.float32)
    largest = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    mix = tl.zeros((ROWS, HEAD), tl.float32)
    for block in range(tl.cdiv(num_keys, BLOCK)):
        k = _load_block(key, block, heads * HEAD, 1, num_keys, True, BLOCK, HEAD)
        v = _load_block(value, block, heads * HEAD, 1, num_keys, True, BLOCK, HEAD)
        column = block * BLOCK + tl.arange(0, BLOCK)
        if log_counts is None:
            count = tl.where(column < num_keys, 0.0, float("-inf"))
        else:
            count = tl.load(log_counts + column, mask=column < num_keys, other=float("-inf"))
        scores = tl.dot(q, k.T) * softmax_scale + count[None, :]
        largest, total, mix = _fold(scores, one, v, largest, total, mix, False)
    return mix * (1.0 / total)[:, None]


@triton.jit
def _cross_kernel(
    query, text_key, text_value, log_counts, image_key, image_value, out,
    length, num_text, num_image, heads, query_l, query_h, softmax_scale,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, HEAD: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, HEAD)[None, :]
    q = tl.load(query + row * query_l + head * query_h + d, mask=row < length, other=0.0)
    text = _look(q, text_key, text_value, log_counts, num_text, heads, head, softmax_scale, ROWS, BLOCK, HEAD)
    image = _look(q, image_key, image_value, None, num_image, heads, head, softmax_scale, ROWS, BLOCK, HEAD)
    seen = text.to(out.dtype.element_ty).to(tl.float32) + image.to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + (row * heads + head) * HEAD + d, seen.to(out.dtype.element_ty), mask=row < length)


def cross_attention(
    query: torch.Tensor,
    text_key: torch.Tensor,
    text_value: torch.Tensor,
    text_counts: torch.Tensor,
    image_key: torch.Tensor,
    image_value: torch.Tensor,
) -> torch.Tensor:
    """As `definitions.cross_attention`, for heads that are a power of two wide, at least 16."""
    length, heads, head_width = query.shape
    keys_values = [part.contiguous() for part in (text_key, text_value, image_key, image_value)]
    out = torch.empty(length, heads, head_width, dtype=query.dtype, device=query.device)
    _cross_kernel[(triton.cdiv(length, _ROWS), heads)](
        query, *keys_values[:2], text_counts.log2(), *keys_values[2:], out,
        length, len(text_key), len(image_key), heads, query.stride(0), query.stride(1),
        head_width**-0.5 * math.log2(math.e),
        ROWS=_ROWS, BLOCK=_BLOCK, HEAD=head_width, num_warps=_WARPS, num_stages=2,
    )  # fmt: skip
    return out
