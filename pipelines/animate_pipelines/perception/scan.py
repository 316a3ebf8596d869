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
from animate_pipelines.perception.confidence import BODY_SEEN, BOX_CERTAIN
from animate_pipelines.perception.cuts import find_cuts, thumbnail
from animate_pipelines.perception.detector import certain_boxes, detect_people, squash
from animate_pipelines.perception.hands import hide_stray_fingers
from animate_pipelines.perception.keypoints import BODY
from animate_pipelines.perception.onnx_batch import MAX_BATCH
from animate_pipelines.perception.pose import crop_person, read_poses
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.sharpness import sharpness_of
from animate_pipelines.perception.sightings import Sighting, colours_of, one_a_person
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.size import Size

Read = Callable[[Sequence[int]], Iterator[np.ndarray]]
Shown = tuple[int, np.ndarray, np.ndarray]  # a frame's number, the frame, and the detector's picture of it
THREADS = min(os.cpu_count() or 1, 8)
_CROWD_S = 2.0  # for so long after several boxes were seen may somebody be behind the only one


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
    crowd_until = -1.0
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(footage.read(frames), MAX_BATCH)) as batches:
        for pictures in batches:
            with watch("detect"):
                squashed = list(pool.map(squash, pictures))
                found = list(map(certain_boxes, detect_people(readers.detector, squashed, *size)))
            thumbnails += map(thumbnail, squashed)
            at = frames[len(sightings) : len(sightings) + len(pictures)]
            unsure = []
            for frame, boxes in zip(at, found, strict=True):
                crowd_until = frame + _CROWD_S * footage.fps if len(boxes) > 1 else crowd_until
                unsure.append(frame <= crowd_until or bool((boxes[:, 4] < BOX_CERTAIN).any()))
            wanted = [(i, box) for i, boxes in enumerate(found) for box in boxes if read_all or unsure[i]]
            with watch("pose"):
                shown = [(at[i], pictures[i], squashed[i]) for i, _ in wanted]
                read = read_people(readers, shown, [box for _, box in wanted], size, pool)
            readings.update({_place(each.sighting.frame, each.sighting.box): each for each in read})
            for i, frame in enumerate(at):
                posture = [readings[_place(frame, box)] if unsure[i] else None for box in found[i]]
                seen = [
                    Sighting(frame=frame, box=box, colours=colours_of(squashed[i], box, None, size))
                    if reading is None
                    else reading.sighting
                    for box, reading in zip(found[i], posture, strict=True)
                    if reading is None or reading.shows_body
                ]
                sightings.append(one_a_person(seen))
            on_frame(len(sightings))
    return Scan(sightings=sightings, cuts=[frames[i] for i in find_cuts(thumbnails)], readings=readings)


def read_people(
    readers: Readers, shown: Sequence[Shown], boxes: Sequence[np.ndarray], size: Size, pool: ThreadPoolExecutor
) -> list[Reading]:
    """Read the person in each of `boxes` with the pose network.

    shown: the frame of each box.
    """
    if not boxes:
        return []
    crops = list(pool.map(lambda at: crop_person(at[0][1], at[1]), zip(shown, boxes, strict=True)))
    readings = []
    poses = read_poses(readers.pose, crops, size)
    for (frame, picture, squashed), box, pose in zip(shown, boxes, poses, strict=True):
        joints = joints_of(pose, size)
        sighting = Sighting(frame=frame, box=box, colours=colours_of(squashed, box, joints, size), joints=joints)
        readings.append(
            Reading(sighting=sighting, pose=hide_stray_fingers(pose, size), sharpness=sharpness_of(picture, box))
        )
    return readings


def joints_of(pose: np.ndarray, size: Size) -> np.ndarray:
    """Return the joints `17 3` in pixels of a whole-body pose `133 3` in fractions of a frame of `size`."""
    return np.asarray(pose[BODY] * [*size, 1])
