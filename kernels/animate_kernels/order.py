"""The order of the transformer's tokens: as they lie in the latents, or along a Morton curve.

Along the curve 64 neighbours are about a cube of 4 x 4 x 4, which is what block-sparse attention needs. The reference
frame's tokens stay first, in a curve of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOrder:
    """grid: frames, height, width in tokens, the reference's frame first.

    permutation: the natural position of each token, and inverse: where each natural position went; None for the
    natural order. frames: the frame of each token, `l` int32.
    """

    grid: Grid
    permutation: torch.Tensor | None
    inverse: torch.Tensor | None
    frames: torch.Tensor

    @property
    def num_reference(self) -> int:
        """Tokens of the reference frame, which come first."""
        return self.grid[1] * self.grid[2]

    def arrange(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows `l ..` from the natural order into this one."""
        return rows if self.permutation is None else rows[self.permutation]

    def restore(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows `l ..` from this order into the natural one."""
        return rows if self.inverse is None else rows[self.inverse]


def natural_order(grid: Grid, device: torch.device) -> TokenOrder:
    """Frame by frame, row by row."""
    return TokenOrder(grid=grid, permutation=None, inverse=None, frames=_frames(grid, device))


def morton_order(grid: Grid, device: torch.device) -> TokenOrder:
    """Along Morton curves, of any grid: cells that are not there are left out."""
    frames, height, width = grid
    reference = morton_codes((1, height, width)).argsort()
    video = morton_codes((frames - 1, height, width)).argsort() + height * width
    permutation = torch.cat([reference, video]).to(device)
    return TokenOrder(
        grid=grid,
        permutation=permutation,
        inverse=permutation.argsort(),
        frames=_frames(grid, device)[permutation],
    )


def morton_codes(grid: Grid) -> torch.Tensor:
    """`t*h*w` int64, in natural order: the bits of the three coordinates interleaved, width's lowest."""
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    codes = torch.zeros(grid, dtype=torch.int64)
    for bit in range(max(grid).bit_length()):
        for place, axis in enumerate(reversed(axes)):
            codes |= ((axis >> bit) & 1) << (3 * bit + place)
    return codes.flatten()


def _frames(grid: Grid, device: torch.device) -> torch.Tensor:
    frames, height, width = grid
    return torch.arange(frames, dtype=torch.int32, device=device).repeat_interleave(height * width)
