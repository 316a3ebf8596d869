"""Every operator in plain PyTorch: its definition, and what runs where no kernel is faster.

Tokens are `l d`, one row a token, without a batch; heads are `l heads d`. `out` is the type of a result that a linear
layer reads; `FP8` stands for rows of e4m3 (`Fp8Rows`). The precision is the official code's: norms, modulation, gates
and rotary positions in fp32, products in the weights' type.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from animate_kernels.fp8 import FP8, Fp8Rows, States, quantize_rowwise
from animate_kernels.order import TokenOrder

EPSILON = 1e-6


def layer_norm(
    tokens: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, out: torch.dtype
) -> States:
    """Apply LayerNorm over `d` in fp32. With a weight and a bias this is modulation, too.

    tokens: `l d`.
    weight, bias: `d` fp32; None for neither.
    out: type of the result.
    """
    return _as(F.layer_norm(tokens.float(), tokens.shape[-1:], weight, bias, EPSILON), out)


def add_norm(
    tokens: torch.Tensor,
    branch: torch.Tensor,
    gate: torch.Tensor | None,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    *,
    residual: torch.dtype,
    out: torch.dtype,
) -> tuple[torch.Tensor, States]:
    """Return tokens plus a gated branch, and `layer_norm` of that sum.

    tokens: `l d`.
    branch: `l d`, the output of attention or feed-forward.
    gate: `d` fp32; None for 1.
    weight, bias: `d` fp32, of the norm; None for neither.
    residual: type in which the sum is kept, and from which the norm reads it.
    out: type of the norm.
    """
    total = tokens + branch.float() if gate is None else torch.addcmul(tokens.float(), branch.float(), gate)
    total = total.to(residual)
    return total, layer_norm(total, weight, bias, out)


def quantize(states: torch.Tensor) -> Fp8Rows:
    """Round rows `l d` to e4m3, with one scale a row."""
    values, scale = quantize_rowwise(states)
    return Fp8Rows(values=values, scale=scale)


def gelu(states: torch.Tensor, out: torch.dtype) -> States:
    """Apply GELU in its tanh form.

    states: `l d`.
    out: type of the result; e4m3 is rounded once, from fp32.
    """
    if out == FP8:
        return quantize(F.gelu(states.float(), approximate="tanh"))
    return F.gelu(states, approximate="tanh").to(out)


def norm_rotate(
    states: torch.Tensor, weight: torch.Tensor, heads: int, cos: torch.Tensor | None, sin: torch.Tensor | None
) -> torch.Tensor:
    """Apply RMSNorm over the full width, then rotary positions; return `l n heads d/heads`.

    The norm is computed in fp32, rounded, and multiplied by the weight in the type of the states. Neighbouring pairs of
    channels are turned in fp32.

    states: `l n d`, n being 2 for queries and keys.
    weight: `n d`.
    heads: number of heads.
    cos, sin: tables of the positions, `l d/heads/2` fp32; None for no rotation.
    """
    turns = None if cos is None or sin is None else torch.complex(cos, sin)[:, None]
    out = states.new_empty(*states.shape[:2], heads, states.shape[2] // heads)
    for part in range(states.shape[1]):  # one at a time, as each is in fp32 on the way
        normed = F.rms_norm(states[:, part].float(), states.shape[2:], eps=EPSILON).to(states.dtype) * weight[part]
        out[:, part] = _turn(normed.unflatten(1, (heads, -1)), turns)
    return out


def _turn(states: torch.Tensor, turns: torch.Tensor | None) -> torch.Tensor:
    if turns is None:
        return states
    return torch.view_as_real(torch.view_as_complex(states.float().unflatten(2, (-1, 2))) * turns).flatten(2)


def face_attention(
    query: torch.Tensor, weight: torch.Tensor, key: torch.Tensor, value: torch.Tensor, order: TokenOrder
) -> torch.Tensor:
    """Attend from each token to the motion tokens of its own frame; return `l d`.

    query: `l heads d/heads`, RMS-normed here over each head.
    weight: `d/heads`, the norm's.
    key, value: `t 5 heads d/heads`; the keys normed.
    order: the order of the queries, with the frame of each.
    """
    query = F.rms_norm(query.float(), query.shape[-1:], eps=EPSILON).to(query.dtype) * weight
    by_frame = order.restore(query).unflatten(0, (key.shape[0], -1))
    query, key, value = (part.transpose(1, 2) for part in (by_frame, key, value))
    attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(0, 1)
    return order.arrange(attended).flatten(1)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend from every query to every key. All tensors are `l heads d`."""
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def cross_attention(
    query: torch.Tensor,
    text_key: torch.Tensor,
    text_value: torch.Tensor,
    text_counts: torch.Tensor,
    image_key: torch.Tensor,
    image_value: torch.Tensor,
) -> torch.Tensor:
    """Attend from every query to the text and, in a softmax of its own, to the image; return the sum `l heads d`.

    Computed in fp32, as 16 bits would round the logarithm of a count.

    query: `l heads d`.
    text_key, text_value: `texts heads d`.
    text_counts: `texts` fp32, the number of equal keys that each key stands for.
    image_key, image_value: `images heads d`.
    """
    parts = (part.float().transpose(0, 1)[None] for part in (query, text_key, text_value, image_key, image_value))
    query32, text_key, text_value, image_key, image_value = parts
    text = F.scaled_dot_product_attention(query32, text_key, text_value, attn_mask=text_counts.log()[None])
    image = F.scaled_dot_product_attention(query32, image_key, image_value)
    return (text.to(query.dtype) + image.to(query.dtype))[0].transpose(0, 1)


def _as(states: torch.Tensor, out: torch.dtype) -> States:
    return quantize(states) if out == FP8 else states.to(out)
