"""`framing_of`: the part of a person that a picture shows; and which parts of the body are visible."""

from __future__ import annotations

from typing import Literal

import numpy as np

from animate_pipelines.perception.confidence import JOINT_SEEN, JOINT_SURE, PART_SEEN
from animate_pipelines.perception.keypoints import FACE, LEFT_HAND, RIGHT_HAND

Framing = Literal["portrait", "half", "three_quarter", "full"]
FRAMINGS: tuple[Framing, ...] = ("portrait", "half", "three_quarter", "full")  # each shows more than the one before
Part = Literal["face", "arms", "left_hand", "right_hand", "legs", "feet"]
PARTS: tuple[Part, ...] = ("face", "arms", "left_hand", "right_hand", "legs", "feet")

# Rows of a whole-body pose, left and right.
_SHOULDERS, _ELBOWS, _WRISTS, _HIPS, _KNEES, _ANKLES = [5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16]
_SHORTEST_TRUNK = 0.6  # of the breadth of the shoulders
_SHORTEST_THIGH = 0.3  # of the trunk, downwards
_EDGE = 0.985  # of the height; what is guessed below the picture lands on its last rows


def framing_of(pose: np.ndarray) -> Framing:
    """Return the framing of a pose `133 3` (fractions of the picture) by its lowest visible pair of joints.

    Hips next to the shoulders, and knees next to the hips, are guesses.
    Ankles that are sure count even where the hips are hidden, as they may be behind something.
    """
    shoulders, hips, knees = (float(pose[joints, 1].mean()) for joints in (_SHOULDERS, _HIPS, _KNEES))
    breadth = float(np.hypot(*(pose[5, :2] - pose[6, :2])))
    if _are_seen(pose, _ANKLES, JOINT_SURE):
        return "full"
    if not _are_seen(pose, _HIPS) or hips - shoulders < _SHORTEST_TRUNK * breadth:
        return "portrait"
    bent = knees - hips < _SHORTEST_THIGH * (hips - shoulders)
    return "half" if bent or not _are_seen(pose, _KNEES) else "three_quarter"


def _are_seen(pose: np.ndarray, joints: list[int], confidence: float = JOINT_SEEN) -> bool:
    return bool(pose[joints, 2].mean() >= confidence and pose[joints, 1].mean() <= _EDGE)


def part_confidence(pose: np.ndarray, part: Part) -> float:
    """Return the confidence in a part of the body, about 0 to 1, from a pose `133 3`."""
    confidence = pose[:, 2]
    arms = [*_SHOULDERS, *_ELBOWS, *_WRISTS]
    hands = (confidence[LEFT_HAND].mean(), confidence[RIGHT_HAND].mean())
    return {
        "face": float(confidence[FACE].mean()),
        "arms": float(np.mean([*confidence[arms], *hands])),
        "left_hand": float(hands[0]),
        "right_hand": float(hands[1]),
        "legs": float(confidence[[*_KNEES, *_ANKLES]].mean()),
        "feet": float(confidence[[*_ANKLES, 17, 18, 20, 21]].mean()),
    }[part]


def sees(pose: np.ndarray, part: Part) -> bool:
    """Return whether a part of the body is visible in a pose `133 3`."""
    return part_confidence(pose, part) >= PART_SEEN
