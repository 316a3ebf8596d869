"""Measures of a picture against the true one. Frames are `t h w 3` uint8, keypoints `t 133 3` in pixels."""

from __future__ import annotations

import cv2
import numpy as np

_PEAK = 255.0
_SSIM_WINDOW = 7
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
BODY = slice(0, 17)
PCK_SHARE = 0.1
# Where each part's colour is read: between which two keypoints, and how far along.
PARTS: dict[str, tuple[int, int, float]] = {
    "face": (1, 2, 0.5),
    "torso": (5, 12, 0.5),
    "left_upper_arm": (5, 7, 0.5),
    "right_upper_arm": (6, 8, 0.5),
    "left_forearm": (7, 9, 0.5),
    "right_forearm": (8, 10, 0.5),
    "left_thigh": (11, 13, 0.5),
    "right_thigh": (12, 14, 0.5),
    "left_shin": (13, 15, 0.5),
    "right_shin": (14, 16, 0.5),
}


def psnr_db(frames: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Return the PSNR over all frames at once; 99 dB for equal pictures.

    where: `t h w`, chooses pixels; None for all.
    """
    error = (frames.astype(np.float64) - truth) ** 2
    mean = error.mean() if where is None else error[where.astype(bool)].mean()
    return float(min(10 * np.log10(_PEAK**2 / max(mean, 1e-9)), 99.0))


def ssim(frames: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean structural similarity of the brightness (Wang et al., 2004), in 7 x 7 windows."""
    a, b = frames.astype(np.float64).mean(axis=-1), truth.astype(np.float64).mean(axis=-1)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    score = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    return float((score / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))).mean())


def _blur(x: np.ndarray) -> np.ndarray:
    return np.stack([cv2.blur(frame, (_SSIM_WINDOW, _SSIM_WINDOW)) for frame in x])


def person_boxes(masks: np.ndarray) -> np.ndarray:
    """Return the box around each frame's person as `t h w` of 0 and 1, from masks `t h w` uint8."""
    boxes = np.zeros(masks.shape, np.uint8)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return boxes


def pck(read: np.ndarray, true: np.ndarray) -> float:
    """Return the share of the visible body keypoints within a tenth of their longer extent from the true place."""
    hits: list[bool] = []
    for found, wanted in zip(read[:, BODY], true[:, BODY], strict=True):
        seen = wanted[:, 2] >= 1
        if seen.sum() < 3:
            continue
        extent = float(np.ptp(wanted[seen, :2], axis=0).max())
        distance = np.linalg.norm(found[seen, :2] - wanted[seen, :2], axis=1)
        hits += (distance <= PCK_SHARE * extent).tolist()
    return float(np.mean(hits))


def nearer_share(frames: np.ndarray, candidate: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return for each frame whether it is nearer to `candidate` than to `other`, judged only where those two differ.

    The result is `t` of 0.0 and 1.0; NaN where the two do not differ visibly.
    """
    differs = np.abs(candidate.astype(int) - other).max(axis=-1) > 24
    verdicts = np.full(len(frames), np.nan)
    for index, where in enumerate(differs):
        if where.sum() < 3:
            continue
        to_candidate = ((frames[index].astype(float) - candidate[index]) ** 2)[where].sum()
        to_other = ((frames[index].astype(float) - other[index]) ** 2)[where].sum()
        verdicts[index] = float(to_candidate < to_other)
    return verdicts


def balanced_accuracy(verdicts: np.ndarray, positive: np.ndarray) -> float:
    """Return the mean of the two classes' accuracies.

    verdicts: 1 for "positive", 0 for "negative", NaN for no verdict.
    positive: the truth.
    """
    usable = ~np.isnan(verdicts)
    rates = [np.mean(verdicts[usable & (positive == side)] == side) for side in (True, False)]
    return float(np.mean(rates))


def colour_errors(frames: np.ndarray, truth: np.ndarray, keypoints: np.ndarray) -> dict[str, float]:
    """Return the mean absolute difference (of 255) of each body part's colour, on 3 x 3 pixels in its middle."""
    height, width = frames.shape[1:3]
    errors: dict[str, list[float]] = {part: [] for part in PARTS}
    for shown, wanted, points in zip(frames.astype(float), truth.astype(float), keypoints, strict=True):
        for part, (a, b, share) in PARTS.items():
            if min(points[a, 2], points[b, 2]) < 1:
                continue
            x, y = (points[a, :2] * (1 - share) + points[b, :2] * share).astype(int)
            patch = slice(max(y - 1, 0), min(y + 2, height)), slice(max(x - 1, 0), min(x + 2, width))
            errors[part].append(float(np.abs(shown[patch].mean((0, 1)) - wanted[patch].mean((0, 1))).mean()))
    return {part: float(np.mean(values)) for part, values in errors.items() if values}


def seam_ratio(frames: np.ndarray, truth: np.ndarray, seams: list[int]) -> float:
    """Return how much more the pictures' error jumps into the seams' first frames than between other neighbours.

    The error's change counts, not the picture's: a fast movement at a seam must not.
    """
    error = frames.astype(np.float64) - truth
    jumps = np.sqrt((np.diff(error, axis=0) ** 2).mean(axis=(1, 2, 3)))
    at_seam = np.zeros(len(jumps), bool)
    at_seam[[seam - 1 for seam in seams]] = True
    return float(jumps[at_seam].mean() / jumps[~at_seam].mean())


def drift_db_per_segment(frames: np.ndarray, truth: np.ndarray, bounds: list[tuple[int, int]]) -> float:
    """Return how many dB of PSNR a segment loses to the one before, by a straight line through all segments."""
    levels = [psnr_db(frames[start:stop], truth[start:stop]) for start, stop in bounds]
    return float(-np.polyfit(np.arange(len(levels)), levels, 1)[0])
