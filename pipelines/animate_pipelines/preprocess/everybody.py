"""The first pass over the driving video: everybody in every frame, sixteen frames at a time.

Poses are read only where there are several boxes, or were a moment ago, to tell people apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import onnxruntime

from animate_pipelines.preprocess.cuts import find_cuts, thumbnail
from animate_pipelines.preprocess.detector import CERTAIN, certain_boxes, detect_people, squash
from animate_pipelines.preprocess.eyes import Eyes
from animate_pipelines.preprocess.keypoints import BODY
from animate_pipelines.preprocess.onnx_batch import MAX_BATCH
from animate_pipelines.preprocess.pose import crop_person, read_poses
from animate_pipelines.preprocess.read_ahead import read_ahead
from animate_pipelines.preprocess.sightings import Sighting, look_of, one_a_person
from animate_pipelines.stopwatch import Stopwatch

Size = tuple[int, int]
Read = Callable[[Sequence[int]], Iterator[np.ndarray]]
THREADS = min(os.cpu_count() or 1, 8)
_CROWD_S = 2.0  # for so long after several boxes were seen may somebody be behind the only one
BODY_SEEN = 0.3  # mean confidence of the joints, at least; a box in which there is less holds nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """What is looked at: the source frames `frames`, which `read` gives in the size (width, height) `size`.

    fps: of the source.
    """

    read: Read
    frames: Sequence[int]
    size: Size
    fps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everybody in every frame that was looked at, and the frames that begin a new scene."""

    sightings: list[list[Sighting]]
    cuts: list[int]


def survey_people(eyes: Eyes, footage: Footage, watch: Stopwatch, on_frame: Callable[[int], None]) -> Survey:
    """Detect everybody; where there are several people, read postures and leave one box a person.

    watch: counts the seconds of "detect" and "pose". on_frame: called with the number of frames looked at.
    """
    frames, size = footage.frames, footage.size
    sightings: list[list[Sighting]] = []
    thumbnails: list[np.ndarray] = []
    crowd_until = -1.0
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(footage.read(frames), MAX_BATCH)) as batches:
        for pictures in batches:
            with watch("detect"):
                squashed = list(pool.map(squash, pictures))
                found = list(map(certain_boxes, detect_people(eyes.detector, squashed, *size)))
            thumbnails += map(thumbnail, squashed)
            unsure = []
            for frame, boxes in zip(frames[len(sightings) :], found, strict=False):
                crowd_until = frame + _CROWD_S * footage.fps if len(boxes) > 1 else crowd_until
                unsure.append(frame <= crowd_until or bool((boxes[:, 4] < CERTAIN).any()))
            with watch("pose"):
                joints = _joints_where(unsure, eyes.pose, pictures, found, size, pool)
            for small, boxes, known in zip(squashed, found, joints, strict=True):
                frame = frames[len(sightings)]
                seen = [
                    Sighting(frame=frame, box=box, joints=points, look=look_of(small, box, points, size))
                    for box, points in zip(boxes, known, strict=True)
                    if points is None or points[:, 2].mean() >= BODY_SEEN
                ]
                sightings.append(one_a_person(seen))
            on_frame(len(sightings))
    return Survey(sightings=sightings, cuts=[frames[i] for i in find_cuts(thumbnails)])


def _joints_where(
    unsure: Sequence[bool],
    pose: onnxruntime.InferenceSession,
    pictures: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    size: Size,
    pool: ThreadPoolExecutor,
) -> list[list[np.ndarray | None]]:
    """For each box of each frame the joints `17 3` in pixels; None in frames that are not `unsure`."""
    joints: list[list[np.ndarray | None]] = [[None] * len(boxes) for boxes in found]
    wanted = [(i, j) for i, boxes in enumerate(found) for j in range(len(boxes)) if unsure[i]]
    if wanted:
        crops = list(pool.map(lambda at: crop_person(pictures[at[0]], found[at[0]][at[1]]), wanted))
        for (i, j), pose_points in zip(wanted, read_poses(pose, crops, size), strict=True):
            joints[i][j] = joints_of(pose_points, size)
    return joints


def joints_of(pose: np.ndarray, size: Size) -> np.ndarray:
    """Of a whole-body pose `133 3` in fractions of a frame of `size`: the joints `17 3` in pixels."""
    return np.asarray(pose[BODY] * [*size, 1])
