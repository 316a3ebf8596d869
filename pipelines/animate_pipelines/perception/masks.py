"""The pixels that replace mode regenerates, and the sources of the person's mask.

`MaskSource` is the seam: a source reads the clip's frames and poses in order and masks the person in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import cv2
import numpy as np

from animate_pipelines.perception.confidence import JOINT_FOUND
from animate_pipelines.request.choices import MaskFit

_KERNEL_PX = 7
_DILATIONS = 3
_BLOCKS = (8, 16)  # a standing person is about twice as tall as wide


class MaskSource(Protocol):
    """Finds the person to replace."""

    name: str

    def person_masks(self, frames: Iterable[np.ndarray], poses: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one `h w` mask a frame, 1 on the person.

        frames: `h w 3`.
        poses: `t 133 3`, fractions of the frame.
        """


class KeypointBoxes:
    """The box around the confident keypoints, for bundles without a segmentation network."""

    name = "keypoint_box"
    margin = 0.08  # of the box's longer side: keypoints are joints, clothes and hair reach beyond them

    def person_masks(self, frames: Iterable[np.ndarray], poses: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one `h w` mask a frame, 1 in the box around the confident keypoints."""
        for frame, pose in zip(frames, poses, strict=True):
            yield self._box_mask(pose, *frame.shape[:2])

    def _box_mask(self, pose: np.ndarray, height: int, width: int) -> np.ndarray:
        mask = np.zeros((height, width), np.uint8)
        points = pose[pose[:, 2] >= JOINT_FOUND, :2] * [width, height]
        if len(points):
            (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
            margin = self.margin * max(x2 - x1, y2 - y1)
            top, left = max(int(y1 - margin), 0), max(int(x1 - margin), 0)
            mask[top : max(int(y2 + margin), 0) + 1, left : max(int(x2 + margin), 0) + 1] = 1
        return mask


def dilate(mask: np.ndarray, *, kernel_px: int = _KERNEL_PX, iterations: int = _DILATIONS) -> np.ndarray:
    """Grow an `h w` mask of 0 and 1 by a square kernel, `iterations` times."""
    return cv2.dilate(mask, np.ones((kernel_px, kernel_px), np.uint8), iterations=iterations)


def fit_mask(mask: np.ndarray, fit: MaskFit) -> np.ndarray:
    """Return the pixels to regenerate, `h w` of 0 and 1, for a person's `h w` mask; see `RenderParams.mask_fit`."""
    grown = dilate(mask)
    if fit == "tight":
        return grown
    columns, rows = (1, 1) if fit == "box" else _BLOCKS
    return fill_grid(grown, columns=columns, rows=rows)


def fill_grid(mask: np.ndarray, *, columns: int = 1, rows: int = 1) -> np.ndarray:
    """Fill every cell that holds a mask pixel, on a grid laid over the mask's bounding box; 1 x 1 fills the whole box.

    The model was trained on such coarse masks, so that the outline gives nothing away. As in the official code the
    box's last row and column stay outside the grid. An empty mask stays empty.
    """
    filled = mask.copy()
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return filled
    (top, bottom), (left, right) = (ys.min(), ys.max()), (xs.min(), xs.max())
    step_x, step_y = max(int((right - left) / columns), 1), max(int((bottom - top) / rows), 1)
    for x in range(left, right, step_x):
        for y in range(top, bottom, step_y):
            cell = (slice(y, min(y + step_y, bottom)), slice(x, min(x + step_x, right)))
            if mask[cell].any():
                filled[cell] = 1
    return filled
