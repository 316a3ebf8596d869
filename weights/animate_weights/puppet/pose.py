"""The pose of a puppet at one moment: joint angles, where it stands, which way it faces, and its expression."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """A pose: angles in radians, lengths in standing heights, expressions from 0 to 1.

    Left and right are the puppet's own.
    """

    x: float = 0.0  # sideways offset in the picture
    y: float = 0.0  # downward offset; negative is a jump
    yaw: float = 0.0  # 0 faces the camera, pi turns the back to it
    lean: float = 0.0  # of the trunk, positive to the picture's right
    tilt: float = 0.0  # of the head, relative to the trunk
    left_shoulder: float = 0.2  # 0 hangs down, pi/2 points outwards, pi straight up
    left_elbow: float = 0.2  # added to the upper arm's angle
    left_wrist: float = 0.0
    left_spread: float = 0.6  # fingers: 0 a fist, 1 wide open
    right_shoulder: float = 0.2
    right_elbow: float = 0.2
    right_wrist: float = 0.0
    right_spread: float = 0.6
    left_hip: float = 0.1
    left_knee: float = 0.0
    right_hip: float = 0.1
    right_knee: float = 0.0
    mouth: float = 0.0  # 1 wide open
    smile: float = 0.0
    eyes: float = 1.0  # 0 closed
    brow: float = 0.0

    def vector(self) -> np.ndarray:
        """Return all fields in order, float64."""
        return np.array([getattr(self, name) for name in FIELDS])

    @classmethod
    def from_vector(cls, vector: np.ndarray) -> "Pose":
        return cls(**dict(zip(FIELDS, map(float, vector), strict=True)))


FIELDS = tuple(field.name for field in fields(Pose))
EXPRESSION = ("mouth", "smile", "eyes", "brow")
