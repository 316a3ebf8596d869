"""Layers that compute in fp32 whatever type their weights have, as the model was trained."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from animate_kernels.definitions import EPSILON


def plain_norm(tokens: torch.Tensor) -> torch.Tensor:
    """Apply a LayerNorm without weights, in fp32."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:], eps=EPSILON)


def rms_norm(norm: nn.RMSNorm, states: torch.Tensor) -> torch.Tensor:
    """Normalise in fp32, round to the states' type, and only then multiply by the weight."""
    return F.rms_norm(states.float(), states.shape[-1:], eps=EPSILON).to(states.dtype) * norm.weight


def linear_fp32(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    """Apply a linear layer in fp32, whatever type its weights have."""
    return F.linear(states.float(), layer.weight.float(), layer.bias.float())
