"""Triton: which blocks a tile of queries reads, one program a tile: its threshold bit by bit, then the list in order.

PyTorch's top-k, sort and scatter over 23,640 rows of 1,182 scores a layer are about as many passes as a sort has.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.sparse import TILE_BLOCKS


@triton.jit
def _choose_kernel(
    scores, lists, exact, num_blocks, num_read, num_reference_blocks, TILE_BLOCKS: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    tile = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tile
    block = tl.arange(0, WIDTH)
    known = block < num_blocks
    bits = tl.load(scores + row * num_blocks + block, mask=known, other=0.0).to(tl.int32, bitcast=True)
    rank = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
    start = tile * TILE_BLOCKS
    forced = ((block >= start - 1) & (block <= start + TILE_BLOCKS)) | (block < num_reference_blocks)
    rank = tl.where(forced, 0x7FFFFFFF, rank)
    rank = tl.where(known, rank, -0x80000000)
    # the rank of the last one read is the largest that `num_read` blocks reach: its sign, then bit by bit
    least = tl.where(tl.sum((rank >= 0).to(tl.int32)) >= num_read, 0, -0x80000000)
    for place in range(31):
        higher = least + (0x40000000 >> place)
        least = tl.where(tl.sum((rank >= higher).to(tl.int32)) >= num_read, higher, least)
    above = rank > least
    equal = (rank == least) & known
    missing = num_read - tl.sum(above.to(tl.int32))
    chosen = above | (equal & (tl.cumsum(equal.to(tl.int32)) <= missing))
    tl.store(lists + row * num_read + tl.cumsum(chosen.to(tl.int32)) - 1, block, mask=chosen)
    tl.store(exact + row * num_blocks + block, chosen.to(tl.uint8), mask=known)


def choose_blocks(scores: torch.Tensor, num_read: int, num_reference_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `sparse.choose_blocks`; of equal scores the first ones are read."""
    heads, tiles, num_blocks = scores.shape
    lists = torch.empty(heads, tiles, num_read, dtype=torch.int32, device=scores.device)
    exact = torch.empty(heads, tiles, num_blocks, dtype=torch.bool, device=scores.device)
    _choose_kernel[(tiles, heads)](
        scores.contiguous(), lists, exact.view(torch.uint8), num_blocks, num_read, num_reference_blocks,
        TILE_BLOCKS=TILE_BLOCKS, WIDTH=triton.next_power_of_2(num_blocks), num_warps=4,
    )  # fmt: skip
    return lists, exact
