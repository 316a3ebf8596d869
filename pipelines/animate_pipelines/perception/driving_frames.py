"""`DrivingFrames`: the frames of the driving video in the size that the networks read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from animate_pipelines.media.clip import Clip
from animate_pipelines.media.resize import inner_box, padding_resize, resize_interpolation
from animate_pipelines.request.choices import Task
from animate_pipelines.request.person import PersonAt
from animate_pipelines.request.size import Size


class DrivingFrames:
    """The frames that the networks read: native to animate, letter-boxed to the render size to replace."""

    def __init__(self, clip: Clip, mode: Task, render_size: Size) -> None:
        self.clip = clip
        self.mode = mode
        self.size: Size = clip.size if mode == "animate" else render_size
        self._interpolation = resize_interpolation(clip.size, self.size)

    @property
    def needed(self) -> list[int]:
        """Return the source frames that the clip shows, or interpolates between where the rate goes up, in order."""
        clip = self.clip
        if clip.fps <= clip.source_fps:
            return sorted(set(clip.indices.tolist()))
        ends = np.concatenate([np.floor(clip.positions), np.ceil(clip.positions)]).astype(int).tolist()
        return sorted({min(end, clip.mezzanine.num_frames - 1) for end in ends})

    def place_poses(self, poses: np.ndarray) -> np.ndarray:
        """Return poses `m 133 3`, given in fractions of the driving picture, in fractions of these frames."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        moved = (poses[..., :2] * [width, height] + [left, top]) / self.size
        return np.concatenate([moved, poses[..., 2:]], axis=-1)

    def take_back(self, points: np.ndarray) -> np.ndarray:
        """Return points `... 2`, given in fractions of these frames, in fractions of the driving picture."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        return np.asarray((points * self.size - [left, top]) / [width, height])

    def place(self, point: PersonAt) -> PersonAt:
        """Return a point of the driving picture in fractions of these frames."""
        left, top, width, height = inner_box(self.clip.size, self.size)
        x, y = (left + point.x * width) / self.size[0], (top + point.y * height) / self.size[1]
        return PersonAt(x=x, y=y, time_s=point.time_s)

    def read(self, source_indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield `h w 3` uint8 frames, one after the other."""
        for frame in self.clip.read_source(source_indices):
            resized = self.size != self.clip.size
            yield padding_resize(frame, *self.size, self._interpolation) if resized else frame
