"""Tells pictures of drawn puppets from photographs, by how much of them is flat.

A puppet's picture is of even colours and plain gradients with edges between them; a photograph has texture or noise
nearly everywhere, also where it looks even. Measured at 256 px along the longer side on drawn puppets, as they are and
as JPEG of quality 50 or H.264 of crf 28, and on photographs: `tests/perception/test_drawn.py` prints both shares.
A person cut out of a photograph and set on one colour passes for drawn where it fills less than a third of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_SIDE_PX = 256
_FLAT_LEVELS = 4  # between the darkest and the brightest of 3x3 pixels; compression leaves that much
_BLOCKS = 8  # along each side
_FLAT = 0.7  # of the whole picture: drawn ones have 0.76 and more, all but blurred photographs 0.64 and less
_FLAT_BLOCK, _BUSY_SHARE = 0.38, 0.2  # also of the busiest fifth of the blocks, where the person is


def are_drawn(pictures: Sequence[np.ndarray]) -> bool:
    """Return whether most of the pictures `h w 3` uint8 RGB are of the drawn world."""
    votes = [is_drawn(picture) for picture in pictures]
    return 2 * sum(votes) > len(votes)


def is_drawn(picture: np.ndarray) -> bool:
    """Return whether a picture `h w 3` uint8 RGB is of the drawn world."""
    whole, busy = flat_shares(picture)
    return whole >= _FLAT and busy >= _FLAT_BLOCK


def flat_shares(picture: np.ndarray) -> tuple[float, float]:
    """Return the flat share of a picture `h w 3` uint8 RGB, and that of the flattest of its busiest blocks."""
    flat = _flat_pixels(picture)
    blocks = [block.mean() for rows in np.array_split(flat, _BLOCKS) for block in np.array_split(rows, _BLOCKS, axis=1)]
    return float(flat.mean()), float(np.quantile(blocks, _BUSY_SHARE))


def _flat_pixels(picture: np.ndarray) -> np.ndarray:
    """Return `h w` bool at the size that is measured at."""
    height, width = picture.shape[:2]
    scale = _SIDE_PX / max(height, width)
    size = max(_BLOCKS, round(width * scale)), max(_BLOCKS, round(height * scale))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    grey = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)
    square = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.dilate(grey, square) - cv2.erode(grey, square) <= _FLAT_LEVELS)
