"""Round the queries, keys and values of attention to e4m3 in Triton, each in one pass.

Queries and keys, one scale for a block of 64 tokens of a head (a block of tokens, not a transformer block):

    y     = x - mean                    for keys: their mean over all tokens; 0 for queries
    scale = max over the block |y| / 448
    out   = e4m3(y / scale)

Values, one scale a channel, known beforehand from the blocks' largest magnitudes, written along the tokens:

    out_d,l = e4m3(v_l,d / scale_d)
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl

from animate_kernels.blocks import Blocks
from animate_kernels.eight_bit import BLOCK, Fp8Heads, channel_scale, empty_along_tokens
from animate_kernels.fp8 import FP8


@triton.jit
def _blocks_kernel(
    x_ptr, mean_ptr, out_ptr, scale_ptr, length, heads, head_width, stride_l, stride_h,
    SMOOTH: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write a block of tokens of one head in e4m3, and its scale. Grid: `(blocks, heads)`.

    x_ptr: `length heads head_width` by its strides, in elements.
    mean_ptr: `heads head_width` fp32; read where `SMOOTH`.
    out_ptr: `length heads head_width`, contiguous.
    scale_ptr: `blocks heads` fp32.
    BLOCK_D: `head_width` rounded up to a power of two.
    """
    # load the block whole: its scale is known only from all of it
    block = tl.program_id(0)
    head = tl.program_id(1)
    offs_l = block.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_d = tl.arange(0, BLOCK_D)
    mask = (offs_l < length)[:, None] & (offs_d < head_width)[None, :]
    x = tl.load(x_ptr + offs_l[:, None] * stride_l + head * stride_h + offs_d[None, :], mask=mask, other=0.0)
    x = x.to(tl.float32)

    # take off the keys' mean, which softmax does not see and which would fill the range (`eight_bit`)
    if SMOOTH:
        x -= tl.load(mean_ptr + head * head_width + offs_d, mask=offs_d < head_width, other=0.0)[None, :]
        # lanes past the end are minus the mean by now, and must not set the scale
        x = tl.where(mask, x, 0.0)

    # round by the largest magnitude, as `fused.norm.store_e4m3_row` does for a row: a block of zeros gets the scale 1,
    # and one reciprocal a block takes the place of a division a value
    largest = tl.max(tl.max(tl.abs(x), axis=1), axis=0)
    scale = tl.where(largest > 0, largest / 448.0, 1.0)
    out = tl.clamp(x * (1.0 / scale), -448.0, 448.0).to(tl.float8e4nv)
    tl.store(out_ptr + (offs_l[:, None] * heads + head) * head_width + offs_d[None, :], out, mask=mask)
    tl.store(scale_ptr + block * heads + head, scale)


@triton.jit
def _channels_kernel(
    v_ptr, scale_ptr, out_ptr, length, head_width, stride_l, stride_h, stride_out_d,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write the values of a block of tokens of one head in e4m3, along the tokens. Grid: `(blocks, heads)`.

    v_ptr: `length heads head_width` by its strides, in elements.
    scale_ptr: `heads head_width` fp32.
    out_ptr: `heads head_width length`, channels `stride_out_d` elements apart.
    BLOCK_D: `head_width` rounded up to a power of two.
    """
    # load the block; token offsets in 64 bits, as they pass 2^31 in long videos
    head = tl.program_id(1)
    offs_l = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    offs_d = tl.arange(0, BLOCK_D)
    mask = (offs_l < length)[:, None] & (offs_d < head_width)[None, :]
    x = tl.load(v_ptr + offs_l[:, None] * stride_l + head * stride_h + offs_d[None, :], mask=mask, other=0.0)

    # round by each channel's scale, as the errors of one a block would add up over the tokens
    # lanes past the end get 1, so that nothing is divided by zero
    scale = tl.load(scale_ptr + head * head_width + offs_d, mask=offs_d < head_width, other=1.0)
    out = tl.clamp(x.to(tl.float32) * (1.0 / scale)[None, :], -448.0, 448.0).to(tl.float8e4nv)

    # transposed: 8-bit tensor cores read the second factor along the tokens, over which the product sums
    out_offs = (head * head_width + offs_d)[None, :].to(tl.int64) * stride_out_d + offs_l[:, None]
    tl.store(out_ptr + out_offs, out, mask=mask)


def quantize_heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_blocks: Blocks, value_blocks: Blocks
) -> Fp8Heads:
    """Compute `eight_bit.quantize_heads`."""
    # both from the blocks' summaries, so that no further pass over keys and values is needed
    mean, value_scale = key_blocks.mean(), channel_scale(value_blocks)
    query8, query_scale = _quantize_blocks(query, None)
    key8, key_scale = _quantize_blocks(key, mean)
    return Fp8Heads(
        query=query8,
        query_scale=query_scale,
        key=key8,
        key_scale=key_scale,
        key_mean=mean,
        value=_quantize_channels(value, value_scale),
        value_scale=value_scale,
    )


def _quantize_blocks(states: torch.Tensor, mean: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `eight_bit.quantize_blocks` of states less their mean, or None."""
    length, heads, head_width = states.shape
    num_blocks = math.ceil(length / BLOCK)
    out = torch.empty(length, heads, head_width, dtype=FP8, device=states.device)
    scale = torch.empty(num_blocks, heads, dtype=torch.float32, device=states.device)
    _blocks_kernel[(num_blocks, heads)](
        states, mean, out, scale, length, heads, head_width, states.stride(0), states.stride(1),
        SMOOTH=mean is not None, BLOCK_N=BLOCK, BLOCK_D=triton.next_power_of_2(head_width),
    )  # fmt: skip
    return out, scale


def _quantize_channels(value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the values `heads d l` in e4m3, by the scales `heads d`."""
    length, heads, head_width = value.shape
    out = empty_along_tokens(length, heads, head_width, value.device)
    _channels_kernel[(math.ceil(length / BLOCK), heads)](
        value, scale, out, length, head_width, value.stride(0), value.stride(1), out.stride(1),
        BLOCK_N=BLOCK, BLOCK_D=triton.next_power_of_2(head_width),
    )  # fmt: skip
    return out
