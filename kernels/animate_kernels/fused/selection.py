"""Choose the blocks of keys that a tile of queries reads in Triton: one program a tile, and no sort.

    chosen = the `num_read` blocks with the largest scores, forced ones first, listed in ascending order

The threshold is the largest rank that at least `num_read` blocks reach. It is found bit by bit: 32 counts over a row in
registers, where the top-k, sort and scatter of PyTorch over 23,640 rows of 1,182 scores a layer take about as many
passes as a sort has. Blocks here are `sparse`'s blocks of neighbouring tokens, not transformer blocks.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from animate_kernels.sparse import TILE_BLOCKS


@triton.jit
def _choose_kernel(
    score_ptr, list_ptr, exact_ptr, num_blocks, num_read, num_reference_blocks,
    TILE_BLOCKS: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    """Write the list and the marks of a tile of one head. Grid: `(tiles, heads)`.

    score_ptr: `heads tiles num_blocks` fp32, contiguous.
    list_ptr: `heads tiles num_read` int32, contiguous.
    exact_ptr: `heads tiles num_blocks` uint8, contiguous.
    BLOCK_N: `num_blocks` rounded up to a power of two.
    """
    # load the scores of a tile
    tile = tl.program_id(0)
    row = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tile
    block = tl.arange(0, BLOCK_N)
    mask = block < num_blocks
    bits = tl.load(score_ptr + row * num_blocks + block, mask=mask, other=0.0).to(tl.int32, bitcast=True)

    # rank them by integers in the order of the floats: of negative ones all bits but the sign are turned
    rank = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    start = tile * TILE_BLOCKS
    forced = ((block >= start - 1) & (block <= start + TILE_BLOCKS)) | (block < num_reference_blocks)
    # forced blocks get the highest rank, lanes past the end the lowest
    rank = tl.where(forced, 0x7FFFFFFF, rank)
    rank = tl.where(mask, rank, -0x80000000)

    # find the rank of the last block read, the largest that `num_read` blocks reach: its sign, then bit by bit
    threshold = tl.where(tl.sum((rank >= 0).to(tl.int32)) >= num_read, 0, -0x80000000)
    for place in range(31):
        higher = threshold + (0x40000000 >> place)
        threshold = tl.where(tl.sum((rank >= higher).to(tl.int32)) >= num_read, higher, threshold)

    # take all above it, and of those equal to it the first ones, as many as are missing
    above = rank > threshold
    # the mask, as lanes past the end are equal to a threshold that is the lowest rank
    equal = (rank == threshold) & mask
    missing = num_read - tl.sum(above.to(tl.int32))
    chosen = above | (equal & (tl.cumsum(equal.to(tl.int32)) <= missing))

    # write the list in order: a chosen block's place is the number of chosen ones before it
    tl.store(list_ptr + row * num_read + tl.cumsum(chosen.to(tl.int32)) - 1, block, mask=chosen)
    tl.store(exact_ptr + row * num_blocks + block, chosen.to(tl.uint8), mask=mask)


def choose_blocks(scores: torch.Tensor, num_read: int, num_reference_blocks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `sparse.choose_blocks`; of equal scores the first ones are read."""
    heads, tiles, num_blocks = scores.shape
    lists = torch.empty(heads, tiles, num_read, dtype=torch.int32, device=scores.device)
    exact = torch.empty(heads, tiles, num_blocks, dtype=torch.bool, device=scores.device)
    _choose_kernel[(tiles, heads)](
        scores.contiguous(), lists, exact.view(torch.uint8), num_blocks, num_read, num_reference_blocks,
        TILE_BLOCKS=TILE_BLOCKS, BLOCK_N=triton.next_power_of_2(num_blocks), num_warps=4,
    )  # fmt: skip
    return lists, exact
