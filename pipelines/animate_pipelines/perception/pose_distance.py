"""The distance between two poses: the angle between their limbs.

Angles, not places: they are the same for tall and short people, near and far, left and right in the picture.
"""

from __future__ import annotations

import numpy as np

from animate_pipelines.perception.confidence import JOINT_COMPARED
from animate_pipelines.perception.keypoints import body_20

# Pairs of body-20 rows that move together: trunk, head, shoulders, right arm, left arm, right leg, left leg. Arms and
# legs count in halves and as wholes.
_GROUPS = (
    ((1, 8), (1, 11)),
    ((1, 0),),
    ((2, 5),),
    ((2, 3), (3, 4), (2, 4)),
    ((5, 6), (6, 7), (5, 7)),
    ((8, 9), (9, 10), (8, 10)),
    ((11, 12), (12, 13), (11, 13)),
)
_MIN_GROUPS = 4


def pose_distance(a: np.ndarray, b: np.ndarray, *, aspect_a: float, aspect_b: float) -> float | None:
    """Return the degrees, 0 to 180, between two poses `133 3` (fractions of their pictures).

    aspect_a, aspect_b: width over height of each picture.
    Returns None when fewer than four parts of the body are visible in both.

    The angle is the root of the mean square over the parts that are visible in both. A part counts by the middle one
    of its angles, or by the smaller of two: one misread joint may turn the limbs it ends by anything, a misread elbow
    both halves of an arm but not the whole.
    """
    first, second = (body_20(pose) * [aspect, 1, 1] for pose, aspect in ((a, aspect_a), (b, aspect_b)))
    angles = []
    for group in _GROUPS:
        limbs = [
            limb for limb in group if min(first[list(limb), 2].min(), second[list(limb), 2].min()) >= JOINT_COMPARED
        ]
        if len(limbs) == len(group):
            angles.append(sorted(_angle(first, second, limb) for limb in limbs)[(len(limbs) - 1) // 2])
    return float(np.sqrt(np.mean(np.square(angles)))) if len(angles) >= _MIN_GROUPS else None


def _angle(a: np.ndarray, b: np.ndarray, limb: tuple[int, int]) -> float:
    start, end = limb
    along_a, along_b = a[end, :2] - a[start, :2], b[end, :2] - b[start, :2]
    lengths = max(np.hypot(*along_a) * np.hypot(*along_b), 1e-12)
    return float(np.degrees(np.arccos(np.clip(along_a @ along_b / lengths, -1, 1))))
