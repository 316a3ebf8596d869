"""Triton: rows to e4m3, of what a projection reads or of the feed-forward's GELU, in one pass.

The hidden states of the feed-forward are 2.1 GB in bf16 at 75,600 x 13,824: read once and written in half.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.fp8 import FP8, Fp8Rows, States
from animate_kernels.fused.norm import to_e4m3_row


@triton.jit
def _rows_kernel(
    states, rows, scale, width, stride, GELU: tl.constexpr, QUANTIZE: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    inside = columns < width
    x = tl.load(states + row * stride + columns, mask=inside, other=0.0).to(tl.float32)
    if GELU:
        # x / (1 + exp(-2 y)) of y = sqrt(2 / pi) (x + 0.044715 x^3), in powers of two and without overflow
        power = x * (-2.302208198144325 - 0.10294324 * x * x)
        x = x / (1.0 + tl.exp2(tl.minimum(power, 115.0)))
    if QUANTIZE:
        to_e4m3_row(x, columns, inside, rows + row * width, scale + row)
    else:
        tl.store(rows + row * width + columns, x.to(rows.dtype.element_ty), mask=inside)


def quantize(states: torch.Tensor) -> Fp8Rows:
    """As `definitions.quantize`."""
    rows = _launch(states, FP8, gelu=False)
    assert isinstance(rows, Fp8Rows)
    return rows


def gelu(states: torch.Tensor, out: torch.dtype) -> States:
    """As `definitions.gelu`."""
    return _launch(states, out, gelu=True)


def _launch(states: torch.Tensor, out: torch.dtype, *, gelu: bool) -> States:
    length, width = states.shape
    rows = torch.empty(length, width, dtype=out, device=states.device)
    scale = torch.empty(length, 1, dtype=torch.float32, device=states.device) if out == FP8 else None
    _rows_kernel[(length,)](
        states, rows, scale, width, states.stride(0),
        GELU=gelu, QUANTIZE=scale is not None, WIDTH=triton.next_power_of_2(width), num_warps=8,
    )  # fmt: skip
    return rows if scale is None else Fp8Rows(values=rows, scale=scale)
