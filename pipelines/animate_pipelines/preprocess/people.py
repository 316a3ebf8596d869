"""Looks through the driving video: everybody in it, who is who, and the poses of the one to follow.

Two passes over the frames, sixteen at a time: the detector's, after which it is known who is who and how long; then the
pose network's, on that one person. In the first one poses are read only where there are several boxes, to tell people
apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import onnxruntime

from animate_pipelines.person import Person
from animate_pipelines.preprocess.choice import choose_person, real_people
from animate_pipelines.preprocess.cuts import find_cuts, thumbnail
from animate_pipelines.preprocess.detector import CERTAIN, certain_boxes, detect_people, squash
from animate_pipelines.preprocess.eyes import Eyes
from animate_pipelines.preprocess.keypoints import BODY, NUM_KEYPOINTS
from animate_pipelines.preprocess.onnx_batch import MAX_BATCH
from animate_pipelines.preprocess.pose import PersonCrop, crop_person, read_poses
from animate_pipelines.preprocess.read_ahead import read_ahead
from animate_pipelines.preprocess.sightings import Sighting, look_of, one_a_person
from animate_pipelines.preprocess.smoothing import smooth_boxes
from animate_pipelines.preprocess.tracks import Track, link_tracks
from animate_pipelines.stopwatch import Stopwatch

Size = tuple[int, int]
Read = Callable[[Sequence[int]], Iterator[np.ndarray]]
OnFrame = Callable[[int, int], None]
_THREADS = min(os.cpu_count() or 1, 8)
_BODY_SEEN = 0.3  # mean confidence of the joints, at least; a box in which there is less holds nobody
_BRIGHTNESS = 0.226 * 255  # undoes the pose network's normalisation, whose three deviations are nearly equal


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPeople:
    """All that the networks found in a driving video; nothing is mended yet.

    frames: `n` source frames that were looked at.
    boxes: `k 5` (x1, y1, x2, y2, score) in pixels of the frames; box_frames, box_people: `k`, in which frame and of
        whom, counted from 1 in order of appearance and from left to right; 0 for false alarms.
    chosen: the number of the person who is followed; 0 when there is nobody.
    poses: `m 133 3`, the chosen one's in every source frame, fractions of the frame; zero where `found` (`m`) is not.
    sharpness: `m`, of the chosen one's picture; see `sharpness_of`.
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
        return int(self.box_people.max(initial=0))

    @property
    def num_without(self) -> int:
        """Frames looked at in which the chosen one was not found."""
        return int((~self.found[self.frames]).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The first pass: everybody in every frame that was looked at, and the frames that begin a new scene."""

    sightings: list[list[Sighting]]
    cuts: list[int]


def find_people(
    eyes: Eyes,
    read: Read,
    frames: Sequence[int],
    *,
    size: Size,
    fps: float,
    person: Person,
    smoothing: bool,
    watch: Stopwatch,
    on_frame: OnFrame,
) -> FoundPeople:
    """Look at the source frames `frames`, which `read` gives in the size (width, height) `size`.

    fps: of the source. watch: counts the seconds of "detect" and "pose". on_frame: called with (work done, work in
    all). Raises `NoPersonFound` for a `person` that is not there; where there is nobody at all, `found` says so.
    """
    survey = survey_people(eyes, read, frames, size, watch, lambda done: on_frame(done, 2 * len(frames)))
    tracks = link_tracks(survey.sightings, survey.cuts, fps)
    people = real_people(tracks, len(frames))
    chosen = choose_person(people, person, size, fps) if people else None
    boxes = {sighting.frame: sighting.box for sighting in people[chosen].sightings} if chosen is not None else {}
    if smoothing:
        boxes = smooth_boxes(boxes, survey.cuts, fps)
    poses = np.zeros((frames[-1] + 1, NUM_KEYPOINTS, 3), np.float32)
    sharpness, found = np.zeros(len(poses), np.float32), np.zeros(len(poses), bool)
    for done, (frame, pose, sharp) in enumerate(_follow(eyes, read, boxes, size, watch), start=1):
        if pose[BODY, 2].mean() >= _BODY_SEEN:
            poses[frame], sharpness[frame], found[frame] = pose, sharp, True
        on_frame(len(frames) + done, len(frames) + len(boxes))
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


def survey_people(
    eyes: Eyes,
    read: Read,
    frames: Sequence[int],
    size: Size,
    watch: Stopwatch,
    on_frame: Callable[[int], None],
) -> Survey:
    """Detect everybody; where there are several boxes, read postures and leave one box a person."""
    sightings: list[list[Sighting]] = []
    thumbnails: list[np.ndarray] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for pictures in read_ahead(read(frames), MAX_BATCH):
            with watch("detect"):
                squashed = list(pool.map(squash, pictures))
                found = list(map(certain_boxes, detect_people(eyes.detector, squashed, *size)))
            thumbnails += map(thumbnail, squashed)
            with watch("pose"):
                joints = _joints_in_crowds(eyes.pose, pictures, found, size, pool)
            for small, boxes, known in zip(squashed, found, joints, strict=True):
                frame = frames[len(sightings)]
                seen = [
                    Sighting(frame=frame, box=box, joints=points, look=look_of(small, box, points, size))
                    for box, points in zip(boxes, known, strict=True)
                    if points is None or points[:, 2].mean() >= _BODY_SEEN
                ]
                sightings.append(one_a_person(seen))
            on_frame(len(sightings))
    return Survey(sightings=sightings, cuts=[frames[i] for i in find_cuts(thumbnails)])


def _joints_in_crowds(
    pose: onnxruntime.InferenceSession,
    pictures: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    size: Size,
    pool: ThreadPoolExecutor,
) -> list[list[np.ndarray | None]]:
    """For each box of each frame the joints `17 3` in pixels; None for a certain box that is the only one."""
    joints: list[list[np.ndarray | None]] = [[None] * len(boxes) for boxes in found]
    crowded = [
        (i, j) for i, boxes in enumerate(found) for j, box in enumerate(boxes) if len(boxes) > 1 or box[4] < CERTAIN
    ]
    if crowded:
        crops = list(pool.map(lambda at: crop_person(pictures[at[0]], found[at[0]][at[1]]), crowded))
        for (i, j), pose_points in zip(crowded, read_poses(pose, crops, size), strict=True):
            joints[i][j] = pose_points[BODY] * [*size, 1]
    return joints


def _follow(
    eyes: Eyes, read: Read, boxes: dict[int, np.ndarray], size: Size, watch: Stopwatch
) -> Iterator[tuple[int, np.ndarray, float]]:
    """Frame, pose and sharpness of the person in `boxes`, by frame."""
    frames = sorted(boxes)
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in read_ahead(zip(frames, read(frames), strict=True), MAX_BATCH):
            with watch("pose"):
                crops = list(pool.map(lambda item: crop_person(item[1], boxes[item[0]]), batch))
                poses = read_poses(eyes.pose, crops, size)
            yield from zip((frame for frame, _ in batch), poses, map(sharpness_of, crops), strict=True)


def sharpness_of(crop: PersonCrop) -> float:
    """Variance of the Laplacian of a crop's brightness in 0..255, on one scale for people of all sizes."""
    return float(cv2.Laplacian(crop.pixels.mean(axis=0) * _BRIGHTNESS, cv2.CV_32F).var())


def _numbered(tracks: Sequence[Track], people: Sequence[Track]) -> list[tuple[int, Track]]:
    numbers = {id(track): number for number, track in enumerate(people, start=1)}
    return [(numbers.get(id(track), 0), track) for track in tracks]
