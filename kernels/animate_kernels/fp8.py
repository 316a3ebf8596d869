"""e4m3 with one scale a row: the form of quantised weights and of the activations that meet them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

FP8 = torch.float8_e4m3fn
FP8_MAX = 448.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp8Rows:
    """Rows of e4m3.

    values: `l d` e4m3.
    scale: `l 1` fp32; a row is its values times its scale.
    """

    values: torch.Tensor
    scale: torch.Tensor

    def dequantize(self) -> torch.Tensor:
        """Return the rows in fp32, `l d`."""
        return self.values.float() * self.scale


States = torch.Tensor | Fp8Rows


def quantize_rowwise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight `out in` in e4m3 and its fp32 scales, `out 1`; each row's largest value becomes 448.

    A row of zeros gets the scale 1. The error is at most 1/16 of each value that is not tiny: e4m3 has 3 bits.
    """
    rows = weight.float()
    largest = rows.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, largest / FP8_MAX, torch.ones_like(largest))
    return (rows / scale).clamp(-FP8_MAX, FP8_MAX).to(FP8), scale


def fp8_linear(
    states: Fp8Rows, weight: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, out: torch.dtype
) -> torch.Tensor:
    """Multiply rows by a weight in e4m3, summed in fp32, and return `l out`.

    On CUDA this is cuBLASLt's rowwise product, whose sizes are multiples of 16; elsewhere the definition.

    states: rows `l in`.
    weight: `out in` e4m3.
    scale: `out 1` fp32, of the weight.
    bias: `out`.
    out: type of the result.
    """
    if states.values.is_cuda:
        product = torch._scaled_mm(
            states.values,
            weight.t(),
            scale_a=states.scale,
            scale_b=scale.t(),
            bias=bias.to(torch.bfloat16),  # the only type it takes
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return product.to(out)
    return F.linear(states.dequantize(), weight.float() * scale, bias.float()).to(out)
