"""Attention in 8 bits: queries, keys and values in e4m3, and the definition of attention over them.

Queries and keys have one scale for a block of 64 tokens and a head. Values have one scale a channel, as the errors of
one a block would add up over the tokens. The mean of the keys over all tokens is taken off first: softmax does not see
it, and it would fill the range. Method: SageAttention2 (arXiv 2411.10958), with e4m3 in place of int8. A block here is
always a block of tokens, never a transformer block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from animate_kernels.blocks import Blocks
from animate_kernels.fp8 import FP8, FP8_MAX

BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Heads:
    """Queries, keys and values in e4m3, with their scales.

    Values lie along the tokens: the product with them runs over tokens, and 8-bit tensor cores read no other way.

    query: `l heads d` e4m3.
    query_scale: `blocks heads` fp32.
    key: `l heads d` e4m3, less the keys' mean.
    key_scale: `blocks heads` fp32.
    key_mean: `heads d` fp32, the mean taken off the keys.
    value: `heads d l` e4m3.
    value_scale: `heads d` fp32.
    """

    query: torch.Tensor
    query_scale: torch.Tensor
    key: torch.Tensor
    key_scale: torch.Tensor
    key_mean: torch.Tensor
    value: torch.Tensor
    value_scale: torch.Tensor


def quantize_heads(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, key_blocks: Blocks, value_blocks: Blocks
) -> Fp8Heads:
    """Round queries, keys and values to e4m3. This is the definition.

    query, key, value: `l heads d`.
    key_blocks, value_blocks: summaries of keys and values, which give the mean and the scales.
    """
    mean, value_scale = key_blocks.mean(), channel_scale(value_blocks)
    query8, query_scale = quantize_blocks(query.float())
    key8, key_scale = quantize_blocks(key.float() - mean)
    value8 = along_tokens(value.float() / value_scale)
    return Fp8Heads(
        query=query8,
        query_scale=query_scale,
        key=key8,
        key_scale=key_scale,
        key_mean=mean,
        value=value8,
        value_scale=value_scale,
    )


def quantize_blocks(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return fp32 states in e4m3, `l heads d`, and their fp32 scales, `blocks heads`. The last block may be short."""
    length, num_blocks = len(states), math.ceil(len(states) / BLOCK)
    padded = F.pad(states.abs().amax(dim=-1), (0, 0, 0, num_blocks * BLOCK - length))
    scale = _scale(padded.unflatten(0, (num_blocks, BLOCK)).amax(dim=1))
    return round_e4m3(states / _per_token(scale, length)), scale


def channel_scale(blocks: Blocks) -> torch.Tensor:
    """Return the scale of each channel, `heads d` fp32, which makes its largest magnitude that of e4m3."""
    return _scale(blocks.largest.amax(dim=0))


def along_tokens(states: torch.Tensor) -> torch.Tensor:
    """Round states `l heads d` to e4m3 and lay them along the tokens, `heads d l`."""
    length, heads, head_width = states.shape
    return empty_along_tokens(length, heads, head_width, states.device).copy_(round_e4m3(states).permute(1, 2, 0))


def empty_along_tokens(length: int, heads: int, head_width: int, device: torch.device) -> torch.Tensor:
    """Return an empty e4m3 tensor `heads d l` whose rows begin at multiples of 16 bytes, as 16-byte copies need it."""
    padded = math.ceil(length / 16) * 16
    return torch.empty(heads, head_width, padded, dtype=FP8, device=device)[..., :length]


def dequantize_heads(heads: Fp8Heads) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return queries, keys (less their mean) and values in fp32, `l heads d`."""
    query = dequantize_blocks(heads.query, heads.query_scale)
    key = dequantize_blocks(heads.key, heads.key_scale)
    return query, key, heads.value.permute(2, 0, 1).float() * heads.value_scale


def dequantize_blocks(states: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return in fp32, `l heads d`, what `quantize_blocks` has rounded."""
    return states.float() * _per_token(scale, len(states))


def attention_8bit(heads: Fp8Heads, out: torch.dtype) -> torch.Tensor:
    """Attend over 8-bit heads and return `l heads d` in `out`. This is the definition.

    Weights are rounded to e4m3 relative to each query's largest; their sum is not.
    """
    query, key, value = dequantize_heads(heads)
    scores = torch.einsum("qhd,khd->hqk", query, key) * query.shape[-1] ** -0.5
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    read = torch.einsum("hqk,khd->qhd", round_e4m3(weights * FP8_MAX).float(), value)
    return (read / (weights.sum(dim=-1).t()[..., None] * FP8_MAX)).to(out)


def _per_token(scale: torch.Tensor, length: int) -> torch.Tensor:
    """Repeat scales `blocks heads` for the tokens of their blocks, `l heads 1`."""
    return scale.repeat_interleave(BLOCK, dim=0)[:length, :, None]


def _scale(largest: torch.Tensor) -> torch.Tensor:
    """Return the scale that makes a largest magnitude that of e4m3; 1 for 0."""
    return torch.where(largest > 0, largest / FP8_MAX, torch.ones_like(largest))


def round_e4m3(states: torch.Tensor) -> torch.Tensor:
    """Round to e4m3; values out of range become its ends."""
    return states.clamp(-FP8_MAX, FP8_MAX).to(FP8)
