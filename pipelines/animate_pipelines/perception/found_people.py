"""`FoundPeople`: everybody that the networks found in a driving video, and its file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from animate_pipelines.media.durable import written_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPeople:
    """Everybody that the networks found in a driving video; nothing is mended yet.

    frames: `n` source frames that were read.
    boxes: `k 5` (x1, y1, x2, y2, score) in pixels of the frames.
    box_frames: `k`, the frame of each box.
    box_people: `k`, the person in each box, counted from 1 in order of appearance and from left to right; 0 for false
        alarms.
    chosen: the number of the person to follow; 0 when there is nobody.
    poses: `m 133 3`, the chosen person's in every source frame, fractions of the frame; zero where `found` is not.
    found: `m`, whether the chosen person was found in each source frame.
    sharpness: `m`, of the chosen person's picture; see `sharpness_of`.
    cuts: source frames that begin a new scene.
    """

    frames: np.ndarray
    boxes: np.ndarray
    box_frames: np.ndarray
    box_people: np.ndarray
    chosen: int
    poses: np.ndarray
    found: np.ndarray
    sharpness: np.ndarray
    cuts: np.ndarray

    @property
    def num_people(self) -> int:
        """Return the number of different people."""
        return int(self.box_people.max(initial=0))

    @property
    def num_without(self) -> int:
        """Return the number of frames without the chosen person."""
        return int((~self.found[self.frames]).sum())

    def save(self, path: Path) -> None:
        """Write everything to `path`, an `.npz` file that appears when it is whole."""
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> FoundPeople:
        """Read what `save` has written."""
        with np.load(path) as saved:
            values = {name: saved[name] for name in saved.files}
        return cls(**values | {"chosen": int(values["chosen"])})
