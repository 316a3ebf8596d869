"""Looks through the driving video: everybody in it, who is who, and the poses of the one to follow.

Two passes over the frames, sixteen at a time: the detector's (`everybody`), after which it is known who is who and how
long; then the pose network's, on that one person, also behind others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np

from animate_pipelines.person import Person
from animate_pipelines.preprocess.choice import choose_person, real_people
from animate_pipelines.preprocess.detector import squash
from animate_pipelines.preprocess.everybody import BODY_SEEN, THREADS, Footage, Size, Survey, joints_of, survey_people
from animate_pipelines.preprocess.eyes import Eyes
from animate_pipelines.preprocess.gaps import bridge
from animate_pipelines.preprocess.hands import hide_stray_fingers
from animate_pipelines.preprocess.hidden import hidden_boxes, is_person, misread
from animate_pipelines.preprocess.keypoints import BODY, NUM_KEYPOINTS
from animate_pipelines.preprocess.onnx_batch import MAX_BATCH
from animate_pipelines.preprocess.pose import PersonCrop, crop_person, read_poses
from animate_pipelines.preprocess.read_ahead import read_ahead
from animate_pipelines.preprocess.sightings import Sighting, look_of
from animate_pipelines.preprocess.smoothing import smooth_boxes
from animate_pipelines.preprocess.tracks import Track, link_tracks
from animate_pipelines.stopwatch import Stopwatch

OnFrame = Callable[[int, int], None]
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
class _Reading:
    """What the pose network reads of one person in one frame. pose: `133 3`, fractions of the frame."""

    sighting: Sighting
    pose: np.ndarray
    sharpness: float


def find_people(
    eyes: Eyes, footage: Footage, *, person: Person, smoothing: bool, watch: Stopwatch, on_frame: OnFrame
) -> FoundPeople:
    """Look through the footage for `person`.

    watch: counts the seconds of "detect" and "pose". on_frame: called with (work done, work in all). Raises
    `NoPersonFound` for a `person` that is not there; where there is nobody at all, `found` says so.
    """
    survey = survey_people(eyes, footage, watch, lambda done: on_frame(done, 2 * len(footage.frames)))
    return follow_person(eyes, footage, survey, person=person, smoothing=smoothing, watch=watch, on_frame=on_frame)


def follow_person(
    eyes: Eyes,
    footage: Footage,
    survey: Survey,
    *,
    person: Person,
    smoothing: bool,
    watch: Stopwatch,
    on_frame: OnFrame,
) -> FoundPeople:
    """The second pass of `find_people`, after a survey of the same footage."""
    frames, size, fps = footage.frames, footage.size, footage.fps
    tracks = link_tracks(survey.sightings, survey.cuts, fps)
    people = real_people(tracks, len(frames))
    chosen = choose_person(people, person, size, fps) if people else None
    known: dict[int, _Reading] = {}
    if chosen is not None:
        boxes = {sighting.frame: sighting.box for sighting in people[chosen].sightings}
        if smoothing:
            boxes = smooth_boxes(boxes, survey.cuts, fps)
        others = _by_frame(s for track in tracks if track is not people[chosen] for s in track.sightings)
        hidden = hidden_boxes(people[chosen], others, survey.cuts, fps)
        for done, reading in enumerate(_follow(eyes, footage, boxes, watch), start=1):
            if reading.pose[BODY, 2].mean() >= BODY_SEEN:
                known[reading.sighting.frame] = reading
            on_frame(len(frames) + done, len(frames) + len(boxes) + len(hidden))
        for frame in misread({frame: reading.sighting for frame, reading in known.items()}, others, survey.cuts, fps):
            del known[frame]
        known |= _read_hidden(_follow(eyes, footage, hidden, watch), people[chosen], known, size)
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


def _follow(eyes: Eyes, footage: Footage, boxes: dict[int, np.ndarray], watch: Stopwatch) -> Iterator[_Reading]:
    """What is read in `boxes`, by frame."""
    frames, size = sorted(boxes), footage.size
    seen = zip(frames, footage.read(frames), strict=True)
    with ThreadPoolExecutor(THREADS) as pool, closing(read_ahead(seen, MAX_BATCH)) as batches:
        for batch in batches:
            with watch("pose"):
                crops = list(pool.map(lambda item: crop_person(item[1], boxes[item[0]]), batch))
                poses = [hide_stray_fingers(pose, size) for pose in read_poses(eyes.pose, crops, size)]
            for (frame, picture), crop, pose in zip(batch, crops, poses, strict=True):
                joints = joints_of(pose, size)
                look = look_of(squash(picture), boxes[frame], joints, size)
                sighting = Sighting(frame=frame, box=boxes[frame], look=look, joints=joints)
                yield _Reading(sighting=sighting, pose=pose, sharpness=sharpness_of(crop))


def _read_hidden(
    readings: Iterable[_Reading], followed: Track, known: dict[int, _Reading], size: Size
) -> dict[int, _Reading]:
    """By frame, those of the readings behind somebody else that are of the one who is followed."""
    if not known:
        return {}
    found, between = {}, bridge(*_poses(known, followed.sightings[-1].frame + 1))
    for reading in readings:
        frame = reading.sighting.frame
        if is_person(reading.sighting, joints_of(between[frame], size), followed):
            found[frame] = reading
    return found


def _by_frame(sightings: Iterable[Sighting]) -> dict[int, list[Sighting]]:
    found: dict[int, list[Sighting]] = {}
    for sighting in sightings:
        found.setdefault(sighting.frame, []).append(sighting)
    return found


def _poses(known: dict[int, _Reading], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Poses `m 133 3` of all source frames up to `length`, and which of them (`m`) are known."""
    poses, found = np.zeros((length, NUM_KEYPOINTS, 3), np.float32), np.zeros(length, bool)
    for frame, reading in known.items():
        poses[frame], found[frame] = reading.pose, True
    return poses, found


def sharpness_of(crop: PersonCrop) -> float:
    """Variance of the Laplacian of a crop's brightness in 0..255, on one scale for people of all sizes."""
    return float(cv2.Laplacian(crop.pixels.mean(axis=0) * _BRIGHTNESS, cv2.CV_32F).var())


def _numbered(tracks: Sequence[Track], people: Sequence[Track]) -> list[tuple[int, Track]]:
    numbers = {id(track): number for number, track in enumerate(people, start=1)}
    return [(numbers.get(id(track), 0), track) for track in tracks]
