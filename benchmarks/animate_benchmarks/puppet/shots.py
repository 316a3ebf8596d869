"""A shot: one puppet filmed for a while, from which frames, keypoints and masks are drawn at any time and size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from animate_weights.puppet import Character, Frame, Performance, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera

FPS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """Everything that decides the pixels of a clip."""

    character: Character
    performance: Performance
    camera: Camera
    backdrop: Backdrop

    @classmethod
    def random(cls, rng: np.random.Generator, *, duration_s: float = 2.0, drift: float = 0.0) -> Shot:
        return cls(
            character=Character.random(rng),
            performance=Performance.random(rng, duration_s),
            camera=Camera.random(rng, drift=drift),
            backdrop=Backdrop.random(rng),
        )

    def played_by(self, character: Character) -> Shot:
        return replace(self, character=character)

    def poses(self, num_frames: int, start_s: float = 0.0) -> list[Pose]:
        return self.performance.poses(num_frames, FPS, start_s)

    def draw(self, poses: list[Pose], size: tuple[int, int], start_s: float = 0.0) -> list[Frame]:
        """Draw poses with this shot's character, camera and backdrop; `size` is (width, height)."""
        return [
            draw(
                self.character,
                pose,
                size,
                camera=self.camera,
                backdrop=self.backdrop,
                time_s=start_s + index / FPS,
            )
            for index, pose in enumerate(poses)
        ]


def pictures(frames: list[Frame]) -> np.ndarray:
    """Stack the pictures, `t h w 3` uint8."""
    return np.stack([frame.rgb for frame in frames])


def relative_keypoints(frames: list[Frame]) -> np.ndarray:
    """Return keypoints as the pipeline has them, `t 133 3`: fractions of the frame, with a confidence."""
    height, width = frames[0].rgb.shape[:2]
    return np.stack([frame.keypoints for frame in frames]) / np.array([width, height, 1.0])
