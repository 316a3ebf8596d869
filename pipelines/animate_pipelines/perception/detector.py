"""The person detector: `process_checkpoint/det/yolov10m.onnx`, or another of `detector_kinds`.

YOLOv10's input is `n 3 640 640` RGB in 0..1, squashed to the square, not letter-boxed; its output `n 300 6`: x1 y1 x2
y2 score class in 640-space. The published graph may fix n to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime

from animate_pipelines.perception.boxes import largest_box, person_boxes
from animate_pipelines.perception.detector_kinds import detect_rows
from animate_pipelines.perception.squash import squash


def detect_people(
    session: onnxruntime.InferenceSession, squashed: Sequence[np.ndarray], width: int, height: int
) -> list[np.ndarray]:
    """Return the people in each squashed frame, `n 5`; see `person_boxes`."""
    return [person_boxes(rows, width, height) for rows in detect_rows(session, squashed, (width, height))]


def detect_person(session: onnxruntime.InferenceSession, frame: np.ndarray) -> np.ndarray | None:
    """Return the largest person in an `h w 3` RGB frame as (x1, y1, x2, y2, score) in pixels.

    Returns None when there is nobody.
    """
    boxes = list_people(session, frame)
    largest = largest_box(boxes)
    return None if largest is None else boxes[largest]


def list_people(session: onnxruntime.InferenceSession, frame: np.ndarray) -> np.ndarray:
    """Return every box around a person in an `h w 3` RGB frame; see `person_boxes`."""
    (boxes,) = detect_people(session, [squash(frame)], frame.shape[1], frame.shape[0])
    return boxes
