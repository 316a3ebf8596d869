"""Compute cross-attention to text and image in Triton: one pass over the queries, two softmaxes, one sum.

    out_i = sum_j softmax_j(s_ij) v_j  over the text  +  the same over the image
    s_ij  = q_i . k_j * log2(e) / sqrt(d) + log2(c_j)

c_j is the number of equal text keys that k_j stands for; 1 for the image. Each softmax runs online, as in
`fused.attention`, by m_i, l_i and acc.

There are so few keys (17 and 257) that the bytes of the queries count as much as the products. Separate passes would
each read all queries and write a result, and a third would add the two: 2.9 ms predicted for 512 and 257 keys, 1.8 ms
for this one (`benchmarks/LOG.md`; not measured).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from animate_kernels.fused.attention import add_block, load_block

_BLOCK_M, _BLOCK_N, _WARPS = 128, 64, 8


@triton.jit
def _attend(
    q, k_ptr, v_ptr, log2_count_ptr, num_keys, heads, head, qk_scale,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr,
):  # fmt: skip
    """Return the attention of queries to all keys of one source, `BLOCK_M HEAD_DIM` fp32.

    q: `BLOCK_M HEAD_DIM`.
    k_ptr, v_ptr: `num_keys heads HEAD_DIM`, contiguous.
    log2_count_ptr: `num_keys` fp32; None where each key stands for itself.
    """
    # move to this head
    k_ptr += head * HEAD_DIM
    v_ptr += head * HEAD_DIM

    # m_i begins at -inf, so alpha is 0 for the first block, which always holds a key
    m_i = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    l_i = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, HEAD_DIM), tl.float32)
    # scores are scaled before `add_block`, as log2(c_j) is added to scaled ones
    one = tl.full((BLOCK_M,), 1.0, tl.float32)

    for block in range(tl.cdiv(num_keys, BLOCK_N)):
        # every block under a mask: with so few of them a loop of its own for whole ones would save nothing
        k = load_block(k_ptr, block, heads * HEAD_DIM, 1, num_keys, True, BLOCK_N, HEAD_DIM)
        v = load_block(v_ptr, block, heads * HEAD_DIM, 1, num_keys, True, BLOCK_N, HEAD_DIM)
        offs_n = block * BLOCK_N + tl.arange(0, BLOCK_N)
        # -inf past the end: the mask and the count in one addition
        if log2_count_ptr is None:
            log2_count = tl.where(offs_n < num_keys, 0.0, float("-inf"))
        else:
            log2_count = tl.load(log2_count_ptr + offs_n, mask=offs_n < num_keys, other=float("-inf"))
        qk = tl.dot(q, k.T) * qk_scale + log2_count[None, :]
        m_i, l_i, acc = add_block(qk, one, v, m_i, l_i, acc, False)
    # one reciprocal a row in place of a division a value
    return acc * (1.0 / l_i)[:, None]


@triton.jit
def _cross_kernel(
    q_ptr, text_k_ptr, text_v_ptr, log2_count_ptr, image_k_ptr, image_v_ptr, out_ptr,
    length, num_text, num_image, heads, stride_qm, stride_qh, qk_scale,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, HEAD_DIM: tl.constexpr,
):  # fmt: skip
    """Write the outputs of `BLOCK_M` queries of a head. Grid: `(length / BLOCK_M, heads)`.

    q_ptr: `length heads HEAD_DIM` by its strides, in elements.
    text_k_ptr, text_v_ptr: `num_text heads HEAD_DIM`, contiguous.
    log2_count_ptr: `num_text` fp32.
    image_k_ptr, image_v_ptr: `num_image heads HEAD_DIM`, contiguous.
    out_ptr: `length heads HEAD_DIM`, contiguous.
    qk_scale: log2(e) / sqrt(d).
    """
    # load the queries once for both sources; offsets in 64 bits, as they pass 2^31 in long videos
    head = tl.program_id(1)
    offs_m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    offs_d = tl.arange(0, HEAD_DIM)[None, :]
    q = tl.load(q_ptr + offs_m * stride_qm + head * stride_qh + offs_d, mask=offs_m < length, other=0.0)

    # attend to text and image, each in a softmax of its own
    text = _attend(q, text_k_ptr, text_v_ptr, log2_count_ptr, num_text, heads, head, qk_scale, BLOCK_M, BLOCK_N,
                   HEAD_DIM)  # fmt: skip
    image = _attend(q, image_k_ptr, image_v_ptr, None, num_image, heads, head, qk_scale, BLOCK_M, BLOCK_N, HEAD_DIM)

    # both are rounded before they are added, as in the definition
    dtype = out_ptr.dtype.element_ty
    out = text.to(dtype).to(tl.float32) + image.to(dtype).to(tl.float32)
    tl.store(out_ptr + (offs_m * heads + head) * HEAD_DIM + offs_d, out.to(dtype), mask=offs_m < length)


def cross_attention(
    query: torch.Tensor,
    text_key: torch.Tensor,
    text_value: torch.Tensor,
    text_counts: torch.Tensor,
    image_key: torch.Tensor,
    image_value: torch.Tensor,
) -> torch.Tensor:
    """Compute `definitions.cross_attention`, for heads that are a power of two wide, at least 16."""
    length, heads, head_width = query.shape
    text_key, text_value, image_key, image_value = (
        states.contiguous() for states in (text_key, text_value, image_key, image_value)
    )
    out = torch.empty(length, heads, head_width, dtype=query.dtype, device=query.device)
    _cross_kernel[(triton.cdiv(length, _BLOCK_M), heads)](
        query, text_key, text_value, text_counts.log2(), image_key, image_value, out,
        length, len(text_key), len(image_key), heads, query.stride(0), query.stride(1),
        head_width**-0.5 * math.log2(math.e),
        BLOCK_M=_BLOCK_M, BLOCK_N=_BLOCK_N, HEAD_DIM=head_width, num_warps=_WARPS, num_stages=2,
    )  # fmt: skip
    return out
