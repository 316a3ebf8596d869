"""The parts of a posed puppet by forward kinematics, in body coordinates (right, down, in standing heights)."""

import math
from dataclasses import dataclass

import numpy as np

from animate_weights.puppet.character import Build
from animate_weights.puppet.pose import Pose

SIDES = ("left", "right")
# Five fingers from the thumb: angle from the hand's axis when spread, and length in hands.
FINGERS = ((0.95, 0.75), (0.42, 1.0), (0.1, 1.08), (-0.2, 1.0), (-0.5, 0.8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The ellipse of the head and its frame: features sit on a ball, so that turning moves and hides them."""

    centre: np.ndarray  # 2
    right: np.ndarray  # 2, unit, towards the picture's right when upright
    down: np.ndarray  # 2
    half_width: float
    half_height: float
    yaw: float

    def point(self, lateral: np.ndarray | float, vertical: np.ndarray | float) -> np.ndarray:
        """Return the place of features on the head, `.. 2`.

        lateral, vertical: in half widths and half heights; the puppet's left and down are positive.
        """
        a, b = np.broadcast_arrays(np.asarray(lateral, float), np.asarray(vertical, float))
        depth = np.sqrt(np.clip(1.0 - a * a, 0.0, 1.0))
        x = (a * math.cos(self.yaw) + depth * math.sin(self.yaw)) * self.half_width
        y = b * self.half_height
        return self.centre + x[..., None] * self.right + y[..., None] * self.down

    @property
    def faces_camera(self) -> bool:
        return math.cos(self.yaw) > 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limb:
    """An arm or a leg: three joints, and the points beyond the last one (`n 2`: the hand's, or toes and heel)."""

    top: np.ndarray
    middle: np.ndarray
    end: np.ndarray
    tip: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The whole puppet. Arms and legs are (left, right), the puppet's own."""

    head: Head
    neck: np.ndarray
    hips: np.ndarray
    arms: tuple[Limb, Limb]
    legs: tuple[Limb, Limb]

    @classmethod
    def posed(cls, build: Build, pose: Pose) -> "Body":
        flat = _flat_legs(build, pose)
        lowest = max(leg[2][1] for leg in flat)
        hips = np.array([pose.x, pose.y + build.leg - lowest])
        turn = math.cos(pose.yaw)
        up = np.array([math.sin(pose.lean), -math.cos(pose.lean)])
        across = np.array([-up[1], up[0]])
        neck = hips + up * build.torso
        return cls(
            head=_head(build, pose, neck, turn),
            neck=neck,
            hips=hips,
            arms=(_arm(build, pose, neck, across, turn, 1), _arm(build, pose, neck, across, turn, -1)),
            legs=(_leg(build, hips, flat[0], pose.yaw, 1), _leg(build, hips, flat[1], pose.yaw, -1)),
        )


def _head(build: Build, pose: Pose, neck: np.ndarray, turn: float) -> Head:
    angle = pose.lean + pose.tilt * (1 if turn >= 0 else -1)
    down = np.array([-math.sin(angle), math.cos(angle)])
    right = np.array([math.cos(angle), math.sin(angle)])
    centre = neck - down * (build.neck + build.head)
    half_width = build.head * build.head_aspect
    return Head(centre=centre, right=right, down=down, half_width=half_width, half_height=build.head, yaw=pose.yaw)


def _arm(build: Build, pose: Pose, neck: np.ndarray, across: np.ndarray, turn: float, side: int) -> Limb:
    name = SIDES[0] if side > 0 else SIDES[1]
    upper = getattr(pose, f"{name}_shoulder")
    fore = upper + getattr(pose, f"{name}_elbow")
    palm = fore + getattr(pose, f"{name}_wrist")
    spread = getattr(pose, f"{name}_spread")
    top = neck + across * (build.shoulder * side * turn) + np.array([0.0, 0.02])
    middle = top + build.upper_arm * _swing(upper, side, turn)
    end = middle + build.forearm * _swing(fore, side, turn)
    return Limb(top=top, middle=middle, end=end, tip=_hand(build.hand, palm, spread, end, side, turn))


def _hand(length: float, palm: float, spread: float, wrist: np.ndarray, side: int, turn: float) -> np.ndarray:
    """Return the wrist, then four joints of each finger from the thumb on, `21 2`. A fist has short fingers."""
    points = [wrist]
    for angle, reach in FINGERS:
        direction = _swing(palm + angle * (0.35 + 0.65 * spread), side, turn)
        total = length * reach * (0.62 + 0.48 * spread)
        points += [wrist + direction * total * share for share in (0.45, 0.65, 0.83, 1.0)]
    return np.stack(points)


def _flat_legs(build: Build, pose: Pose) -> list[np.ndarray]:
    """Return hip, knee and ankle of each leg before turning, `3 2`, with the hips at the origin."""
    legs = []
    for side, thigh, knee in ((1, pose.left_hip, pose.left_knee), (-1, pose.right_hip, pose.right_knee)):
        top = np.array([build.hip * side, 0.0])
        middle = top + build.thigh * _swing(thigh, side, 1.0)
        legs.append(np.stack([top, middle, middle + build.shin * _swing(thigh + knee, side, 1.0)]))
    return legs


def _leg(build: Build, hips: np.ndarray, flat: np.ndarray, yaw: float, side: int) -> Limb:
    joints = hips + flat * np.array([math.cos(yaw), 1.0])
    forward = math.sin(yaw) + 0.75 * side * math.cos(yaw)
    ankle = joints[2]
    toes = [ankle + np.array([forward * build.foot * reach, 0.03]) for reach in (1.0, 0.85)]
    heel = ankle + np.array([-forward * build.foot * 0.25, 0.03])
    return Limb(top=joints[0], middle=joints[1], end=ankle, tip=np.stack([*toes, heel]))


def _swing(angle: float, side: int, turn: float) -> np.ndarray:
    """Return the unit direction of a limb in the picture, `angle` outwards from hanging down."""
    return np.array([math.sin(angle) * side * turn, math.cos(angle)])
