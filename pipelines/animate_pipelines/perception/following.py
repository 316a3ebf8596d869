"""Finds everybody in the driving video in one pass, and the poses of the person to follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import check_gaps, stretches_of
from animate_pipelines.perception.given import people_given
from animate_pipelines.perception.people import find_people
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.params import DEFAULT_MAX_GAP_S, RenderParams
from animate_pipelines.request.person import Person, PersonAt, read_person


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """The person to follow in the driving video, and how; the fields are those of `RenderParams`.

    person: a point is in fractions of the frames that the networks read.
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
    """Return everybody in the driving video, and the poses of the person to follow, in one pass over it.

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
    """Raise `NoPersonFound` when no frame shows the person, `PersonLost` when one gap is too long."""
    needed = frames.needed
    missing = ~people.found[needed]
    if missing.all():
        raise NoPersonFound(
            f"no person was found in any of the {len(needed)} frames looked at", field="driving_video", value=0, limit=1
        )
    check_gaps(stretches_of(needed, missing), float(frames.clip.source_fps), max_gap_s)
