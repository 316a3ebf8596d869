"""Compute the face adapter's attention in Triton: RMSNorm of each head, five scores, their softmax and sum in one pass.

    q_i   = rms_norm(query_i) * weight
    s_ij  = q_i . k_j / sqrt(d)             j: the motion tokens of the frame of token i
    out_i = sum_j softmax_j(s_ij) v_j

The softmax runs online, one key a step, by m_i, l_i and acc (`fused.attention` has the formula).

Five keys are too few for the tensor cores, whose products take 16. The frame is read from a table for each token, so
the tokens may come in any order and none has to be restored.
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
    q_ptr, weight_ptr, k_ptr, v_ptr, frame_ptr, out_ptr, heads, head_width, qk_scale, epsilon,
    BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Write the output of `BLOCK_H` heads of one token. Grid: `(tokens, heads / BLOCK_H)`.

    q_ptr, out_ptr: `tokens heads head_width`, contiguous.
    weight_ptr: `head_width`, the RMSNorm's.
    k_ptr, v_ptr: `frames KEYS heads head_width`, contiguous; the keys normed.
    frame_ptr: `tokens` int32, the frame of each token.
    qk_scale: 1 / sqrt(d).
    BLOCK_D: `head_width` rounded up to a power of two.
    """
    # a few heads of one token
    token = tl.program_id(0).to(tl.int64)
    dtype = out_ptr.dtype.element_ty
    offs_h = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)[:, None]
    offs_d = tl.arange(0, BLOCK_D)[None, :]
    mask = (offs_h < heads) & (offs_d < head_width)
    offs = offs_h * head_width + offs_d
    width = heads * head_width

    # RMSNorm of each head, rounded before and after the weight as in the definition
    q = tl.load(q_ptr + token * width + offs, mask=mask, other=0.0).to(tl.float32)
    q = q * (1.0 / tl.sqrt(tl.sum(q * q, axis=1) / head_width + epsilon))[:, None]
    weight = tl.load(weight_ptr + offs_d, mask=offs_d < head_width, other=0.0).to(tl.float32)
    q = (q.to(dtype).to(tl.float32) * weight).to(dtype).to(tl.float32)

    # online softmax over the motion tokens of the token's own frame
    first_key = tl.load(frame_ptr + token).to(tl.int64) * KEYS
    m_i = tl.full((BLOCK_H,), float("-inf"), tl.float32)
    l_i = tl.zeros((BLOCK_H,), tl.float32)
    acc = tl.zeros((BLOCK_H, BLOCK_D), tl.float32)
    # unrolled: the keys are few, and no load waits for the softmax of another key
    for index in tl.static_range(KEYS):
        k = tl.load(k_ptr + (first_key + index) * width + offs, mask=mask, other=0.0).to(tl.float32)
        v = tl.load(v_ptr + (first_key + index) * width + offs, mask=mask, other=0.0).to(tl.float32)
        # a sum of products in fp32, as the tensor cores have no part in it
        qk = tl.sum(q * k, axis=1) * qk_scale
        # -inf at first, so that the first key's alpha is 0
        m_new = tl.maximum(m_i, qk)
        alpha = tl.exp(m_i - m_new)
        p = tl.exp(qk - m_new)
        l_i = l_i * alpha + p
        acc = acc * alpha[:, None] + p[:, None] * v
        m_i = m_new

    # one reciprocal a head in place of a division a value
    tl.store(out_ptr + token * width + offs, (acc * (1.0 / l_i)[:, None]).to(dtype), mask=mask)


def face_attention(
    query: torch.Tensor, weight: torch.Tensor, key: torch.Tensor, value: torch.Tensor, order: TokenOrder
) -> torch.Tensor:
    """Compute `definitions.face_attention`."""
    length, heads, head_width = query.shape
    out = torch.empty(length, heads * head_width, dtype=query.dtype, device=query.device)
    _face_kernel[(length, triton.cdiv(heads, _PROGRAM_HEADS))](
        query.contiguous(), weight, key.contiguous(), value.contiguous(), order.frames, out,
        heads, head_width, head_width**-0.5, EPSILON,
        BLOCK_H=_PROGRAM_HEADS, BLOCK_D=triton.next_power_of_2(head_width), KEYS=key.shape[1], num_warps=2,
    )  # fmt: skip
    return out
