"""Triton: queries, keys and values of attention to e4m3, each in one pass; the keys' mean is taken off on the way."""

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
    states, mean, out, scale, length, heads, head_width, stride_l, stride_h,
    SMOOTH: tl.constexpr, BLOCK: tl.constexpr, HEAD: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    head = tl.program_id(1)
    rows = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, HEAD)
    inside = (rows < length)[:, None] & (d < head_width)[None, :]
    x = tl.load(states + rows[:, None] * stride_l + head * stride_h + d[None, :], mask=inside, other=0.0)
    x = x.to(tl.float32)
    if SMOOTH:
        x -= tl.load(mean + head * head_width + d, mask=d < head_width, other=0.0)[None, :]
        x = tl.where(inside, x, 0.0)
    largest = tl.max(tl.max(tl.abs(x), axis=1), axis=0)
    factor = tl.where(largest > 0, largest / 448.0, 1.0)
    rounded = tl.clamp(x * (1.0 / factor), -448.0, 448.0).to(tl.float8e4nv)
    tl.store(out + (rows[:, None] * heads + head) * head_width + d[None, :], rounded, mask=inside)
    tl.store(scale + block * heads + head, factor)


@triton.jit
def _channels_kernel(
    value, scale, out, length, head_width, stride_l, stride_h, out_d, BLOCK: tl.constexpr, HEAD: tl.constexpr
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, HEAD)
    inside = (rows < length)[:, None] & (d < head_width)[None, :]
    x = tl.load(value + rows[:, None] * stride_l + head * stride_h + d[None, :], mask=inside, other=0.0)
    factor = tl.load(scale + head * head_width + d, mask=d < head_width, other=1.0)
    rounded = tl.clamp(x.to(tl.float32) * (1.0 / factor)[None, :], -448.0, 448.0).to(tl.float8e4nv)
    place = (head * head_width + d)[None, :].to(tl.int64) * out_d + rows[:, None]
    tl.store(out + place, rounded, mask=inside)


def quantize_heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_blocks: Blocks, value_blocks: Blocks
) -> Fp8Heads:
    """As `eight_bit.quantize_heads`."""
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
    length, heads, head_width = states.shape
    num_blocks = math.ceil(length / BLOCK)
    out = torch.empty(length, heads, head_width, dtype=FP8, device=states.device)
    scale = torch.empty(num_blocks, heads, dtype=torch.float32, device=states.device)
    _blocks_kernel[(num_blocks, heads)](
        states, mean, out, scale, length, heads, head_width, states.stride(0), states.stride(1),
        SMOOTH=mean is not None, BLOCK=BLOCK, HEAD=triton.next_power_of_2(head_width),
    )  # fmt: skip
    return out, scale


def _quantize_channels(value: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    length, heads, head_width = value.shape
    out = empty_along_tokens(length, heads, head_width, value.device)
    _channels_kernel[(math.ceil(length / BLOCK), heads)](
        value, scale, out, length, head_width, value.stride(0), value.stride(1), out.stride(1),
        BLOCK=BLOCK, HEAD=triton.next_power_of_2(head_width),
    )  # fmt: skip
    return out
