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
from animate_pipelines.perception.squash import squash
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

    def on_survey(num_frames: int) -> None:
        on_frame(num_frames, 2 * len(footage.frames))

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
    frames, fps = footage.frames, footage.fps
    tracks = link_tracks(survey.sightings, survey.cuts, fps)
    people = real_people(tracks, len(frames))
    chosen = choose_person(people, person, footage.size, fps) if people else None
    readings: dict[int, Reading] = {}
    if chosen is not None:
        others = [track for track in tracks if track is not people[chosen]]
        readings = _read_followed(
            readers, footage, survey, people[chosen], others, smoothing=smoothing, watch=watch, on_frame=on_frame
        )
    poses, found = _poses(readings, frames[-1] + 1)
    sharpness = np.zeros(len(poses), np.float32)
    sharpness[list(readings)] = [reading.sharpness for reading in readings.values()]
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


def _read_followed(
    readers: Readers,
    footage: Footage,
    survey: Scan,
    followed: Track,
    tracks: Iterable[Track],
    *,
    smoothing: bool,
    watch: Stopwatch,
    on_frame: OnFrame,
) -> dict[int, Reading]:
    """Read the person to follow in every frame that shows it, by frame.

    tracks: everybody else.
    """
    cuts, fps = survey.cuts, footage.fps
    boxes = {sighting.frame: sighting.box for sighting in followed.sightings}
    if smoothing:
        boxes = smooth_boxes(boxes, cuts, fps)
    others = _by_frame(sighting for track in tracks for sighting in track.sightings)
    hidden = hidden_boxes(followed, others, cuts, fps)
    readings = {frame: reading for frame, box in boxes.items() if (reading := survey.reading(frame, box)) is not None}
    unread = {frame: box for frame, box in boxes.items() if frame not in readings}
    num_frames = len(footage.frames)

    def on_follow(num_read: int) -> None:
        on_frame(num_frames + num_read, num_frames + len(unread) + len(hidden))

    readings |= _read(readers, footage, unread, watch, on_follow)
    readings = {frame: reading for frame, reading in readings.items() if reading.shows_body}
    for frame in misread({frame: reading.sighting for frame, reading in readings.items()}, others, cuts, fps):
        del readings[frame]
    behind = _read(readers, footage, hidden, watch, lambda num_read: on_follow(len(unread) + num_read))
    return readings | _of_followed(behind, followed, readings, footage.size)


def _read(
    readers: Readers, footage: Footage, boxes: dict[int, np.ndarray], watch: Stopwatch, on_frame: Callable[[int], None]
) -> dict[int, Reading]:
    """Read the person in `boxes`, by frame."""
    frames, readings = sorted(boxes), dict[int, Reading]()
    pictures = zip(frames, footage.read(frames), strict=True)
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(pictures, MAX_BATCH)) as batches:
        for batch in batches:
            views = [(frame, picture, squash(picture)) for frame, picture in batch]
            with watch("pose"):
                new = read_people(readers, views, [boxes[frame] for frame, _ in batch], footage.size, pool)
            readings.update({reading.sighting.frame: reading for reading in new})
            on_frame(len(readings))
    return readings


def _of_followed(
    behind: dict[int, Reading], followed: Track, readings: dict[int, Reading], size: Size
) -> dict[int, Reading]:
    """Return the readings behind somebody else that show the person to follow.

    readings: those of the person in plain view.
    """
    if not readings:
        return {}
    between = bridge(*_poses(readings, followed.sightings[-1].frame + 1))
    return {
        frame: reading
        for frame, reading in behind.items()
        if is_person(reading.sighting, joints_of(between[frame], size), followed)
    }


def _by_frame(sightings: Iterable[Sighting]) -> dict[int, list[Sighting]]:
    by_frame: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        by_frame.setdefault(sighting.frame, []).append(sighting)
    return by_frame


def _poses(readings: dict[int, Reading], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return poses `m 133 3` of all source frames up to `length`, and whether each is known, `m`."""
    poses, found = np.zeros((length, NUM_KEYPOINTS, 3), np.float32), np.zeros(length, bool)
    for frame, reading in readings.items():
        poses[frame], found[frame] = reading.pose, True
    return poses, found


def _numbered(tracks: Sequence[Track], people: Sequence[Track]) -> list[tuple[int, Track]]:
    numbers = {id(track): number for number, track in enumerate(people, start=1)}
    return [(numbers.get(id(track), 0), track) for track in tracks]
