"""`Observations`: the person in a picture, or in the sampled frames of a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.perception.framing import FRAMINGS, PARTS, Framing, Part, framing_of, part_confidence, sees
from animate_pipelines.perception.keypoints import NUM_KEYPOINTS
from animate_pipelines.perception.observation import Observation
from animate_pipelines.request.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """The person in the `n` pictures that show it.

    poses: `n 133 3`, fractions of the picture.
    boxes: `n 4` (x1, y1, x2, y2), fractions of the picture.
    times_s: `n`, the time of each picture.
    sharpness: `n`, of the person; see `Observation`.
    num_pictures: the number of pictures in all, with and without the person.
    people: the largest number of people that a quarter of the pictures show.
    size: (width, height).
    cuts_s: the times at which new scenes begin.
    """

    poses: np.ndarray
    boxes: np.ndarray
    times_s: np.ndarray
    sharpness: np.ndarray
    num_pictures: int
    people: int
    size: Size
    cuts_s: tuple[float, ...] = ()

    @classmethod
    def of(
        cls,
        observations: Sequence[Observation | None],
        times_s: Sequence[float],
        size: Size,
        cuts_s: tuple[float, ...] = (),
    ) -> Observations:
        """Return the observations of pictures in order of time; None stands for a picture without anybody."""
        pairs = [
            (observation, time_s)
            for observation, time_s in zip(observations, times_s, strict=True)
            if observation is not None
        ]
        return cls(
            poses=np.array([observation.pose for observation, _ in pairs]).reshape(-1, NUM_KEYPOINTS, 3),
            boxes=np.array([observation.box for observation, _ in pairs]).reshape(-1, 4),
            times_s=np.array([time_s for _, time_s in pairs]),
            sharpness=np.array([observation.sharpness for observation, _ in pairs]),
            num_pictures=len(observations),
            people=int(np.quantile([observation.people for observation, _ in pairs], 0.75, method="lower"))
            if pairs
            else 0,
            size=size,
            cuts_s=cuts_s,
        )

    @property
    def aspect(self) -> float:
        """Return width over height."""
        return self.size[0] / self.size[1]

    @property
    def framing(self) -> Framing:
        """Return the most frequent framing; of two equally frequent ones, the wider."""
        counts = Counter(framing_of(pose) for pose in self.poses)
        return max(counts, key=lambda framing: (counts[framing], FRAMINGS.index(framing)))

    def share(self, part: Part) -> float:
        """Return the share of the person's pictures in which a part is visible, 0 to 1."""
        return float(np.mean([sees(pose, part) for pose in self.poses]))

    def shares(self) -> dict[str, float]:
        """Return `share` of every part."""
        return {part: round(self.share(part), 3) for part in PARTS}

    def confidence(self, part: Part) -> float:
        """Return the median confidence in a part."""
        return float(np.median([part_confidence(pose, part) for pose in self.poses]))
