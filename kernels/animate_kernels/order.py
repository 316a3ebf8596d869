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
    """An order of the tokens of a grid.

    grid: frames, height and width in tokens; the reference's frame first.
    permutation: `l`, the natural position of each token; None for the natural order.
    inverse: `l`, the place of each natural position; None for the natural order.
    frames: `l` int32, the frame of each token.
    """

    grid: Grid
    permutation: torch.Tensor | None
    inverse: torch.Tensor | None
    frames: torch.Tensor

    @property
    def num_reference(self) -> int:
        """Return the number of tokens of the reference frame, which come first."""
        return self.grid[1] * self.grid[2]

    def arrange(self, rows: torch.Tensor) -> torch.Tensor:
        """Bring rows `l ..` from the natural order into this one."""
        return rows if self.permutation is None else rows[self.permutation]

    def restore(self, rows: torch.Tensor) -> torch.Tensor:
        """Bring rows `l ..` from this order into the natural one."""
        return rows if self.inverse is None else rows[self.inverse]


def natural_order(grid: Grid, device: torch.device) -> TokenOrder:
    """Return the order of the latents: frame by frame, row by row."""
    return TokenOrder(grid=grid, permutation=None, inverse=None, frames=_frames(grid, device))


def morton_order(grid: Grid, device: torch.device) -> TokenOrder:
    """Return the order along Morton curves. Any grid will do: cells outside it are left out."""
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
    """Return the Morton code of each cell in natural order, `t*h*w` int64.

    A code interleaves the bits of the three coordinates, the width's lowest.
    """
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    codes = torch.zeros(grid, dtype=torch.int64)
    for bit in range(max(grid).bit_length()):
        for place, axis in enumerate(reversed(axes)):
            codes |= ((axis >> bit) & 1) << (3 * bit + place)
    return codes.flatten()


def _frames(grid: Grid, device: torch.device) -> torch.Tensor:
    """Return the frame of each token in natural order, `l` int32."""
    frames, height, width = grid
    return torch.arange(frames, dtype=torch.int32, device=device).repeat_interleave(height * width)
