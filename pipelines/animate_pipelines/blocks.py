"""The transformer's blocks in the official precision, on diffusers' modules.

diffusers' own forward keeps the residual stream, the modulation and the time embedding in the weights' type; the model
was trained and is published with fp32 there and bf16 products (autocast). In fp32 the two are the same computation.
Tokens are `b l d`, with heads `b heads l d/heads`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

MAX_TEXT_TOKENS = 512  # the context ends with that many text tokens; what comes before is the image's
Rotary = tuple[torch.Tensor, torch.Tensor]


def run_block(
    block: Any, tokens: torch.Tensor, context: torch.Tensor, modulation: torch.Tensor, rotary: Rotary
) -> torch.Tensor:
    """Tokens after one block, fp32. modulation: `b 6 d`, fp32. context: `b l d`, in the weights' type."""
    dtype = block.scale_shift_table.dtype
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (block.scale_shift_table.float() + modulation).chunk(6, dim=1)
    attended = self_attention(block.attn1, modulate(tokens, shift, scale).to(dtype), rotary)
    tokens = tokens + attended * gate
    tokens = tokens + cross_attention(block.attn2, affine_norm(block.norm2, tokens).to(dtype), context)
    return tokens + block.ffn(modulate(tokens, ff_shift, ff_scale).to(dtype)) * ff_gate


def run_face_block(block: Any, tokens: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
    """What a face block adds to the tokens `b l d`: those of latent frame i look at motion tokens i of `b t 5 d`."""
    dtype, heads = block.norm_q.weight.dtype, block.heads
    num_frames = motion.shape[1]
    query = block.to_q(plain_norm(tokens).to(dtype)).unflatten(2, (heads, -1))
    seen = plain_norm(motion).to(dtype).flatten(1, 2)
    key, value = (layer(seen).unflatten(2, (heads, -1)) for layer in (block.to_k, block.to_v))
    query, key = rms_norm(block.norm_q, query), rms_norm(block.norm_k, key)
    by_frame = [part.unflatten(1, (num_frames, -1)).flatten(0, 1).transpose(1, 2) for part in (query, key, value)]
    attended = F.scaled_dot_product_attention(*by_frame).transpose(1, 2).flatten(2)
    return block.to_out(attended.unflatten(0, (tokens.shape[0], num_frames)).flatten(1, 2))


def self_attention(layer: Any, tokens: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Every token looks at every token of the segment, with rotary positions."""
    query = rotate(_heads(layer, rms_norm(layer.norm_q, layer.to_q(tokens))), rotary)
    key = rotate(_heads(layer, rms_norm(layer.norm_k, layer.to_k(tokens))), rotary)
    attended = F.scaled_dot_product_attention(query, key, _heads(layer, layer.to_v(tokens)))
    return layer.to_out[0](attended.transpose(1, 2).flatten(2))


def cross_attention(layer: Any, tokens: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Every token looks at the text and, with keys and values of their own, at the image; the two are added."""
    image, text = context[:, :-MAX_TEXT_TOKENS], context[:, -MAX_TEXT_TOKENS:]
    query = _heads(layer, rms_norm(layer.norm_q, layer.to_q(tokens)))
    key = _heads(layer, rms_norm(layer.norm_k, layer.to_k(text)))
    image_key = _heads(layer, rms_norm(layer.norm_added_k, layer.add_k_proj(image)))
    attended = F.scaled_dot_product_attention(query, key, _heads(layer, layer.to_v(text)))
    attended = attended + F.scaled_dot_product_attention(query, image_key, _heads(layer, layer.add_v_proj(image)))
    return layer.to_out[0](attended.transpose(1, 2).flatten(2))


def modulate(tokens: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Normalised tokens, scaled and shifted, fp32."""
    return plain_norm(tokens) * (1 + scale) + shift


def plain_norm(tokens: torch.Tensor) -> torch.Tensor:
    """LayerNorm without weights, fp32, eps 1e-6."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:], eps=1e-6)


def affine_norm(norm: nn.LayerNorm, tokens: torch.Tensor) -> torch.Tensor:
    """LayerNorm with weights, fp32."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:], norm.weight.float(), norm.bias.float(), norm.eps)


def rms_norm(norm: nn.RMSNorm, states: torch.Tensor) -> torch.Tensor:
    """Normalised in fp32, back in the states' type, and only then times the weight."""
    return F.rms_norm(states.float(), states.shape[-1:], eps=norm.eps).to(states.dtype) * norm.weight


def rotate(states: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Rotary positions for `b heads l d`: neighbouring pairs turned by tables `1 l 1 d`, in fp32."""
    cos, sin = (table.transpose(1, 2)[..., ::2] for table in rotary)
    first, second = states.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], dim=-1)
    return turned.flatten(-2).to(states.dtype)


def linear_fp32(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """A linear layer in fp32, whatever its weights are stored in."""
    return F.linear(states.float(), layer.weight.float(), layer.bias.float())


def _heads(layer: Any, states: torch.Tensor) -> torch.Tensor:
    return states.unflatten(2, (layer.heads, -1)).transpose(1, 2)
