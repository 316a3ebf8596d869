"""Holds the body still: the skeleton of the reference picture, with the driver's movements of the head alone."""

from __future__ import annotations

import numpy as np

from animate_pipelines.request.size import Size

_HEAD = slice(0, 5)  # nose, eyes, ears
_SHOULDERS = [5, 6]


def hold_body(poses: np.ndarray, size: Size, reference: np.ndarray, reference_size: Size) -> np.ndarray:
    """Return poses `t 133 3` (fractions of `reference_size`) with the body, hands and feet of the reference.

    poses: `t 133 3`, fractions of `size`.
    reference: the pose `133 3` of the reference.
    size, reference_size: (width, height) px.

    The head starts at its place in the reference, and moves as the head of `poses` moves against its shoulders since
    the first frame, larger or smaller with the breadth of the shoulders.
    """
    result = np.repeat(reference[None], len(poses), axis=0)
    pixels, goal = poses[..., :2] * size, reference[:, :2] * reference_size
    head = pixels[:, _HEAD] - pixels[:, _SHOULDERS].mean(axis=1, keepdims=True)
    scale = _width(goal) / max(_width(pixels[0]), 1.0)
    result[:, _HEAD, :2] += scale * (head - head[0]) / reference_size
    result[:, _HEAD, 2] = np.minimum(result[:, _HEAD, 2], poses[:, _HEAD, 2])
    return result


def _width(points: np.ndarray) -> float:
    return float(np.hypot(*(points[_SHOULDERS[0]] - points[_SHOULDERS[1]])))
