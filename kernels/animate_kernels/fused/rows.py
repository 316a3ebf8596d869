"""Round rows to e4m3 in Triton, as they are or after the feed-forward's GELU, in one pass.

    y     = gelu(x) = x / (1 + exp(-2 u)),  u = sqrt(2 / pi) (x + 0.044715 x^3)     the tanh form
    scale = max_i |y_i| / 448                                                       one a row
    out_i = e4m3(y_i / scale)

The hidden states of the feed-forward are 2.1 GB in bf16 at 75,600 x 13,824: they are read once, and half of that is
written.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.fp8 import FP8, Fp8Rows, States
from animate_kernels.fused.norm import store_e4m3_row


@triton.jit
def _rows_kernel(
    x_ptr, out_ptr, scale_ptr, width, stride, GELU: tl.constexpr, QUANTIZE: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Write a row. Grid: `(rows,)`.

    x_ptr: `rows width`, rows `stride` elements apart.
    out_ptr: `rows width`, contiguous; e4m3 where `QUANTIZE`.
    scale_ptr: `rows` fp32; written where `QUANTIZE`.
    BLOCK_D: `width` rounded up to a power of two.
    """
    # load the row, which stays in registers: its largest value is known only at the end
    row = tl.program_id(0).to(tl.int64)
    offs = tl.arange(0, BLOCK_D)
    mask = offs < width
    x = tl.load(x_ptr + row * stride + offs, mask=mask, other=0.0).to(tl.float32)

    if GELU:
        # exp(-2 u) as 2^power, the power that a GPU has an instruction for; in place of tanh one such power and one
        # division. The constants are -2 sqrt(2 / pi) log2(e), and 0.044715 times that
        power = x * (-2.302208198144325 - 0.10294324 * x * x)
        # bounded, so that 1 + 2^power stays finite in fp32
        x = x / (1.0 + tl.exp2(tl.minimum(power, 115.0)))

    # store in e4m3 with the row's scale, or in the type of the output
    if QUANTIZE:
        store_e4m3_row(x, offs, mask, out_ptr + row * width, scale_ptr + row)
    else:
        tl.store(out_ptr + row * width + offs, x.to(out_ptr.dtype.element_ty), mask=mask)


def quantize(states: torch.Tensor) -> Fp8Rows:
    """Compute `definitions.quantize`."""
    rows = _launch(states, FP8, gelu=False)
    assert isinstance(rows, Fp8Rows)
    return rows


def gelu(states: torch.Tensor, out: torch.dtype) -> States:
    """Compute `definitions.gelu`."""
    return _launch(states, out, gelu=True)


def _launch(states: torch.Tensor, out: torch.dtype, *, gelu: bool) -> States:
    """Launch the kernel over rows `l d` and return them in `out`."""
    length, width = states.shape
    rows = torch.empty(length, width, dtype=out, device=states.device)
    # e4m3 alone has a scale; without one the kernel stores in `out`
    scale = torch.empty(length, 1, dtype=torch.float32, device=states.device) if out == FP8 else None
    _rows_kernel[(length,)](
        states, rows, scale, width, states.stride(0),
        GELU=gelu, QUANTIZE=scale is not None, BLOCK_D=triton.next_power_of_2(width), num_warps=8,
    )  # fmt: skip
    return rows if scale is None else Fp8Rows(values=rows, scale=scale)
