"""Finds the person to follow behind somebody else, where the detector draws one box around both.

Where somebody stands in the way, the person's box is put between those before and after, and the pose network reads
its content. It may read the person in front: only a posture between those before and after, in the person's own
colours, is taken. A frame that stays hidden is bridged like any other gap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from animate_pipelines.perception.sightings import Sighting, colour_distance, posture_similarity, touching
from animate_pipelines.perception.tracks import SAME_COLOURS, Track

Others = Mapping[int, Sequence[Sighting]]  # by frame: everybody else in it
_LONGEST_S = 2.0  # between two sightings; for longer nobody walks as straight as that
_PATH_S, _OFF_PATH = 0.3, 0.2  # to either side; of the box's mean side
_TRUNK = [5, 6, 11, 12]
_LEAST_POSTURE = 0.2  # similarity to the posture put between


def hidden_boxes(followed: Track, others: Others, cuts: Collection[int], fps: float) -> dict[int, np.ndarray]:
    """Return, by frame, the boxes `5` in which the person should be while somebody is in the way.

    cuts: frames before which the scene changes.
    """
    boxes = {}
    for before, after in pairwise(followed.sightings):
        away = after.frame - before.frame
        if away > _LONGEST_S * fps or any(before.frame < cut <= after.frame for cut in cuts):
            continue
        for frame in range(before.frame + 1, after.frame):
            share = (frame - before.frame) / away
            box = (1 - share) * before.box + share * after.box
            if any(touching(box, other.box) for other in others.get(frame, ())):
                boxes[frame] = box
    return boxes


def is_person(reading: Sighting, between: np.ndarray, followed: Track) -> bool:
    """Return whether the person read in a hidden box is the one to follow.

    between: the joints `17 3` in pixels, interpolated between those read before and after.
    """
    posture = posture_similarity(replace(reading, joints=between), reading)
    alike = colour_distance(reading.colours, followed.colours) <= SAME_COLOURS
    return alike and posture is not None and posture >= _LEAST_POSTURE


def misread(readings: Mapping[int, Sighting], others: Others, cuts: Collection[int], fps: float) -> set[int]:
    """Return the frames in which somebody else is in the way and the trunk lies off the person's path.

    Such a reading is a mixture of the two people.

    readings: of the person, with joints, by frame.
    cuts: frames before which the scene changes.
    """
    frames = np.array(sorted(readings), int)
    scenes = np.searchsorted(sorted(cuts), frames, side="right")
    trunks = np.array([_trunk(readings[frame]) for frame in frames])
    frames_misread = set()
    for frame, scene, trunk in zip(frames.tolist(), scenes, trunks, strict=True):
        sighting = readings[frame]
        if any(touching(sighting.box, other.box) for other in others.get(frame, ())):
            neighbours = (np.abs(frames - frame) <= _PATH_S * fps) & (scenes == scene)
            if np.hypot(*(trunk - np.median(trunks[neighbours], axis=0))) > _OFF_PATH * np.sqrt(sighting.area):
                frames_misread.add(frame)
    return frames_misread


def _trunk(reading: Sighting) -> np.ndarray:
    assert reading.joints is not None
    return np.asarray(reading.joints[_TRUNK, :2].mean(axis=0))
