"""Draws the skeleton that the model was trained to read: body limbs, joints and hands on black; no face points.

Pixels equal those of the official preprocessing (tests hold them side by side), so every rounding here is deliberate.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from animate_pipelines.perception.confidence import JOINT_SEEN
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND, body_20

# Pairs of body-20 rows, in drawing order.
LIMBS = [(1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)]
LIMBS += [(1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19)]
# fmt: off
_COLOURS = [
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0),
]
# fmt: on
_LIMB_DIM = 0.6
_FINGERS = [(0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (0, 9, 10, 11, 12), (0, 13, 14, 15, 16), (0, 17, 18, 19, 20)]
_HAND_EDGES = [edge for finger in _FINGERS for edge in pairwise(finger)]
_HAND_JOINT_COLOUR = (0, 0, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """The drawn parts of a pose, in pixels of the canvas.

    body: `20 3`.
    hands: the two hands `21 3`, in drawing order.
    """

    body: np.ndarray
    hands: tuple[np.ndarray, np.ndarray]


def skeleton_of(keypoints: np.ndarray, width: int, height: int) -> Skeleton:
    """Return the skeleton of a whole-body pose `133 3` (fractions of the frame) on a canvas of that size."""
    scale = np.array([width, height, 1.0])
    return Skeleton(
        body=body_20(keypoints) * scale, hands=(keypoints[LEFT_HAND] * scale, keypoints[RIGHT_HAND] * scale)
    )


def draw_skeleton(skeleton: Skeleton, width: int, height: int) -> np.ndarray:
    """Draw a skeleton on a black `height width 3` RGB canvas."""
    canvas = np.zeros((height, width, 3), np.uint8)
    stick_px = max(min(height, width) // 200 - 1, 1)
    _draw_body(canvas, skeleton.body, stick_px)
    for hand in skeleton.hands:
        _draw_hand(canvas, hand, max(stick_px // 2, 1))
    return canvas


def _draw_body(canvas: np.ndarray, joints: np.ndarray, stick_px: int) -> None:
    for (a, b), colour in zip(LIMBS, _COLOURS, strict=False):
        if joints[a, 2] < JOINT_SEEN or joints[b, 2] < JOINT_SEEN:
            continue
        (xa, ya), (xb, yb) = joints[a, :2], joints[b, :2]
        centre = (int((xa + xb) / 2), int((ya + yb) / 2))
        axes = (int(math.hypot(xa - xb, ya - yb) / 2), stick_px)
        polygon = cv2.ellipse2Poly(centre, axes, int(math.degrees(math.atan2(ya - yb, xa - xb))), 0, 360, 1)
        cv2.fillConvexPoly(canvas, polygon, [int(channel * _LIMB_DIM) for channel in colour])
    for (x, y, confidence), colour in zip(joints, _COLOURS, strict=True):
        if confidence >= JOINT_SEEN:
            cv2.circle(canvas, (int(x), int(y)), stick_px, colour, thickness=-1)


def _draw_hand(canvas: np.ndarray, joints: np.ndarray, stick_px: int) -> None:
    pixels = [(int(x), int(y)) for x, y, _ in joints]
    # The official code looks at coordinates that are cut to whole pixels: the first row and column are left out.
    sure = joints[:, 2] >= JOINT_SEEN
    drawn = [bool(seen) and min(pixel) > 0 for pixel, seen in zip(pixels, sure, strict=True)]
    for i, (a, b) in enumerate(_HAND_EDGES):
        if drawn[a] and drawn[b]:
            colour = [channel * 255 for channel in colorsys.hsv_to_rgb(i / len(_HAND_EDGES), 1.0, 1.0)]
            cv2.line(canvas, pixels[a], pixels[b], colour, thickness=stick_px)
    for pixel, is_drawn in zip(pixels, drawn, strict=True):
        if is_drawn:
            cv2.circle(canvas, pixel, stick_px, _HAND_JOINT_COLOUR, thickness=-1)
