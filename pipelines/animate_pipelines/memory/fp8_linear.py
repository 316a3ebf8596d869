"""A linear layer whose weight is kept in e4m3 with a scale a row: half the memory of bf16.

Given states in 16 bits it makes the weight whole, which saves memory and not time; its values are then exactly those
that loading a bundle in fp8 dequantises to. Given rows of e4m3 it multiplies in 8 bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from animate_kernels.fp8 import FP8, Fp8Rows, States, fp8_linear
from animate_weights.quantized import dequantize, is_quantised_parameter, quantize_rowwise


class Fp8Linear(nn.Module):
    """A linear layer with its weight in 8 bits.

    weight: `out in` e4m3.
    scale: `out 1` fp32.
    bias: `out`, in the type of the products.
    multiplies: whether its input is rows of e4m3.
    """

    scale: torch.Tensor
    multiplies = False

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(plain.weight, requires_grad=False)
        self.bias = plain.bias
        self.register_buffer("scale", torch.empty(0))

    def fill(self, weight: torch.Tensor, home: torch.device) -> None:
        """Quantise a weight `out in` on its device, and keep the values on the device `home`."""
        values, scale = quantize_rowwise(weight)
        self.weight, self.scale = nn.Parameter(values.to(home), requires_grad=False), scale.to(home)

    def forward(self, states: States) -> torch.Tensor:
        """Return the products of rows of e4m3, or of states in 16 bits."""
        if isinstance(states, Fp8Rows):
            return fp8_linear(states, self.weight, self.scale, self.bias, self.bias.dtype)
        return F.linear(states, dequantize(self.weight, self.scale).to(states.dtype), self.bias)


def keep_in_fp8(network: nn.Module) -> None:
    """Replace the layers of an empty transformer that are kept in fp8; they are filled later."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and is_quantised_parameter(f"{name}.weight"):
            network.set_submodule(name, Fp8Linear(layer))


def multiply_in_fp8(network: nn.Module) -> None:
    """Make the layers that are kept in fp8 read e4m3 rows."""
    for layer in network.modules():
        if isinstance(layer, Fp8Linear):
            layer.multiplies = True


def input_dtype(layer: nn.Linear | Fp8Linear) -> torch.dtype:
    """Return the type that a layer reads."""
    return FP8 if isinstance(layer, Fp8Linear) and layer.multiplies else layer.bias.dtype


def fuse_layers(layers: list[nn.Linear | Fp8Linear]) -> nn.Linear | Fp8Linear:
    """Return one layer with the outputs of several side by side; it copies their weights once."""
    first = layers[0]
    with torch.device("meta"):
        plain = nn.Linear(first.weight.shape[1], sum(len(layer.weight) for layer in layers))
    plain.bias = _cat([layer.bias for layer in layers])
    plain.weight = _cat([layer.weight for layer in layers])
    if not isinstance(first, Fp8Linear):
        return plain
    fused = Fp8Linear(plain)
    fused.multiplies = first.multiplies
    fused.scale = torch.cat([layer.scale for layer in layers if isinstance(layer, Fp8Linear)])
    return fused


def _cat(parameters: Sequence[torch.Tensor]) -> nn.Parameter:
    dtype = parameters[0].dtype
    if dtype == FP8:  # which torch cannot concatenate on every device
        joined = torch.cat([parameter.view(torch.uint8) for parameter in parameters]).view(dtype)
    else:
        joined = torch.cat(list(parameters))
    return nn.Parameter(joined, requires_grad=False)
