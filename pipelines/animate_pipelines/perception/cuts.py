"""Finds the cuts of a film: frames that share too little with the frame before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

_SIDE_PX = 32
_LEAST = 0.08  # mean difference, of the full range
_PEAK = 4.0  # times the median difference of the frames around: fast action changes much, but for longer than a frame
_AROUND = 8


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Return an `h w 3` uint8 picture as `32 32 3` in 0..1."""
    return cv2.resize(picture, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def find_cuts(thumbnails: Sequence[np.ndarray]) -> list[int]:
    """Return the indices of the thumbnails that begin a new scene; never the first."""
    changes = np.array([np.abs(b - a).mean() for a, b in pairwise(thumbnails)])
    cuts = []
    for index, change in enumerate(changes):
        neighbours = np.concatenate(
            [changes[max(index - _AROUND, 0) : index], changes[index + 1 : index + 1 + _AROUND]]
        )
        if change > _LEAST and (not len(neighbours) or change > _PEAK * np.median(neighbours)):
            cuts.append(index + 1)
    return cuts
