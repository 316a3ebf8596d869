"""Triton: a block's means, mean squares and largest magnitudes, four passes over them by PyTorch."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.blocks import Blocks, block_lengths


@triton.jit
def _summarize_kernel(
    states, means, squares, largest, length, heads, head_width, stride_l, stride_h,
    SIZE: tl.constexpr, HEAD: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    head = tl.program_id(1)
    row = block.to(tl.int64) * SIZE + tl.arange(0, SIZE)
    d = tl.arange(0, HEAD)
    inside = (row < length)[:, None] & (d < head_width)[None, :]
    x = tl.load(states + row[:, None] * stride_l + head * stride_h + d[None, :], mask=inside, other=0.0).to(tl.float32)
    place = (block * heads + head) * head_width + d
    share = 1.0 / tl.minimum(length - block * SIZE, SIZE)
    tl.store(means + place, tl.sum(x, axis=0) * share, mask=d < head_width)
    tl.store(squares + place, tl.sum(x * x, axis=0) * share, mask=d < head_width)
    tl.store(largest + place, tl.max(tl.abs(x), axis=0), mask=d < head_width)


def summarize(states: torch.Tensor, size: int) -> Blocks:
    """As `blocks.summarize`, for sizes that are powers of two."""
    length, heads, head_width = states.shape
    means, squares, largest = torch.empty(3, triton.cdiv(length, size), heads, head_width, device=states.device)
    _summarize_kernel[(len(means), heads)](
        states, means, squares, largest, length, heads, head_width, states.stride(0), states.stride(1),
        SIZE=size, HEAD=triton.next_power_of_2(head_width), num_warps=4,
    )  # fmt: skip
    lengths = block_lengths(length, size, states.device)
    return Blocks(size=size, means=means, squares=squares, largest=largest, lengths=lengths)
