"""The place of the camera: maps body coordinates (standing heights, origin between the hips) to pixels."""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A camera, and its drift.

    zoom: the puppet's height over the picture's.
    x, y: where the hips rest, as parts of the picture.
    """

    zoom: float
    x: float = 0.5
    y: float = 0.5
    drift_x: float = 0.0  # parts of the picture, the amplitude of a slow sway
    drift_y: float = 0.0
    drift_period_s: float = 4.0

    @classmethod
    def random(cls, rng: np.random.Generator, *, drift: float = 0.0) -> "Camera":
        """Draw a camera from full body (zoom below 0.9) to portrait; most shots are wide."""
        zoom = 0.78 + 1.1 * rng.random() ** 2.2
        return cls.framing(zoom, x=rng.uniform(0.44, 0.56)).drifting(rng, drift)

    @classmethod
    def framing(cls, zoom: float, *, x: float = 0.5, head_room: float = 0.1) -> "Camera":
        """Place the head `head_room` below the upper edge; a whole body is centred instead."""
        above, below = 0.63 * zoom, 0.42 * zoom  # head top and feet, in picture heights from the hips
        y = head_room + above if above + below > 0.9 else 0.5 + (above - below) / 2
        return cls(zoom=zoom, x=x, y=y)

    def drifting(self, rng: np.random.Generator, amount: float) -> "Camera":
        if amount == 0:
            return self
        x, y = rng.uniform(-amount, amount, size=2)
        return replace(self, drift_x=float(x), drift_y=float(y), drift_period_s=float(rng.uniform(2.5, 6.0)))

    def at(self, time_s: float) -> "Camera":
        """Return the camera standing still where the drift has carried it."""
        dx, dy = self.offset(time_s)
        return replace(self, x=self.x + dx, y=self.y + dy, drift_x=0.0, drift_y=0.0)

    def offset(self, time_s: float) -> tuple[float, float]:
        """Return how far everything in the picture has moved, in parts of the picture."""
        sway = math.sin(2 * math.pi * time_s / self.drift_period_s)
        return self.drift_x * sway, self.drift_y * sway

    def project(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """Map body coordinates `n 2` (right, down) to pixels `n 2`."""
        return points * (self.zoom * height) + np.array([self.x * width, self.y * height])
