"""`Observation`: the main person in a picture, and the number of people. Every detected box is read for a pose.

Detectors put several boxes around one person; heads tell people apart, and the surest pose of a head stands for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.perception.confidence import BODY_SEEN, OTHER_FACE, OTHER_NOSE, OTHER_SHOULDERS
from animate_pipelines.perception.detector import detect_person, list_people
from animate_pipelines.perception.keypoints import FACE
from animate_pipelines.perception.pose import estimate_pose
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.sharpness import sharpness_of

_BODY, _HEAD, _SHOULDERS = slice(0, 17), slice(0, 5), [5, 6]
_MOST_BOXES = 6
_APART = 0.7  # of the distance between the shoulders, from one head to another


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """The main person in a picture.

    pose: `133 3`, as fractions of the picture.
    box: (x1, y1, x2, y2), as fractions of the picture.
    people: the number of people, at least 1.
    sharpness: see `sharpness_of`.
    """

    pose: np.ndarray
    box: np.ndarray
    people: int
    sharpness: float


def observe(readers: Readers, picture: np.ndarray) -> Observation | None:
    """Return the main person in an `h w 3` RGB picture, or None when there is nobody."""
    height, width = picture.shape[:2]
    boxes = list_people(readers.detector, picture)[:_MOST_BOXES]
    if not len(boxes):
        return None
    poses = [estimate_pose(readers.pose, picture, box) for box in boxes]
    sure = [pose[_BODY, 2].mean() for pose in poses]
    chosen = int(np.argmax(sure))
    if sure[chosen] < BODY_SEEN:
        return None
    x1, y1, x2, y2 = np.clip(boxes[chosen, :4], 0, [width, height, width, height])
    return Observation(
        pose=poses[chosen],
        box=np.array([x1 / width, y1 / height, x2 / width, y2 / height]),
        people=count_heads([pose * [width, height, 1] for pose in poses]),
        sharpness=sharpness_of(picture, boxes[chosen]),
    )


def require_pose(readers: Readers, picture: np.ndarray, *, field: str) -> np.ndarray:
    """Return the pose `133 3` of the largest person in a picture `h w 3`.

    field: the field of the request that the picture came in.
    Raises `NoPersonFound`.
    """
    box = detect_person(readers.detector, picture)
    if box is None:
        raise NoPersonFound(
            "no person was found in {field}, whose pose is needed for what was asked", field=field, value=0, limit=1
        )
    return estimate_pose(readers.pose, picture, box)


def count_heads(poses: Sequence[np.ndarray]) -> int:
    """Return the number of different people among poses `133 3` in pixels, at least 1.

    poses: those of the surest boxes first.

    A box between two people is less sure than theirs, but its pose may be a mixture of two sure faces.
    """
    heads: list[tuple[np.ndarray, float]] = []
    for pose in poses:
        place = pose[_HEAD, :2].mean(axis=0)
        breadth = float(np.hypot(*(pose[5, :2] - pose[6, :2])))
        apart = all(np.hypot(*(place - other)) > _APART * max(breadth, wide) for other, wide in heads)
        if apart and _is_sure(pose):
            heads.append((place, breadth))
    return max(len(heads), 1)


def _is_sure(pose: np.ndarray) -> bool:
    confidence = pose[:, 2]
    return bool(
        confidence[FACE].mean() >= OTHER_FACE
        and confidence[0] >= OTHER_NOSE
        and confidence[_SHOULDERS].mean() >= OTHER_SHOULDERS
    )
