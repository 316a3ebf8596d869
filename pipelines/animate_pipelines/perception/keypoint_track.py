"""Keypoints that a caller brings along, in place of ours: from motion capture, another estimator, or cleaned by hand.

One JSON object: `format`, `frames`, and `width` and `height` of the picture whose pixels the coordinates are.

    coco_wholebody     a frame is 133 triples (x, y, confidence), or those 399 numbers
    openpose           a frame is what OpenPose writes: `people` with `pose_keypoints_2d` (BODY_25, or 18 for COCO),
                       and, where there are any, `face_keypoints_2d` (70), `hand_left_keypoints_2d` and
                       `hand_right_keypoints_2d` (21)

A frame without the person is null, or has no people.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from animate_pipelines.errors import InvalidField
from animate_pipelines.perception.keypoints import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND

_FIELD = "keypoints"
_FORMATS = ("coco_wholebody", "openpose")
_MOST_BYTES = 64 * 1024**2
_MOST_CONFIDENCE = 2.0  # peaks of heatmaps reach a little over 1
_FARTHEST = 4.0  # sides of the picture: joints may lie outside, but not anywhere
# The whole-body row of each row of OpenPose's bodies; None where there is none (neck, middle of the hips).
_BODY_18: list[int | None] = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_BODY_25: list[int | None] = [0, None, 6, 8, 10, 5, 7, 9, None, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_BODY_25 += [17, 18, 19, 20, 21, 22]
_BODIES = {len(rows): rows for rows in (_BODY_18, _BODY_25)}


def read_track(path: Path, num_frames: int) -> np.ndarray:
    """Read poses `num_frames 133 3` (fractions of the picture); zero in frames without the person.

    Raises `InvalidField` on `keypoints`, with the frame, the value and the limit.
    """
    track = _read_object(path)
    if track.get("format") not in _FORMATS:
        raise _invalid("format", track.get("format"), f"one of {', '.join(_FORMATS)}")
    size = [_read_side(track, name) for name in ("width", "height")]
    frames = track.get("frames")
    if not isinstance(frames, list):
        raise _invalid("frames", type(frames).__name__, "a list")
    if len(frames) != num_frames:
        raise _invalid("the number of frames", len(frames), f"{num_frames}, one a frame of the driving video")
    read = _read_whole_body if track["format"] == "coco_wholebody" else _read_openpose
    poses = np.stack([read(frame, f"frames[{index}]") for index, frame in enumerate(frames)])
    poses[..., :2] /= size
    _check_ranges(poses)
    return poses


def _read_object(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_BYTES:
        raise _invalid("the file", f"{path.stat().st_size} bytes", f"at most {_MOST_BYTES}")
    try:
        track = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _invalid("the file", str(error), "JSON") from None
    if not isinstance(track, dict):
        raise _invalid("the file", type(track).__name__, "a JSON object")
    return track


def _read_side(track: dict[str, Any], name: str) -> float:
    value = track.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise _invalid(name, value, "a number of pixels above 0")
    return float(value)


def _read_whole_body(frame: Any, where: str) -> np.ndarray:
    return np.zeros((NUM_KEYPOINTS, 3)) if frame is None else _read_points(frame, (NUM_KEYPOINTS,), where)


def _read_openpose(frame: Any, where: str) -> np.ndarray:
    pose = np.zeros((NUM_KEYPOINTS, 3))
    people = [] if frame is None else frame.get("people") if isinstance(frame, dict) else None
    if not isinstance(people, list) or len(people) > 1 or not all(isinstance(person, dict) for person in people):
        raise _invalid(f"{where}.people", f"{len(people)} people" if isinstance(people, list) else people, "one person")
    for person in people:
        body = _read_points(person.get("pose_keypoints_2d"), tuple(_BODIES), f"{where}.pose_keypoints_2d")
        for row, point in zip(_BODIES[len(body)], body, strict=True):
            if row is not None:
                pose[row] = point
        for name, rows in (("hand_left", LEFT_HAND), ("hand_right", RIGHT_HAND), ("face", FACE)):
            if values := person.get(f"{name}_keypoints_2d"):
                length = 70 if name == "face" else 21
                pose[rows] = _read_points(values, (length,), f"{where}.{name}_keypoints_2d")[: rows.stop - rows.start]
    return _fill_face(pose)


def _fill_face(pose: np.ndarray) -> np.ndarray:
    """Move the face points that OpenPose did not find from (0, 0) into the face, for the sake of the face's box."""
    face = pose[FACE]
    visible = face[:, 2] > 0
    if visible.any():
        face[~visible, :2] = face[visible, :2].mean(axis=0)
    return pose


def _read_points(value: Any, lengths: Sequence[int], where: str) -> np.ndarray:
    """Return points `n 3`, with n one of `lengths`, from triples or from a flat list."""
    try:
        points = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    limit = f"{' or '.join(map(str, lengths))} triples (x, y, confidence)"
    if (
        points.size % 3
        or points.size // 3 not in lengths
        or points.shape not in ((points.size,), (points.size // 3, 3))
    ):
        raise _invalid(where, f"{list(points.shape)} numbers", limit)
    return points.reshape(-1, 3)


def _check_ranges(poses: np.ndarray) -> None:
    good = np.isfinite(poses)
    good[..., :2] &= (poses[..., :2] > -_FARTHEST) & (poses[..., :2] < _FARTHEST)
    good[..., 2] &= (poses[..., 2] >= 0) & (poses[..., 2] <= _MOST_CONFIDENCE)
    if good.all():
        return
    frame, row, column = np.argwhere(~good)[0].tolist()
    name = ("x", "y", "confidence")[column]
    limit = f"0 to {_MOST_CONFIDENCE:g}" if name == "confidence" else f"within {_FARTHEST:g} sides of the picture"
    raise _invalid(f"frames[{frame}], keypoint {row}, {name}", float(poses[frame, row, column]), limit)


def _invalid(what: str, value: object, limit: str) -> InvalidField:
    text = value if isinstance(value, int | float) and math.isfinite(value) else str(value)[:80]
    return InvalidField(f"{{field}}: {what} must be {limit}, not {text}", field=_FIELD, value=text, limit=limit)
