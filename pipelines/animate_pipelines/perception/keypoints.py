"""COCO whole-body keypoints, and the parts of them that the model reads.

A whole-body pose is `133 3` (x, y, confidence) with x and y as fractions of the frame's width and height. Left and
right are the person's own. Rows: 0-16 body, 17-22 feet, 23-90 face, 91-111 left hand, 112-132 right hand.
"""

from __future__ import annotations

import numpy as np

NUM_KEYPOINTS = 133
BODY = slice(0, 17)
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)

# Rows of body-20: nose, neck, right arm (3), left arm (3), right leg (3), left leg (3), eyes, ears, toes.
# Each is the mean of two whole-body rows: only the neck (shoulders) and the toes (big and small) really mix.
_BODY_20_A = [0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20]
_BODY_20_B = [0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21]


def body_20(keypoints: np.ndarray) -> np.ndarray:
    """Return the 20 body joints that are drawn, `20 3`, from a whole-body pose `133 3`."""
    return (keypoints[_BODY_20_A] + keypoints[_BODY_20_B]) / 2


def interpolate(keypoints: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return poses `n 133 3` between the poses `t 133 3`.

    positions: `n` fractional frames in 0..t-1.
    """
    below = np.clip(np.floor(positions).astype(int), 0, len(keypoints) - 1)
    above = np.minimum(below + 1, len(keypoints) - 1)
    weight = (positions - below).astype(keypoints.dtype)[:, None, None]
    return keypoints[below] * (1 - weight) + keypoints[above] * weight
