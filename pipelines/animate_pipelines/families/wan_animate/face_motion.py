"""Motion tokens of face crops, in the official precision, on diffusers' modules.

Differences from diffusers in bf16: the basis of motions is rounded to bf16 (so the model was trained), norms and
activations of the face encoder stay fp32 between its convolutions. In fp32 the two are the same computation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from animate_pipelines.families.wan_animate.fp32_layers import plain_norm

_LOOK_BACK = 2  # frames that a causal convolution of three sees before its own


def encode_motion(encoder: Any, crops: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Return the motion vectors `n 512`, fp32, of face crops `n 3 s s` in the encoder's type."""
    features = torch.cat([_motion_features(encoder, part) for part in crops.split(batch_size)])
    weight = encoder.motion_synthesis_weight
    basis = torch.linalg.qr((weight + 1e-8).float())[0].to(weight.dtype)
    return features.float() @ basis.float().T


def encode_face(encoder: Any, motion: torch.Tensor) -> torch.Tensor:
    """Return the motion tokens `1 t' heads+1 d` of motion vectors `1 t 512`.

    Time shrinks 4n+1 -> n+1. The last token of a frame is learned.
    """
    states = _causal(encoder.conv1_local, motion.transpose(1, 2))
    states = states.unflatten(1, (encoder.num_heads, -1)).flatten(0, 1)
    for convolution in (encoder.conv2, encoder.conv3):
        states = _causal(convolution, _activate(states))
    tokens = encoder.out_proj(_activate(states).transpose(1, 2).to(encoder.out_proj.weight.dtype))
    tokens = tokens.unflatten(0, (motion.shape[0], -1)).permute(0, 2, 1, 3)
    padding = encoder.padding_tokens.expand(*tokens.shape[:2], -1, -1)
    return torch.cat([tokens, padding], dim=2)


def _motion_features(encoder: Any, crops: torch.Tensor) -> torch.Tensor:
    states = encoder.conv_in(crops)
    for block in encoder.res_blocks:
        states = block(states)
    states = encoder.conv_out(states).squeeze(-1).squeeze(-1)
    for layer in encoder.motion_network:
        states = layer(states)
    return states


def _causal(convolution: torch.nn.Conv1d, states: torch.Tensor) -> torch.Tensor:
    """Convolve `b c t`, the first frame repeated before it."""
    return convolution(F.pad(states.to(convolution.weight.dtype), (_LOOK_BACK, 0), mode="replicate"))


def _activate(states: torch.Tensor) -> torch.Tensor:
    """Apply a norm over the channels of `b c t`, and SiLU, in fp32."""
    return F.silu(plain_norm(states.transpose(1, 2))).transpose(1, 2)
