"""Summarise blocks of neighbouring tokens in Triton: four passes of PyTorch over the states in one.

For block b of n_b tokens, each head and channel:

    mean_b    = sum_i x_i / n_b
    square_b  = sum_i x_i^2 / n_b
    largest_b = max_i |x_i|

A block here is `SIZE` neighbouring tokens, not a transformer block.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.blocks import Blocks, block_lengths


@triton.jit
def _summarize_kernel(
    x_ptr, mean_ptr, square_ptr, largest_ptr, length, heads, head_width, stride_l, stride_h,
    SIZE: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Write the summary of a block of one head. Grid: `(blocks, heads)`.

    x_ptr: `length heads head_width` by its strides, in elements.
    mean_ptr, square_ptr, largest_ptr: `blocks heads head_width` fp32, contiguous.
    BLOCK_D: `head_width` rounded up to a power of two.
    """
    # load the block whole, once for three reductions; zeros past the end change none of them
    block = tl.program_id(0)
    head = tl.program_id(1)
    # in 64 bits, as a token's offset passes 2^31 in long videos
    offs_l = block.to(tl.int64) * SIZE + tl.arange(0, SIZE)
    offs_d = tl.arange(0, BLOCK_D)
    mask = (offs_l < length)[:, None] & (offs_d < head_width)[None, :]
    x_ptrs = x_ptr + offs_l[:, None] * stride_l + head * stride_h + offs_d[None, :]
    x = tl.load(x_ptrs, mask=mask, other=0.0).to(tl.float32)

    # reduce over the tokens
    offs = (block * heads + head) * head_width + offs_d
    # the last block may be short; one reciprocal serves both means
    share = 1.0 / tl.minimum(length - block * SIZE, SIZE)
    tl.store(mean_ptr + offs, tl.sum(x, axis=0) * share, mask=offs_d < head_width)
    tl.store(square_ptr + offs, tl.sum(x * x, axis=0) * share, mask=offs_d < head_width)
    tl.store(largest_ptr + offs, tl.max(tl.abs(x), axis=0), mask=offs_d < head_width)


def summarize(states: torch.Tensor, size: int) -> Blocks:
    """Compute `blocks.summarize`, for sizes that are powers of two."""
    length, heads, head_width = states.shape
    means, squares, largest = torch.empty(3, triton.cdiv(length, size), heads, head_width, device=states.device)
    _summarize_kernel[(len(means), heads)](
        states, means, squares, largest, length, heads, head_width, states.stride(0), states.stride(1),
        SIZE=size, BLOCK_D=triton.next_power_of_2(head_width), num_warps=4,
    )  # fmt: skip
    lengths = block_lengths(length, size, states.device)
    return Blocks(size=size, means=means, squares=squares, largest=largest, lengths=lengths)
