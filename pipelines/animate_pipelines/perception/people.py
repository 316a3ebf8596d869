"""Looks through the driving video: everybody in it, who is who, and the poses of the person to follow.

Two passes over the frames, sixteen at a time: first the detector's, over everybody, whose boxes are linked into people;
then the pose network's, on the person to follow, also behind others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from animate_pipelines.media.read_ahead import read_ahead
from animate_pipelines.perception.choice import choose_person, real_people
from animate_pipelines.perception.detector import squash
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import bridge
from animate_pipelines.perception.hidden import hidden_boxes, is_person, misread
from animate_pipelines.perception.keypoints import NUM_KEYPOINTS
from animate_pipelines.perception.onnx_batch import MAX_BATCH
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import (
    THREADS,
    Footage,
    Reading,
    Scan,
    joints_of,
    read_people,
    scan_people,
)
from animate_pipelines.perception.sightings import Sighting
from animate_pipelines.perception.smoothing import smooth_boxes
from animate_pipelines.perception.tracks import Track, link_tracks
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.person import Person
from animate_pipelines.request.size import Size

OnFrame = Callable[[int, int], None]


def find_people(
    readers: Readers, footage: Footage, *, person: Person, smoothing: bool, watch: Stopwatch, on_frame: OnFrame
) -> FoundPeople:
    """Find everybody in the footage, and the poses of `person`.

    watch: counts the seconds of "detect" and "pose".
    on_frame: called with (work done, work in all).
    Raises `NoPersonFound` for a `person` that is not there; without anybody at all, `found` is false everywhere.
    """

    def on_survey(done: int) -> None:
        on_frame(done, 2 * len(footage.frames))

    survey = scan_people(readers, footage, watch, on_survey, read_all=not smoothing)
    return follow_person(readers, footage, survey, person=person, smoothing=smoothing, watch=watch, on_frame=on_frame)


def follow_person(
    readers: Readers,
    footage: Footage,
    survey: Scan,
    *,
    person: Person,
    smoothing: bool,
    watch: Stopwatch,
    on_frame: OnFrame,
) -> FoundPeople:
    """Read the poses of `person`, as the second pass of `find_people`.

    survey: the first pass over the same footage.
    """
    frames, size, fps = footage.frames, footage.size, footage.fps
    tracks = link_tracks(survey.sightings, survey.cuts, fps)
    people = real_people(tracks, len(frames))
    chosen = choose_person(people, person, size, fps) if people else None
    known: dict[int, Reading] = {}
    if chosen is not None:
        boxes = {sighting.frame: sighting.box for sighting in people[chosen].sightings}
        if smoothing:
            boxes = smooth_boxes(boxes, survey.cuts, fps)
        others = _by_frame(s for track in tracks if track is not people[chosen] for s in track.sightings)
        hidden = hidden_boxes(people[chosen], others, survey.cuts, fps)
        read = {frame: reading for frame, box in boxes.items() if (reading := survey.reading(frame, box)) is not None}
        unread = {frame: box for frame, box in boxes.items() if frame not in read}

        def on_follow(done: int) -> None:
            on_frame(len(frames) + done, len(frames) + len(unread) + len(hidden))

        read |= _read(readers, footage, unread, watch, on_follow)
        known = {frame: reading for frame, reading in read.items() if reading.shows_body}
        for frame in misread({frame: reading.sighting for frame, reading in known.items()}, others, survey.cuts, fps):
            del known[frame]
        behind = _read(readers, footage, hidden, watch, lambda done: on_follow(len(unread) + done))
        known |= _of_followed(behind, people[chosen], known, size)
    poses, found = _poses(known, frames[-1] + 1)
    sharpness = np.zeros(len(poses), np.float32)
    sharpness[list(known)] = [reading.sharpness for reading in known.values()]
    numbered = [(number, s) for number, track in _numbered(tracks, people) for s in track.sightings]
    return FoundPeople(
        frames=np.array(frames),
        boxes=np.array([sighting.box for _, sighting in numbered]).reshape(-1, 5),
        box_frames=np.array([sighting.frame for _, sighting in numbered], int),
        box_people=np.array([number for number, _ in numbered], int),
        chosen=0 if chosen is None else chosen + 1,
        poses=poses,
        found=found,
        sharpness=sharpness,
        cuts=np.array(survey.cuts, int),
    )


def _read(
    readers: Readers, footage: Footage, boxes: dict[int, np.ndarray], watch: Stopwatch, on_frame: Callable[[int], None]
) -> dict[int, Reading]:
    """Read the person in `boxes`, by frame."""
    frames, readings = sorted(boxes), dict[int, Reading]()
    seen = zip(frames, footage.read(frames), strict=True)
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(seen, MAX_BATCH)) as batches:
        for batch in batches:
            shown = [(frame, picture, squash(picture)) for frame, picture in batch]
            with watch("pose"):
                read = read_people(readers, shown, [boxes[frame] for frame, _ in batch], footage.size, pool)
            readings.update({reading.sighting.frame: reading for reading in read})
            on_frame(len(readings))
    return readings


def _of_followed(
    readings: dict[int, Reading], followed: Track, known: dict[int, Reading], size: Size
) -> dict[int, Reading]:
    """Return the readings behind somebody else that show the person to follow."""
    if not known:
        return {}
    between = bridge(*_poses(known, followed.sightings[-1].frame + 1))
    return {
        frame: reading
        for frame, reading in readings.items()
        if is_person(reading.sighting, joints_of(between[frame], size), followed)
    }


def _by_frame(sightings: Iterable[Sighting]) -> dict[int, list[Sighting]]:
    found: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        found.setdefault(sighting.frame, []).append(sighting)
    return found


def _poses(known: dict[int, Reading], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return poses `m 133 3` of all source frames up to `length`, and whether each is known, `m`."""
    poses, found = np.zeros((length, NUM_KEYPOINTS, 3), np.float32), np.zeros(length, bool)
    for frame, reading in known.items():
        poses[frame], found[frame] = reading.pose, True
    return poses, found


def _numbered(tracks: Sequence[Track], people: Sequence[Track]) -> list[tuple[int, Track]]:
    numbers = {id(track): number for number, track in enumerate(people, start=1)}
    return [(numbers.get(id(track), 0), track) for track in tracks]
