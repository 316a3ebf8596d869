"""The driving video as the networks look at it, and the person in it who is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.resize import inner_box, padding_resize, resize_interpolation
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import check_gaps, stretches_of
from animate_pipelines.perception.given import people_given
from animate_pipelines.perception.people import find_people
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.params import DEFAULT_MAX_GAP_S, Mode, RenderParams
from animate_pipelines.request.person import Person, PersonAt, read_person
from animate_pipelines.request.size import Size


class DrivingFrames:
    """The frames the networks look at: native to animate, letter-boxed to the render size to replace."""

    def __init__(self, clip: Clip, mode: Mode, render_size: Size) -> None:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Who is followed in the driving video, and how; as in `RenderParams`.

    person: a point is in fractions of the frames looked at.
    """

    person: Person = "largest"
    max_gap_s: float = DEFAULT_MAX_GAP_S
    smoothing: bool = False

    @classmethod
    def of(cls, params: RenderParams, frames: DrivingFrames) -> Following:
        """Return what `params` ask for, in `frames`."""
        person = read_person(params.person)
        if isinstance(person, PersonAt):
            person = frames.place(person)
        return cls(person=person, max_gap_s=params.max_gap_s, smoothing=params.smoothing)


def find_driver(
    readers: Readers,
    frames: DrivingFrames,
    following: Following,
    track: np.ndarray | None,
    watch: Stopwatch,
    on_frame: Callable[[int, int], None],
) -> FoundPeople:
    """Return everybody in the driving video, and the poses of the one to follow: the one pass over all of it.

    track: the caller's own poses `m 133 3`, one a source frame, as fractions of the driving picture; None finds them.
    watch: counts the seconds of "detect" and "pose".
    on_frame: called with (work done, work in all).
    Raises `NoPersonFound` for a person who is not there.
    """
    if track is not None:
        return people_given(frames.place_poses(track), frames.needed, frames.read, frames.size)
    return find_people(
        readers,
        Footage(read=frames.read, frames=frames.needed, size=frames.size, fps=float(frames.clip.source_fps)),
        person=following.person,
        smoothing=following.smoothing,
        watch=watch,
        on_frame=on_frame,
    )


def check_followed(people: FoundPeople, frames: DrivingFrames, max_gap_s: float) -> None:
    """Raise `NoPersonFound` when no frame shows the person, `PersonLost` when one stretch without is too long."""
    needed = frames.needed
    missing = ~people.found[needed]
    if missing.all():
        raise NoPersonFound(
            f"no person was found in any of the {len(needed)} frames looked at", field="driving_video", value=0, limit=1
        )
    check_gaps(stretches_of(needed, missing), float(frames.clip.source_fps), max_gap_s)
