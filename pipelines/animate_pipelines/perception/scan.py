"""The first pass over the driving video: everybody in every frame, sixteen frames at a time, and their readings.

Postures tell people apart where there are several boxes, or were a moment ago; one person alone is linked by its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from animate_pipelines.media.read_ahead import read_ahead
from animate_pipelines.perception.boxes import certain_boxes
from animate_pipelines.perception.confidence import BODY_SEEN, BOX_CERTAIN
from animate_pipelines.perception.cuts import find_cuts, thumbnail
from animate_pipelines.perception.detector import detect_people
from animate_pipelines.perception.hands import hide_stray_fingers
from animate_pipelines.perception.keypoints import BODY
from animate_pipelines.perception.onnx_batch import MAX_BATCH
from animate_pipelines.perception.pose import crop_person, read_poses
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.sharpness import sharpness_of
from animate_pipelines.perception.sightings import Sighting, colours_of, one_a_person
from animate_pipelines.perception.squash import squash
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.size import Size

Read = Callable[[Sequence[int]], Iterator[np.ndarray]]
View = tuple[int, np.ndarray, np.ndarray]  # a frame's number, the frame, and the detector's picture of it
THREADS = min(os.cpu_count() or 1, 8)
_CROWD_S = 2.0  # after several boxes, for which somebody may be behind the only one


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """The frames to look through.

    read: yields frames at `size`.
    frames: the source frames.
    size: (width, height).
    fps: of the source.
    """

    read: Read
    frames: Sequence[int]
    size: Size
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The pose network's reading of one person in one frame.

    sighting: with the joints, and the colours between them.
    pose: `133 3`, fractions of the frame.
    sharpness: see `sharpness_of`.
    """

    sighting: Sighting
    pose: np.ndarray
    sharpness: float

    @property
    def shows_body(self) -> bool:
        """Return whether the joints are certain enough for a body."""
        return float(self.pose[BODY, 2].mean()) >= BODY_SEEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Everybody in every frame of the footage.

    sightings: by frame, in the order of the footage.
    cuts: source frames that begin a new scene.
    readings: of the boxes that were read, by frame and box.
    """

    sightings: list[list[Sighting]]
    cuts: list[int]
    readings: dict[tuple[int, bytes], Reading]

    def reading(self, frame: int, box: np.ndarray) -> Reading | None:
        """Return the reading of that very box, or None where it was not read."""
        return self.readings.get(_place(frame, box))


def _place(frame: int, box: np.ndarray) -> tuple[int, bytes]:
    return frame, box.tobytes()


def scan_people(
    readers: Readers, footage: Footage, watch: Stopwatch, on_frame: Callable[[int], None], *, read_all: bool = True
) -> Scan:
    """Detect everybody, read them, and leave one box a person.

    watch: counts the seconds of "detect" and "pose".
    on_frame: called with the number of frames done.
    read_all: False reads only those whose posture must tell them apart.
    """
    frames, size = footage.frames, footage.size
    sightings: list[list[Sighting]] = []
    readings: dict[tuple[int, bytes], Reading] = {}
    thumbnails: list[np.ndarray] = []
    crowd = _Crowd(footage.fps)
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(footage.read(frames), MAX_BATCH)) as batches:
        for pictures in batches:
            with watch("detect"):
                squashed = list(pool.map(squash, pictures))
                boxes = list(map(certain_boxes, detect_people(readers.detector, squashed, *size)))
            thumbnails += map(thumbnail, squashed)
            numbers = frames[len(sightings) : len(sightings) + len(pictures)]
            views = list(zip(numbers, pictures, squashed, strict=True))
            unsure = list(map(crowd.is_unsure, numbers, boxes))
            pairs = [(i, box) for i in range(len(views)) for box in boxes[i] if read_all or unsure[i]]
            with watch("pose"):
                batch = read_people(readers, [views[i] for i, _ in pairs], [box for _, box in pairs], size, pool)
            readings.update({_place(reading.sighting.frame, reading.sighting.box): reading for reading in batch})
            for i, view in enumerate(views):
                postures = [readings[_place(view[0], box)] if unsure[i] else None for box in boxes[i]]
                sightings.append(_sightings_in(view, boxes[i], postures, size))
            on_frame(len(sightings))
    return Scan(sightings=sightings, cuts=[frames[i] for i in find_cuts(thumbnails)], readings=readings)


class _Crowd:
    """Tells, frame by frame, whether posture must tell people apart."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._until = -1.0

    def is_unsure(self, frame: int, boxes: np.ndarray) -> bool:
        """Return whether somebody may be behind somebody else, or a box of `k 5` is not certain."""
        if len(boxes) > 1:
            self._until = frame + _CROWD_S * self._fps
        return frame <= self._until or bool((boxes[:, 4] < BOX_CERTAIN).any())


def _sightings_in(view: View, boxes: np.ndarray, readings: Sequence[Reading | None], size: Size) -> list[Sighting]:
    """Return the people in one frame, one sighting each.

    boxes: `k 5`.
    readings: of the boxes; None takes a box by its place alone.
    """
    number, _, squashed = view
    sightings = [
        Sighting(frame=number, box=box, colours=colours_of(squashed, box, None, size))
        if reading is None
        else reading.sighting
        for box, reading in zip(boxes, readings, strict=True)
        if reading is None or reading.shows_body
    ]
    return one_a_person(sightings)


def read_people(
    readers: Readers, views: Sequence[View], boxes: Sequence[np.ndarray], size: Size, pool: ThreadPoolExecutor
) -> list[Reading]:
    """Read the person in each of `boxes` with the pose network.

    views: the frame of each box.
    """
    if not boxes:
        return []
    crops = list(pool.map(lambda view, box: crop_person(readers.pose, view[1], box), views, boxes))
    readings = []
    poses = read_poses(readers.pose, crops, size)
    for (frame, picture, squashed), box, pose in zip(views, boxes, poses, strict=True):
        joints = joints_of(pose, size)
        sighting = Sighting(frame=frame, box=box, colours=colours_of(squashed, box, joints, size), joints=joints)
        readings.append(
            Reading(sighting=sighting, pose=hide_stray_fingers(pose, size), sharpness=sharpness_of(picture, box))
        )
    return readings


def joints_of(pose: np.ndarray, size: Size) -> np.ndarray:
    """Return the joints `17 3` in pixels of a whole-body pose `133 3` in fractions of a frame of `size`."""
    return np.asarray(pose[BODY] * [*size, 1])
