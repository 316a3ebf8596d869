"""Steadies the jitter of boxes and face points with a Savitzky-Golay filter.

Each value becomes that of a parabola fitted to its neighbourhood (Savitzky and Golay, 1964): unlike a running mean it
neither lags nor flattens a movement that is slow against its window, and it needs no tuning of cut-off frequencies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np

WINDOW_S = 0.3
_DEGREE = 2


def smooth_boxes(boxes: Mapping[int, np.ndarray], cuts: Collection[int], fps: float) -> dict[int, np.ndarray]:
    """Smooth the corners of boxes by frame, but not across gaps and cuts.

    boxes: `k` (x1, y1, x2, y2, ...) by frame; values after the corners stay.
    """
    frames = sorted(boxes)
    steady: dict[int, np.ndarray] = {}
    for run in _runs(frames, cuts):
        corners = smooth(np.stack([boxes[frame][:4] for frame in run]), fps)
        for frame, row in zip(run, corners, strict=True):
            steady[frame] = np.concatenate([row, boxes[frame][4:]])
    return steady


def smooth(values: np.ndarray, fps: float) -> np.ndarray:
    """Put each of the rows `t k` at `fps` on the parabola through the `WINDOW_S` around it.

    Returns `values` as they are when they are fewer than a window.
    """
    reach = max(round(WINDOW_S * fps / 2), 2)
    if len(values) < 2 * reach + 1:
        return values
    steady = np.empty(values.shape, np.float64)
    for index in range(len(values)):
        start = min(max(index - reach, 0), len(values) - 2 * reach - 1)
        times = np.arange(start, start + 2 * reach + 1) - index
        steady[index] = np.polynomial.polynomial.polyfit(times, values[start : start + 2 * reach + 1], _DEGREE)[0]
    return steady


def _runs(frames: list[int], cuts: Collection[int]) -> list[list[int]]:
    """Split the frames at cuts, and at steps longer than the usual one."""
    step = min((b - a for a, b in pairwise(frames)), default=1)
    runs: list[list[int]] = []
    for frame in frames:
        broken = not runs or frame - runs[-1][-1] > step + 1 or any(runs[-1][-1] < cut <= frame for cut in cuts)
        if broken:
            runs.append([])
        runs[-1].append(frame)
    return runs
