"""`Observations`: what a picture, or the sampled frames of a video, shows of its person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.perception.framing import FRAMINGS, PARTS, Framing, Part, framing_of, part_confidence, sees
from animate_pipelines.perception.keypoints import NUM_KEYPOINTS
from animate_pipelines.perception.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """poses: `n 133 3` of the one person (fractions of the picture), in the `n` pictures in which it was found.

    times_s: `n`, when. num_pictures: how many were looked at. size: (width, height).
    boxes: `n 4` (x1, y1, x2, y2), fractions of the picture.
    people: the most of them that a quarter of the pictures show. sharpness: `n`, of the person; see `Observation`.
    cuts_s: when new scenes begin.
    """

    poses: np.ndarray
    boxes: np.ndarray
    times_s: np.ndarray
    sharpness: np.ndarray
    num_pictures: int
    people: int
    size: tuple[int, int]
    cuts_s: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        shown: Sequence[Observation | None],
        times_s: Sequence[float],
        size: tuple[int, int],
        cuts_s: tuple[float, ...] = (),
    ) -> Observations:
        """From what each picture shows, in order of time."""
        found = [
            (observation, time_s) for observation, time_s in zip(shown, times_s, strict=True) if observation is not None
        ]
        return cls(
            poses=np.array([observation.pose for observation, _ in found]).reshape(-1, NUM_KEYPOINTS, 3),
            boxes=np.array([observation.box for observation, _ in found]).reshape(-1, 4),
            times_s=np.array([time_s for _, time_s in found]),
            sharpness=np.array([observation.sharpness for observation, _ in found]),
            num_pictures=len(shown),
            people=int(np.quantile([observation.people for observation, _ in found], 0.75, method="lower"))
            if found
            else 0,
            size=size,
            cuts_s=cuts_s,
        )

    @property
    def aspect(self) -> float:
        return self.size[0] / self.size[1]

    @property
    def framing(self) -> Framing:
        """The usual one; of two that are equally usual the wider."""
        counts = Counter(framing_of(pose) for pose in self.poses)
        return max(counts, key=lambda framing: (counts[framing], FRAMINGS.index(framing)))

    def share(self, part: Part) -> float:
        """In how many of the pictures with the person a part is seen, 0 to 1."""
        return float(np.mean([sees(pose, part) for pose in self.poses]))

    def shares(self) -> dict[str, float]:
        """Of every part."""
        return {part: round(self.share(part), 3) for part in PARTS}

    def confidence(self, part: Part) -> float:
        """The usual confidence of a part."""
        return float(np.median([part_confidence(pose, part) for pose in self.poses]))
