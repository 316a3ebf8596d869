"""The driving performance as the model reads it: keypoints, 1.6 KB a frame; pictures are drawn a segment at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from animate_pipelines.families.wan_animate.retarget import Proportions, TargetBody, fit_proportions
from animate_pipelines.media.clip import Clip
from animate_pipelines.perception.confidence import FACE_SEEN
from animate_pipelines.perception.face import face_box, face_confidence
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import bridge
from animate_pipelines.perception.keypoints import interpolate
from animate_pipelines.perception.smoothing import smooth_boxes
from animate_pipelines.request.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """The driving performance.

    keypoints: `n 133 3`, one pose an output frame; between source frames where the rate goes up and no picture is
        beside them.
    proportions: fit the driver's skeleton to the reference; None leaves it as it is.
    face_boxes: `m 4` (x1, x2, y1, y2) in pixels, one a source frame.
    face_frames: the source frame that lends each source frame its face: itself, or the nearest earlier one with a face
        (the first one with a face, before that); -1 where there never is one.
    """

    keypoints: np.ndarray
    face_boxes: np.ndarray
    face_frames: np.ndarray
    proportions: Proportions | None = None


def condition(
    people: FoundPeople,
    clip: Clip,
    size: Size,
    *,
    smoothing: bool,
    interpolating: bool = True,
    fit_to: TargetBody | None = None,
) -> Conditioning:
    """Return the conditions that `people` give the model, with gaps bridged.

    people: found in the frames of `clip`, resized to `size` (width, height).
    smoothing: steady the face boxes too.
    interpolating: put poses between source frames where the rate goes up; False for `replace`, where the skeleton must
        show the moment of the background beside it.
    fit_to: the body whose proportions the skeletons take; None leaves them as they are.
    """
    poses = bridge(people.poses, people.found)
    goes_up = clip.fps > clip.source_fps
    keypoints = interpolate(poses, clip.positions) if goes_up and interpolating else poses[clip.indices]
    boxes = _face_boxes(people, size, float(clip.source_fps), smoothing=smoothing)
    return Conditioning(
        keypoints=keypoints,
        face_boxes=boxes,
        face_frames=_frames_with_face(people, boxes),
        proportions=None if fit_to is None else fit_proportions(keypoints[0], size, fit_to),
    )


def _face_boxes(people: FoundPeople, size: Size, fps: float, *, smoothing: bool) -> np.ndarray:
    """Return face boxes `m 4`, see `face_box`; zero, and so empty, where the person is out of sight."""
    boxes = np.zeros((len(people.poses), 4), int)
    for index in np.flatnonzero(people.found).tolist():
        boxes[index] = face_box(people.poses[index], *size)
    if smoothing:
        boxes_by_frame = {int(index): boxes[index] for index in np.flatnonzero(people.found)}
        for number, box in smooth_boxes(boxes_by_frame, people.cuts.tolist(), fps).items():
            boxes[number] = np.round(box).clip(0, np.repeat(size, 2))
    return boxes


def _frames_with_face(people: FoundPeople, boxes: np.ndarray) -> np.ndarray:
    indices = np.arange(len(boxes))
    has_face = people.found & (face_confidence(people.poses) >= FACE_SEEN)
    has_face &= (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3])
    latest = np.maximum.accumulate(np.where(has_face, indices, -1))
    first = int(indices[has_face].min()) if has_face.any() else -1
    return np.where(latest >= 0, latest, first)
