"""Holds the body still: the skeleton of the reference picture, on which only the head moves as the driver's does."""

from __future__ import annotations

import numpy as np

_HEAD = slice(0, 5)  # nose, eyes, ears
_SHOULDERS = [5, 6]


def hold_body(
    poses: np.ndarray, size: tuple[int, int], reference: np.ndarray, reference_size: tuple[int, int]
) -> np.ndarray:
    """Poses `t 133 3` (fractions of `reference_size`) with the body, hands and feet of the pose `reference` `133 3`.

    The head starts where the reference has it, and moves as the head of `poses` (fractions of `size`) moves against
    its shoulders since the first frame, larger or smaller as the shoulders are wide. Sizes are (width, height) px.
    """
    held = np.repeat(reference[None], len(poses), axis=0)
    pixels, goal = poses[..., :2] * size, reference[:, :2] * reference_size
    head = pixels[:, _HEAD] - pixels[:, _SHOULDERS].mean(axis=1, keepdims=True)
    scale = _width(goal) / max(_width(pixels[0]), 1.0)
    held[:, _HEAD, :2] += scale * (head - head[0]) / reference_size
    held[:, _HEAD, 2] = np.minimum(held[:, _HEAD, 2], poses[:, _HEAD, 2])
    return held


def _width(points: np.ndarray) -> float:
    return float(np.hypot(*(points[_SHOULDERS[0]] - points[_SHOULDERS[1]])))
