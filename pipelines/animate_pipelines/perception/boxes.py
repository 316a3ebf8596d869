"""Boxes around people: from a detector's rows, and which of several counts."""

from __future__ import annotations

import cv2
import numpy as np

from animate_pipelines.perception.confidence import BOX_CERTAIN, BOX_POSSIBLE
from animate_pipelines.perception.squash import SIDE_PX

_MAX_OVERLAP = 0.5
_PERSON = 0
_MIN_SIDE_RATIO = 0.4


def person_boxes(output: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the people in `k 6` rows of a detector (see `detector_kinds`), the most certain first.

    Boxes are `n 5` (x1, y1, x2, y2, score) in whole pixels.
    Overlaps are suppressed across classes, as in the official code.
    """
    boxes = output[:, :4] * np.array([width, height, width, height], np.float32) / SIDE_PX
    scores, classes = output[:, 4], output[:, 5].astype(int)
    kept = scores >= BOX_POSSIBLE
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    corners_and_sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(int)
    picked = cv2.dnn.NMSBoxes(corners_and_sides.tolist(), scores.tolist(), BOX_POSSIBLE, _MAX_OVERLAP)
    people = [i for i in np.array(picked, int).flatten() if classes[i] == _PERSON and scores[i] > BOX_POSSIBLE]
    corners, sides = corners_and_sides[people, :2], corners_and_sides[people, 2:]
    return np.concatenate([corners, corners + sides, scores[people, None]], axis=1, dtype=np.float64)


def certain_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return the certain ones of the boxes `n 5` of one frame, or all of them where none is certain."""
    certain = boxes[:, 4] >= BOX_CERTAIN
    return boxes[certain] if certain.any() else boxes


def largest_box(boxes: np.ndarray) -> int | None:
    """Return the index of the largest of `n 5` boxes by the official code's rule, or None without boxes.

    A box is passed over when its longer side is under 0.4 of the longest so far: a small box that is merely squat must
    not beat a tall person.
    """
    best: int | None = None
    best_area = longest = 0.0
    for i, (width, height) in enumerate(boxes[:, 2:4] - boxes[:, :2]):
        if max(width, height) >= longest * _MIN_SIDE_RATIO and width * height > best_area:
            best, best_area, longest = i, width * height, max(width, height)
    return best
