"""A linear layer whose weight is kept in fp8 and made whole for each use: half the memory of bf16, the same products.

It saves memory, not time. Its values are exactly those that loading a bundle in fp8 dequantises to.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from animate_weights.quantize import is_quantised_parameter
from animate_weights.quantized import dequantize, quantize_rowwise


class Fp8Linear(nn.Module):
    """weight: `out in` e4m3. scale: `out 1` fp32. bias: `out`, in the type of the products."""

    scale: torch.Tensor

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(plain.weight, requires_grad=False)
        self.bias = plain.bias
        self.register_buffer("scale", torch.empty(0))

    def fill(self, weight: torch.Tensor, home: torch.device) -> None:
        """Take the values of a weight `out in`, quantised where it lies, to the device `home`."""
        values, scale = quantize_rowwise(weight)
        self.weight, self.scale = nn.Parameter(values.to(home), requires_grad=False), scale.to(home)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return F.linear(states, dequantize(self.weight, self.scale).to(states.dtype), self.bias)


def keep_in_fp8(network: nn.Module) -> None:
    """Replace the layers of an empty transformer that are kept in fp8; they are to be filled."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Linear) and is_quantised_parameter(f"{name}.weight"):
            network.set_submodule(name, Fp8Linear(layer))
