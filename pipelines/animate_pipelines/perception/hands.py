"""Hides hand points where no hand can be.

A finger read on a knee or on another person would be drawn as a long streak.
"""

from __future__ import annotations

import numpy as np

from animate_pipelines.perception.confidence import JOINT_FOUND
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND
from animate_pipelines.request.size import Size

# A hand is at most 0.8 of a forearm long; half as much again for one that is held towards the camera.
_REACH = 1.25
# shoulder, elbow, wrist, hip of the same side
_ARMS = ((LEFT_HAND, (5, 7, 9, 11)), (RIGHT_HAND, (6, 8, 10, 12)))


def hide_stray_fingers(pose: np.ndarray, size: Size) -> np.ndarray:
    """Return a whole-body pose `133 3` in which hand points far from their wrist have a confidence of 0.

    pose: fractions of a frame of `size`.
    size: (width, height) of the frame.

    Far is over 1.25 of the longest of forearm, upper arm and half the trunk, as far as they are visible; arms that
    point at the camera look short, a trunk does not.
    Nothing changes where the wrist or all of these are out of sight.
    """
    pixels = pose[:, :2] * size
    result = pose.copy()
    for hand, (shoulder, elbow, wrist, hip) in _ARMS:
        spans = ((elbow, wrist, 1.0), (shoulder, elbow, 1.0), (shoulder, hip, 0.5))
        lengths = [
            share * np.linalg.norm(pixels[a] - pixels[b])
            for a, b, share in spans
            if min(pose[a, 2], pose[b, 2]) >= JOINT_FOUND
        ]
        if lengths and pose[wrist, 2] >= JOINT_FOUND:
            far = np.linalg.norm(pixels[hand] - pixels[wrist], axis=1) > _REACH * max(lengths)
            result[hand, 2][far] = 0.0
    return result
