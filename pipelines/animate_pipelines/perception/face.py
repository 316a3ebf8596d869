"""The face box around the 68 face keypoints, and the square crop for the motion encoder."""

from __future__ import annotations

import math

import cv2
import numpy as np

from animate_pipelines.perception.keypoints import FACE

_AREA_SCALE = 1.3
FaceBox = tuple[int, int, int, int]  # x1, x2, y1, y2


def face_box(keypoints: np.ndarray, width: int, height: int) -> FaceBox:
    """Return the box (x1, x2, y1, y2) around the face, in pixels of a frame of that size.

    The box around the points grows to 1.3 times its area, more of it above the brows than below the chin.
    It is empty (x1 >= x2 or y1 >= y2) when the face is outside the frame.
    """
    points = keypoints[FACE, :2] * [width, height]
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    box_width, box_height = right - left, bottom - top
    grow = math.sqrt(_AREA_SCALE) - 1
    margin_x, margin_y = box_width * grow / 2, box_height * grow / 4
    return (
        int(max(left - margin_x, 0)),
        int(min(right + margin_x, width)),
        int(max(top - 3 * margin_y, 0)),
        int(min(bottom + margin_y, height)),
    )


def face_confidence(keypoints: np.ndarray) -> np.ndarray:
    """Return the mean confidence of the face points of poses `... 133 3`."""
    return np.asarray(keypoints[..., FACE, 2].mean(axis=-1))


def crop_face(frame: np.ndarray, box: FaceBox, size_px: int) -> np.ndarray | None:
    """Return the face of an `h w 3` frame, resized to `size_px size_px 3`, or None for an empty box.

    The aspect is not kept, as in training.
    """
    x1, x2, y1, y2 = box
    if x1 >= x2 or y1 >= y2:
        return None
    return cv2.resize(frame[y1:y2, x1:x2], (size_px, size_px))
