"""The transformer's blocks in the official precision, on the weights of diffusers' modules.

diffusers' own forward keeps the residual stream, the modulation and the time embedding in the weights' type; the model
was trained and is published with fp32 there and bf16 products (autocast). In fp32 the two are the same computation.
Tokens are `l d`, heads `l heads d/heads`; values that the steps share are computed beforehand (`StepConstants`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from animate_kernels.dispatch import Ops
from animate_kernels.fp8 import FP8, States
from animate_kernels.order import TokenOrder
from animate_kernels.self_attention import SelfAttention
from animate_pipelines.families.wan_animate.fp32_layers import plain_norm, rms_norm
from animate_pipelines.memory.fp8_linear import fuse_layers, input_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The inputs of the cross-attention.

    text: `n d`.
    counts: `n` fp32, the number of rows that each row of the text stands for. A prompt's end is followed by rows of
        zeros that the model attends to as well: equal rows, which one key in a softmax with their number as its weight
        replaces.
    image: `l d`.
    """

    text: torch.Tensor
    counts: torch.Tensor
    image: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """Keys, normed, and values of an attention: `l heads d`, or `t 5 heads d` for faces."""

    key: torch.Tensor
    value: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConstants:
    """The values that the steps of a segment share.

    condition: `1 20 t h w`.
    pose: `1 d t' h/2 w/2` patches.
    attend: the kernel and the density of self-attention.
    order: of the tokens.
    cos, sin: `l d/heads/2`, of rotary positions, in that order.
    text_counts: see `Context`.
    texts, images: for each block.
    faces: for each face block.
    """

    condition: torch.Tensor
    pose: torch.Tensor
    attend: SelfAttention
    order: TokenOrder
    cos: torch.Tensor
    sin: torch.Tensor
    text_counts: torch.Tensor
    texts: tuple[KeyValue, ...]
    images: tuple[KeyValue, ...]
    faces: tuple[KeyValue, ...]


class ResidualStream:
    """The tokens, and the branch to be added to them.

    The branch waits for the next norm, with which it is one pass.
    """

    def __init__(self, tokens: torch.Tensor, ops: Ops, residual: torch.dtype) -> None:
        self._tokens, self._ops, self._residual = tokens, ops, residual
        self._branch: torch.Tensor | None = None
        self._gate: torch.Tensor | None = None

    def add(self, branch: torch.Tensor, gate: torch.Tensor | None = None) -> None:
        """Add a branch `l d`, times a gate `d`."""
        self._branch, self._gate = branch, gate

    def norm(self, weight: torch.Tensor | None, bias: torch.Tensor | None, out: torch.dtype) -> States:
        """Return the tokens as they are now, normalised, times weight plus bias."""
        if self._branch is None:
            return self._ops.layer_norm(self._tokens, weight, bias, out)
        branch, self._branch = self._branch, None
        self._tokens, normed = self._ops.add_norm(
            self._tokens, branch, self._gate, weight, bias, residual=self._residual, out=out
        )
        return normed


def fuse_projections(block: Any) -> None:
    """Fuse the self-attention's three projections into one layer; diffusers' own forward reads that as well."""
    layer = block.attn1
    if not layer.fused_projections:
        layer.to_qkv = fuse_layers([layer.to_q, layer.to_k, layer.to_v])
        del layer.to_q, layer.to_k, layer.to_v
        layer.fused_projections = True


def run_block(
    block: Any, index: int, stream: ResidualStream, time: torch.Tensor, constants: StepConstants, attend: SelfAttention,
    density: float,
) -> None:  # fmt: skip
    """Run the tokens through block `index`.

    time: `6 d` fp32, to which the block adds its own; see `AnimateTransformer`.
    """
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (block.scale_shift_table[0].float() + time).unbind()
    qkv, cross, feed_forward = block.attn1.to_qkv, block.attn2, block.ffn.net
    stream.add(
        self_attention(block.attn1, stream.norm(scale, shift, input_dtype(qkv)), constants, attend, density), gate
    )
    states = stream.norm(block.norm2.weight.float(), block.norm2.bias.float(), input_dtype(cross.to_q))
    stream.add(cross_attention(cross, states, index, constants, attend.ops))
    hidden = feed_forward[0].proj(stream.norm(ff_scale, ff_shift, input_dtype(feed_forward[0].proj)))
    stream.add(feed_forward[2](attend.ops.gelu(hidden, input_dtype(feed_forward[2]))), ff_gate)


def run_face_block(block: Any, stream: ResidualStream, face: KeyValue, order: TokenOrder, ops: Ops) -> None:
    """Let the tokens of each latent frame attend to its face."""
    query = block.to_q(stream.norm(None, None, input_dtype(block.to_q))).unflatten(1, (block.heads, -1))
    attended = ops.face_attention(query, block.norm_q.weight, face.key, face.value, order)
    stream.add(_project(block.to_out, attended, ops))


def self_attention(
    layer: Any, states: States, constants: StepConstants, attend: SelfAttention, density: float
) -> torch.Tensor:
    """Let every token attend to every token of the segment, with rotary positions."""
    parts = layer.to_qkv(states).unflatten(1, (3, -1))
    del states  # here memory is fullest
    weight = torch.stack([layer.norm_q.weight, layer.norm_k.weight])
    turned = attend.ops.norm_rotate(parts[:, :2], weight, layer.heads, constants.cos, constants.sin)
    value = parts[:, 2].unflatten(1, (layer.heads, -1))
    attended = attend(turned[:, 0], turned[:, 1], value, constants.order, density)
    return _project(layer.to_out[0], attended.flatten(1), attend.ops)


def cross_attention(layer: Any, states: States, index: int, constants: StepConstants, ops: Ops) -> torch.Tensor:
    """Let every token attend to the text and, with keys and values of their own, to the image; the two are added."""
    query = ops.norm_rotate(layer.to_q(states)[:, None], layer.norm_q.weight[None], layer.heads, None, None)[:, 0]
    text, image = constants.texts[index], constants.images[index]
    attended = ops.cross_attention(query, text.key, text.value, constants.text_counts, image.key, image.value)
    return _project(layer.to_out[0], attended.flatten(1), ops)


def encode_text(layer: Any, context: Context) -> KeyValue:
    """Return the keys and values of the text for one block's cross-attention."""
    return _encode_keys(layer.heads, layer.norm_k, layer.to_k(context.text), layer.to_v(context.text))


def encode_image(layer: Any, context: Context) -> KeyValue:
    """Return the keys and values of the image for one block's cross-attention."""
    image = context.image
    return _encode_keys(layer.heads, layer.norm_added_k, layer.add_k_proj(image), layer.add_v_proj(image))


def encode_faces(block: Any, motion: torch.Tensor) -> KeyValue:
    """Return the keys and values of the faces for one face block.

    motion: tokens `1 t 5 d`.
    """
    normed = plain_norm(motion[0]).to(block.norm_k.weight.dtype)
    key = block.to_k(normed).unflatten(-1, (block.heads, -1))
    return KeyValue(key=rms_norm(block.norm_k, key), value=block.to_v(normed).unflatten(-1, (block.heads, -1)))


def _encode_keys(heads: int, norm: nn.RMSNorm, key: torch.Tensor, value: torch.Tensor) -> KeyValue:
    return KeyValue(key=rms_norm(norm, key).unflatten(1, (heads, -1)), value=value.unflatten(1, (heads, -1)))


def _project(layer: Any, attended: torch.Tensor, ops: Ops) -> torch.Tensor:
    projected: torch.Tensor = layer(ops.quantize(attended) if input_dtype(layer) == FP8 else attended)
    return projected
