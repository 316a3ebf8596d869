"""Whole-body pose networks that answer a row and a column for each point (SimCC): RTMW and DWPose, Apache-2.0.

Input `n 3 h w`, RGB with the mean and deviation of ImageNet; outputs `simcc_x` and `simcc_y`, `n 133 k` each, in which
a pixel of the input is two entries. The points are COCO-WholeBody's, as ViTPose's. Source: mmpose.
"""

from __future__ import annotations

import cv2
import numpy as np

_MEAN, _STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
_ENTRIES = 2.0  # for each pixel of the input


def warp_person(frame: np.ndarray, centre: np.ndarray, extent: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the network's input `3 h w` around a place of an RGB frame; black beyond the frame.

    centre, extent: of the crop, in pixels of the frame.
    """
    zoom = np.array([width, height]) / extent
    shift = np.array([width, height]) / 2 - centre * zoom
    placing = np.array([[zoom[0], 0, shift[0]], [0, zoom[1], shift[1]]])
    warped = cv2.warpAffine(np.ascontiguousarray(frame), placing, (width, height), flags=cv2.INTER_LINEAR)
    return ((warped - _MEAN) / _STD).transpose(2, 0, 1).astype(np.float32)


def decode_simcc(across: np.ndarray, down: np.ndarray, centre: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Return points `k 3` (x px, y px, confidence) of the frame.

    across, down: `k n`, the likelihood of each column and row.
    """
    size = np.array([across.shape[1], down.shape[1]]) / _ENTRIES
    places = np.stack([across.argmax(axis=1), down.argmax(axis=1)], axis=1) / _ENTRIES
    sure = np.clip(np.minimum(across.max(axis=1), down.max(axis=1)), 0, 1)
    points = places / size * extent + centre - extent / 2
    return np.concatenate([points, sure[:, None]], axis=1)
