"""The two small networks that read pictures: a person detector and a whole-body pose network."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

NUM_KEYPOINTS = 133
GRID = 40  # the detector's cells along each side of its square of 640 pixels
NUM_BOXES = 300
SHRINK = 4  # of that square's sides before the network looks at it: a person is large in the frame
# A box nearly as wide as high is of stretched arms, whose ends the network may miss; the pose network then does not see
# the wrists. Boxes are widened by up to that much, from `NARROW` (width over height in the square) to `WIDE`.
WIDENING, NARROW, WIDE = 0.2, 0.55, 0.75
_CELL_PX = 640 // GRID
HIDDEN, NUM_VIEWS = 96, 4  # of the pose network's last layers: channels, and how many of the finest levels they see


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class Pyramid(nn.Module):
    """A small U-net: goes down by strides of two and comes back up, adding the levels of the way down.

    It returns each level on the way up, the finest first.

    widths, depths: channels and blocks of each level on the way down.
    """

    def __init__(self, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ConvBlock(width) for _ in range(depth)))
            for width, depth in zip(widths, depths, strict=True)
        )
        pairs = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.merges = nn.ModuleList(ConvBlock(a) for a, _ in pairs)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        levels = []
        for block, down in zip(self.blocks, [*self.downs, None], strict=True):
            x = block(x)
            levels.append(x)
            if down is not None:
                x = down(x)
        for index in reversed(range(len(self.ups))):
            levels[index] = self.merges[index](levels[index] + double(self.ups[index](levels[index + 1])))
        return levels


def double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class PoseNetwork(nn.Module):
    """A network from `b 3 256 192` normalised BGR to heatmaps `b 133 64 48`.

    The coarse levels are deeper: the evidence that tells a left elbow from a right one, or from a knee, is far away
    from it. They also enter at the end, where 32 channels of the finest level alone would have to tell 133 joints
    apart.
    """

    def __init__(
        self, widths: tuple[int, ...] = (32, 40, 56, 64, 64), depths: tuple[int, ...] = (1, 1, 1, 2, 2)
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, stride=2, padding=1)
        self.stem_down = nn.Conv2d(16, widths[0], 4, stride=2, padding=1)
        self.pyramid = Pyramid(widths, depths)
        self.norm = nn.BatchNorm2d(widths[0])
        self.views = nn.ModuleList(nn.Conv2d(width, HIDDEN, 1) for width in widths[:NUM_VIEWS])
        self.head = nn.Conv2d(HIDDEN, NUM_KEYPOINTS, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        finest, *coarser = self.pyramid(self.stem_down(F.relu(self.stem(pixels))))[:NUM_VIEWS]
        levels = [F.relu(self.norm(finest)), *coarser]
        views = [view(level) for view, level in zip(self.views, levels, strict=True)]
        hidden, *finer = reversed(views)
        for view in finer:
            hidden = double(hidden) + view
        heatmaps: torch.Tensor = self.head(F.relu(hidden))
        return heatmaps


class Detector(nn.Module):
    """A network from `b 3 160 160` RGB in 0..1 to 40 x 40 cells, `b 5 40 40`: a score's logit and four distances.

    The distances, in cells and in log1p, run from the cell's centre to the left, top, right and bottom of the person.
    """

    def __init__(self) -> None:
        super().__init__()
        widths, depths = (16, 24, 32, 48), (1, 1, 1, 2)
        self.stem = nn.Conv2d(3, 16, 4, stride=2, padding=1)
        self.stem_down = nn.Conv2d(16, widths[0], 4, stride=2, padding=1)
        self.pyramid = Pyramid(widths, depths)
        self.head = nn.Conv2d(widths[0], 5, 1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        cells: torch.Tensor = self.head(self.pyramid(self.stem_down(F.relu(self.stem(pixels))))[0])
        return cells


class BoxOutput(nn.Module):
    """The detector with the output of the published one: `1 300 6`, x1 y1 x2 y2 score class in 640-space.

    Wide boxes become wider than the network has learned: see `WIDENING`.
    """

    centres_x: torch.Tensor
    centres_y: torch.Tensor

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        centres = (torch.arange(GRID) + 0.5) * _CELL_PX
        self.register_buffer("centres_x", centres.repeat(GRID))
        self.register_buffer("centres_y", centres.repeat_interleave(GRID))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.detector(F.avg_pool2d(images, SHRINK))
        scores = torch.sigmoid(cells[:, :1])
        peaks = scores * (F.max_pool2d(scores, 3, stride=1, padding=1) == scores).to(scores.dtype)
        top, order = peaks.flatten(1).topk(NUM_BOXES, dim=1)
        left, up, right, down = ((torch.exp(cells[:, 1:].flatten(2)) - 1) * _CELL_PX).unbind(1)
        stretch = 1 + WIDENING * (((left + right) / (up + down) - NARROW) / (WIDE - NARROW)).clamp(0, 1)
        x, y = self.centres_x, self.centres_y
        corners = (x - stretch * left, y - up, x + stretch * right, y + down)
        columns = [corner.clamp(0, 640).gather(1, order) for corner in corners]
        return torch.stack([*columns, top, torch.zeros_like(top)], dim=2)
