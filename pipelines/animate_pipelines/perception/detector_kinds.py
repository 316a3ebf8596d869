"""The person detectors that are known, each told by the inputs and outputs of its ONNX graph.

All are read as the rows of YOLOv10: (x1, y1, x2, y2, score, class) in the squashed picture of 640 pixels a side, of
COCO's classes, in which 0 is a person. Beside YOLOv10, which Wan's repository ships and which is AGPL-3.0, two families
are under Apache-2.0: YOLOX (Megvii; as its own export has it, or with mmdeploy's suppression inside) and RT-DETR (as
its own export or that of transformers has it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnxruntime

from animate_pipelines.perception.onnx_batch import run_each
from animate_pipelines.perception.squash import SIDE_PX
from animate_pipelines.request.size import Size
from animate_weights.errors import BundleError

_GREY = 114  # what YOLOX is trained to see beside a picture
_STRIDES = (8, 16, 32)
_COCO = 80

Outputs = Sequence[np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorKind:
    """How one kind of detector is asked and read.

    prepare: makes the network's input `3 s s` of a squashed picture, its frame's size and s.
    read: makes rows `k 6` of the outputs for one picture, the frame's size and s.
    more: inputs beside the pictures, of a batch of so many.
    """

    name: str
    prepare: Callable[[np.ndarray, Size, int], np.ndarray]
    read: Callable[[Outputs, Size, int], np.ndarray]
    more: Callable[[int], dict[str, np.ndarray]] = field(default=lambda count: {})


def detector_kind(session: onnxruntime.InferenceSession) -> DetectorKind:
    """Return the kind of a detector. Raises `BundleError` for a graph that is none of them."""
    outputs = {output.name: tuple(output.shape) for output in session.get_outputs()}
    widths = [shape[-1] for shape in outputs.values() if shape]  # a number, or the name of what varies
    if widths == [6]:
        return _YOLOV10
    if widths == [5 + _COCO]:
        return _YOLOX
    if set(outputs) == {"dets", "labels"}:
        return _YOLOX_SUPPRESSED
    if len(widths) == 2 and 4 in widths:
        return _RT_DETR
    if set(outputs) == {"labels", "boxes", "scores"}:
        return _RT_DETR_SIZED
    shown = ", ".join(f"{name} {shape}" for name, shape in outputs.items())
    raise BundleError(
        f"the person detector is of no known kind: it answers {shown}; known are YOLOv10, YOLOX and RT-DETR",
        field="bundle",
        value=shown,
    )


def detect_rows(
    session: onnxruntime.InferenceSession, squashed: Sequence[np.ndarray], size: Size
) -> Iterator[np.ndarray]:
    """Yield the rows `k 6` of each squashed picture, `640 640 3` RGB, of frames of that size."""
    kind, side = detector_kind(session), session.get_inputs()[0].shape[-1]
    side = side if isinstance(side, int) else SIDE_PX
    pictures = [kind.prepare(picture, size, side) for picture in squashed]
    for outputs in run_each(session, pictures, kind.more):
        yield kind.read(outputs, size, side)


def _scaled(squashed: np.ndarray, size: Size, side: int) -> np.ndarray:
    """RGB in 0..1, without regard to its aspect."""
    picture = squashed if side == SIDE_PX else cv2.resize(squashed, (side, side))
    return (picture.astype(np.float32) / 255).transpose(2, 0, 1)


def _boxed(squashed: np.ndarray, size: Size, side: int) -> np.ndarray:
    """BGR in 0..255 in its own aspect, at the left top of a grey square."""
    width, height = _inside(size, side)
    square = np.full((side, side, 3), _GREY, np.uint8)
    square[:height, :width] = cv2.resize(squashed, (width, height), interpolation=cv2.INTER_LINEAR)
    return square[..., ::-1].transpose(2, 0, 1).astype(np.float32)


def _inside(size: Size, side: int) -> Size:
    scale = side / max(size)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _unboxed(corners: np.ndarray, size: Size, side: int) -> np.ndarray:
    """Return corners `k 4` in the square of `_boxed` as corners in the squashed picture."""
    width, height = _inside(size, side)
    return corners * (SIDE_PX / np.array([width, height, width, height], np.float32))


def _read_yolov10(outputs: Outputs, size: Size, side: int) -> np.ndarray:
    return np.asarray(outputs[0])


def _read_yolox(outputs: Outputs, size: Size, side: int) -> np.ndarray:
    """Read `cells 85`: offsets in the cell and log sizes in strides, the object's score, and each class's."""
    cells, strides = _grid(side)
    (raw,) = outputs
    middles, sides = (raw[:, :2] + cells) * strides, np.exp(raw[:, 2:4]) * strides
    corners = np.concatenate([middles - sides / 2, middles + sides / 2], axis=1)
    scores = raw[:, 4:5] * raw[:, 5:]
    return _rows(_unboxed(corners, size, side), scores.max(axis=1), scores.argmax(axis=1))


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of every cell in its own grid, `cells 2`, and its stride, `cells 1`; the finest grid first."""
    cells, strides = [], []
    for stride in _STRIDES:
        rows, columns = np.mgrid[: side // stride, : side // stride]
        cells.append(np.stack([columns, rows], axis=-1).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _read_suppressed(outputs: Outputs, size: Size, side: int) -> np.ndarray:
    boxes, labels = sorted(outputs, key=np.ndim, reverse=True)
    return _rows(_unboxed(boxes[:, :4], size, side), boxes[:, 4], labels)


def _read_rt_detr(outputs: Outputs, size: Size, side: int) -> np.ndarray:
    """Read logits `k classes` and boxes `k 4`, middles and sides as fractions."""
    boxes, logits = sorted(outputs, key=lambda output: output.shape[-1])
    middles, halves = boxes[:, :2] * SIDE_PX, boxes[:, 2:] * SIDE_PX / 2
    scores = 1 / (1 + np.exp(-logits))
    corners = np.concatenate([middles - halves, middles + halves], axis=1)
    return _rows(corners, scores.max(axis=1), scores.argmax(axis=1))


def _read_rt_detr_sized(outputs: Outputs, size: Size, side: int) -> np.ndarray:
    labels, boxes, scores = outputs
    return _rows(boxes, scores, labels)


def _rows(corners: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.concatenate([corners, scores[:, None], classes[:, None]], axis=1).astype(np.float32)


def _sizes(count: int) -> dict[str, np.ndarray]:
    return {"orig_target_sizes": np.full((count, 2), SIDE_PX, np.int64)}


_YOLOV10 = DetectorKind(name="YOLOv10", prepare=_scaled, read=_read_yolov10)
_YOLOX = DetectorKind(name="YOLOX", prepare=_boxed, read=_read_yolox)
_YOLOX_SUPPRESSED = DetectorKind(name="YOLOX with suppression", prepare=_boxed, read=_read_suppressed)
_RT_DETR = DetectorKind(name="RT-DETR", prepare=_scaled, read=_read_rt_detr)
_RT_DETR_SIZED = DetectorKind(name="RT-DETR", prepare=_scaled, read=_read_rt_detr_sized, more=_sizes)
