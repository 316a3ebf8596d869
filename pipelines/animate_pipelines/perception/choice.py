"""Chooses the person to follow among the people in a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.perception.confidence import BOX_CERTAIN
from animate_pipelines.perception.sightings import Sighting
from animate_pipelines.perception.tracks import Track
from animate_pipelines.request.person import Person, PersonAt
from animate_pipelines.request.size import Size

_SHORTEST = 0.02  # of all frames
_NEAR_S = 0.25  # this far from the point's time, in a frame in which somebody stands at the point


def real_people(tracks: Sequence[Track], num_frames: int) -> list[Track]:
    """Return the tracks that are people: long enough, and certain at least once.

    num_frames: the number of frames in all.
    Returns every track when none of them passes.
    """
    people = [
        track
        for track in tracks
        if len(track.sightings) >= _SHORTEST * num_frames and max(s.box[4] for s in track.sightings) > BOX_CERTAIN
    ]
    return people or list(tracks)


def choose_person(people: Sequence[Track], person: Person, size: Size, fps: float) -> int:
    """Return the index in `people` of the person to follow.

    person: "largest" takes the most area over the whole clip, "center" the nearest to the middle over the whole clip.
    size: (width, height) of the frames.
    Raises `NoPersonFound`.
    """
    if isinstance(person, PersonAt):
        return _at_point(people, person, size, fps)
    if isinstance(person, int):
        if person > len(people):
            raise NoPersonFound(
                f"there is no person {person}: {len(people)} are seen in the driving video",
                field="person",
                value=person,
                limit=len(people),
            )
        return person - 1
    weigh = _area if person == "largest" else _nearness
    return int(np.argmax([sum(weigh(sighting, size) for sighting in track.sightings) for track in people]))


def _area(sighting: Sighting, size: Size) -> float:
    return sighting.area


def _nearness(sighting: Sighting, size: Size) -> float:
    """Return 1 in the middle of the frame, falling to 0 in a corner."""
    return 1 - float(np.hypot(*(sighting.centre / size - 0.5))) / np.sqrt(0.5)


def _at_point(people: Sequence[Track], point: PersonAt, size: Size, fps: float) -> int:
    """Return the person whose box holds the point near its time, with the middle nearest to it.

    Somebody with less than half as many boxes there as another person is a stray box, not the person pointed at.
    """
    x, y = point.x * size[0], point.y * size[1]
    candidates = {
        index: [
            (abs(sighting.frame / fps - point.time_s), float(np.hypot(*(sighting.centre - [x, y]))))
            for sighting in track.sightings
            if sighting.box[0] <= x <= sighting.box[2] and sighting.box[1] <= y <= sighting.box[3]
            if abs(sighting.frame / fps - point.time_s) <= _NEAR_S
        ]
        for index, track in enumerate(people)
    }
    most = max(map(len, candidates.values()), default=0)
    nearest = min(
        (
            (*min(distances), index)
            for index, distances in candidates.items()
            if distances and 2 * len(distances) >= most
        ),
        default=None,
    )
    if nearest is None:
        where = f"{point.x:g},{point.y:g}@{point.time_s:g}"
        raise NoPersonFound(
            f"nobody is seen at {where} of the driving video; {len(people)} people are seen in it",
            field="person",
            value=where,
            limit=len(people),
        )
    return nearest[2]
