"""Makes the detection report of a driving video."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise

import numpy as np

from animate_pipelines.perception.confidence import FACE_SEEN, HAND_SEEN
from animate_pipelines.perception.detection_report import DetectionReport, FrameSeen, PersonSeen
from animate_pipelines.perception.face import face_confidence
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import stretches_of
from animate_pipelines.perception.keypoints import BODY, FACE, LEFT_HAND, RIGHT_HAND
from animate_pipelines.perception.sightings import box_overlap
from animate_pipelines.request.size import Size

_BLUR_SHARE = 0.25  # of the clip's median sharpness
_JUMP_S, _SAME_PLACE = 0.5, 0.05  # a box that overlaps the one so short a time before by less is a jump


def report_people(people: FoundPeople, size: Size, fps: Fraction, masks: Mapping[int, bool] | None) -> DetectionReport:
    """Return the detection report of a driving video.

    size: (width, height) of the frames that the networks read.
    masks: whether each frame has a mask; None in animate mode.
    """
    frames, numbers = people.frames, people.frames.tolist()
    found = people.found[frames]
    poses = people.poses[frames]
    face = found & (face_confidence(poses) >= FACE_SEEN)
    hands = np.stack([poses[:, hand, 2].mean(axis=1) for hand in (LEFT_HAND, RIGHT_HAND)])
    sharpness = people.sharpness[frames]
    blurred = found & (sharpness < _BLUR_SHARE * np.median(sharpness[found])) if found.any() else found
    return DetectionReport(
        fps=f"{fps.numerator}/{fps.denominator}",
        num_frames=len(frames),
        chosen=people.chosen,
        people=tuple(people_seen(people, size)),
        missing_person=tuple(stretches_of(numbers, ~found)),
        missing_face=tuple(stretches_of(numbers, ~face)),
        missing_hands=tuple(stretches_of(numbers, ~(found & (hands >= HAND_SEEN).any(axis=0)))),
        missing_mask=None if masks is None else tuple(stretches_of(numbers, np.array([not masks[i] for i in numbers]))),
        blurred=tuple(stretches_of(numbers, blurred)),
        identity_jumps=tuple(_jumps(people, float(fps))),
        cuts=tuple(people.cuts.tolist()),
        frames=tuple(_frames_seen(people, masks)),
    )


def people_seen(people: FoundPeople, size: Size) -> Iterable[PersonSeen]:
    """Yield everybody in order of their numbers, without the false alarms.

    size: (width, height) of the frames that the networks read.
    """
    for number in range(1, people.num_people + 1):
        theirs = people.box_people == number
        frames, boxes = people.box_frames[theirs], people.boxes[theirs]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (size[0] * size[1])
        yield PersonSeen(
            number=number,
            first_frame=int(frames.min()),
            last_frame=int(frames.max()),
            num_frames=len(frames),
            area=round(float(areas.mean()), 4),
        )


def _jumps(people: FoundPeople, fps: float) -> Iterable[int]:
    theirs = people.box_people == people.chosen
    frames, boxes = people.box_frames[theirs], people.boxes[theirs]
    for (previous, frame), (box, next_box) in zip(pairwise(frames.tolist()), pairwise(boxes), strict=True):
        is_soon = (frame - previous) / fps <= _JUMP_S and not any(previous < cut <= frame for cut in people.cuts)
        if is_soon and box_overlap(box, next_box) < _SAME_PLACE:
            yield frame


def _frames_seen(people: FoundPeople, masks: Mapping[int, bool] | None) -> Iterable[FrameSeen]:
    counted = people.box_people > 0
    crowd = np.bincount(people.box_frames[counted], minlength=len(people.found))
    theirs = people.box_people == people.chosen
    scores = dict(zip(people.box_frames[theirs].tolist(), people.boxes[theirs, 4].tolist(), strict=True))
    for frame in people.frames.tolist():
        found, pose = bool(people.found[frame]), people.poses[frame]

        def mean(part: slice, pose: np.ndarray = pose, found: bool = found) -> float | None:
            return round(float(pose[part, 2].mean()), 3) if found else None

        yield FrameSeen(
            frame=frame,
            people=int(crowd[frame]),
            score=round(scores[frame], 3) if found and frame in scores else None,
            body=mean(BODY),
            face=mean(FACE),
            left_hand=mean(LEFT_HAND),
            right_hand=mean(RIGHT_HAND),
            sharpness=round(float(people.sharpness[frame]), 1) if found else None,
            mask=None if masks is None else masks[frame],
        )
