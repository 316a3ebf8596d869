"""The face's features on the head: the 68 landmarks, and the eyes, brows and mouth that are drawn through them."""

import math
from dataclasses import dataclass

import numpy as np

from animate_weights.puppet.body import Head
from animate_weights.puppet.pose import Pose

EYE_X, EYE_Y = 0.42, 0.02
EYE_W, EYE_H = 0.23, 0.19
MOUTH_Y = 0.52


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """The features in body coordinates. Eyes and brows are (left, right), the puppet's own."""

    landmarks: np.ndarray  # 68 2, the usual order, from the puppet's right jaw on
    eyes: tuple[np.ndarray, np.ndarray]  # outlines, n 2
    pupils: np.ndarray  # 2 2
    brows: tuple[np.ndarray, np.ndarray]  # 5 2
    outer_lips: np.ndarray  # 12 2
    inner_lips: np.ndarray  # 8 2

    @classmethod
    def posed(cls, head: Head, pose: Pose) -> "Face":
        outer, inner = _lips(head, pose)
        right_brow, left_brow = _brow(head, pose, -1), _brow(head, pose, 1)
        right_eye, left_eye = _eye(head, pose.eyes, -1, 6), _eye(head, pose.eyes, 1, 6)
        jaw_angle = np.linspace(-1.0, 1.0, 17) * 1.65
        jaw = head.point(0.97 * np.sin(jaw_angle), 0.97 * np.cos(jaw_angle))
        bridge = head.point(np.zeros(4), np.linspace(0.0, 0.25, 4))
        nose = head.point(np.linspace(-0.12, 0.12, 5), 0.3 - 0.04 * np.abs(np.linspace(-1, 1, 5)))
        landmarks = np.concatenate([jaw, right_brow, left_brow, bridge, nose, right_eye, left_eye, outer, inner])
        return cls(
            landmarks=landmarks,
            eyes=(_eye(head, pose.eyes, 1, 16), _eye(head, pose.eyes, -1, 16)),
            pupils=head.point(np.array([EYE_X, -EYE_X]), np.array([EYE_Y, EYE_Y])),
            brows=(left_brow, right_brow),
            outer_lips=outer,
            inner_lips=inner,
        )


def _eye(head: Head, opening: float, side: int, count: int) -> np.ndarray:
    """Return an eye's outline, `count 2`, from the corner at the picture's left when facing the camera over the top."""
    angle = math.pi - 2 * math.pi * np.arange(count) / count
    return head.point(side * EYE_X + EYE_W * np.cos(angle), EYE_Y - EYE_H * opening * np.sin(angle))


def _brow(head: Head, pose: Pose, side: int) -> np.ndarray:
    along = np.linspace(-1.0, 1.0, 5)
    lift = -0.32 - 0.1 * pose.brow - 0.05 * (1 - along * along)
    return head.point(side * EYE_X + 0.24 * along, lift)


def _lips(head: Head, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return the outer (12) and inner (8) lip outlines, both from the puppet's right corner over the upper lip."""
    width = 0.3 + 0.16 * pose.smile - 0.04 * pose.mouth
    curve = -0.17 * pose.smile  # the corners go up
    opening = 0.24 * pose.mouth + 0.1 * pose.smile
    outer = _lip_ring(head, 12, width, curve, opening + 0.05)
    return outer, _lip_ring(head, 8, width * 0.85, curve * 0.85, opening)


def _lip_ring(head: Head, count: int, width: float, curve: float, opening: float) -> np.ndarray:
    half = count // 2
    over = np.linspace(-1.0, 1.0, half + 1)
    under = over[::-1][1:-1]
    across = np.concatenate([over, under])
    side = np.concatenate([-np.ones(half + 1), np.ones(half - 1)])
    bow = 1 - across * across
    share = np.where(side < 0, 0.35, 1.0)  # the lower jaw opens more than the upper lip rises
    return head.point(across * width, MOUTH_Y + curve * across * across + side * share * opening * bow)
