"""The whole-body pose network: `process_checkpoint/pose2d/vitpose_h_wholebody.onnx/end2end.onnx`, or one of `simcc`.

Input `n 3 256 192`, output heatmaps `n 133 64 48`. The network is fed BGR with the mean and deviation of RGB: a slip in
the official code that the published results, and the model's training data, were made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import onnxruntime

from animate_pipelines.perception.keypoints import NUM_KEYPOINTS
from animate_pipelines.perception.onnx_batch import run_batched, run_each
from animate_pipelines.perception.simcc import decode_simcc, warp_person
from animate_pipelines.request.size import Size
from animate_weights.errors import BundleError

_INPUT_WIDTH, _INPUT_HEIGHT = 192, 256
_TALL = _INPUT_HEIGHT / _INPUT_WIDTH
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
_MIN_BOX_PX = 10
_BOX_GROWTH = 1.25
_UNIT_PX = 200.0  # crops are measured in units of 200 px, a habit of the COCO tools
_BLUR = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonCrop:
    """The input of the pose network for one person.

    pixels: `3 256 192`, normalised.
    centre: of the crop in the frame, px.
    scale: of the crop in the frame, in units of 200 px.
    """

    pixels: np.ndarray
    centre: np.ndarray
    scale: np.ndarray


def estimate_pose(session: onnxruntime.InferenceSession, frame: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Return the whole-body pose `133 3` (fractions of the frame) of the person in `box`.

    frame: `h w 3` RGB.
    box: (x1, y1, x2, y2, score) in pixels; None for the whole frame.
    """
    crop = crop_person(session, frame, box)
    (pose,) = read_poses(session, [crop], (frame.shape[1], frame.shape[0]))
    return pose


def crop_person(session: onnxruntime.InferenceSession, frame: np.ndarray, box: np.ndarray | None) -> PersonCrop:
    """Crop an RGB frame to the person in `box`, or take the whole frame, as input of the network."""
    centre, scale = crop_geometry(box, frame.shape[1], frame.shape[0])
    if pose_kind(session) == "SimCC":
        height, width = session.get_inputs()[0].shape[2:]
        pixels = warp_person(frame, centre, scale * _UNIT_PX, width, height)
    else:
        pixels = crop_input(frame[..., ::-1], centre, scale)
    return PersonCrop(pixels=pixels, centre=centre, scale=scale)


def pose_kind(session: onnxruntime.InferenceSession) -> Literal["heatmaps", "SimCC"]:
    """Return what a pose network answers. Raises `BundleError` where it is neither."""
    shapes = [tuple(output.shape) for output in session.get_outputs()]
    if len(shapes) == 1 and len(shapes[0]) == 4:
        return "heatmaps"
    if len(shapes) == 2 and all(len(shape) == 3 and shape[1] == NUM_KEYPOINTS for shape in shapes):
        return "SimCC"
    known = "known are heatmaps (ViTPose) and SimCC (RTMW, DWPose), of 133 points"
    raise BundleError(f"the pose network is of no known kind: it answers {shapes}; {known}", field="bundle")


def read_poses(session: onnxruntime.InferenceSession, crops: Sequence[PersonCrop], size: Size) -> list[np.ndarray]:
    """Return the whole-body poses `133 3` in crops, as fractions of the frame.

    size: (width, height) of the frames.
    """
    pixels = [crop.pixels for crop in crops]
    if pose_kind(session) == "SimCC":
        rows = [
            decode_simcc(across, down, crop.centre, crop.scale * _UNIT_PX)
            for (across, down), crop in zip(run_each(session, pixels), crops, strict=True)
        ]
    else:
        maps = run_batched(session, pixels)
        rows = [decode_heatmaps(each, crop.centre, crop.scale) for each, crop in zip(maps, crops, strict=True)]
    return [points / [*size, 1] for points in rows]


def crop_geometry(box: np.ndarray | None, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centre (px) and scale (200 px) of the crop around (x1, y1, x2, y2, score).

    The crop is 3:4, and a quarter larger than the box.
    """
    if box is None or box[4] <= 0 or box[2] - box[0] < _MIN_BOX_PX or box[3] - box[1] < _MIN_BOX_PX:
        box = np.array([0, 0, width, height, 1.0])
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    size = max((box[2] - box[0]) * _TALL, box[3] - box[1])
    return centre, np.array([size / _TALL, size]) / _UNIT_PX * _BOX_GROWTH


def crop_corners(centre: np.ndarray, scale: np.ndarray) -> tuple[int, int, int, int]:
    """Return (x1, y1, x2, y2) of a crop in whole pixels of the frame.

    A crop of whole pixels often ends at half a pixel, and there the last bit decides. So it is computed as the official
    code does: the corners of the network's input go through the inverse of the matrix that leads from the frame to it.
    """
    height = _UNIT_PX * max(scale)
    width = height / _TALL
    to_input = np.eye(3)
    for axis, (side_px, span) in enumerate(((_INPUT_WIDTH, width), (_INPUT_HEIGHT, height))):
        to_input[axis, axis] = side_px / span
        to_input[axis, 2] = side_px * (-centre[axis] / span + 0.5)
    corners = np.linalg.inv(to_input) @ np.array([[0.0, _INPUT_WIDTH], [0.0, _INPUT_HEIGHT], [1.0, 1.0]])
    (x1, x2), (y1, y2) = corners[:2]
    return round(x1), round(y1), round(x2), round(y2)


def crop_input(image: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the network's input `3 256 192`, channels in the image's order; zeros outside the image."""
    x1, y1, x2, y2 = crop_corners(centre, scale)
    canvas = np.zeros((y2 - y1, x2 - x1, 3), np.float32)
    height, width = image.shape[:2]
    top, bottom, left, right = max(y1, 0), min(y2, height), max(x1, 0), min(x2, width)
    canvas[top - y1 : bottom - y1, left - x1 : right - x1] = image[top:bottom, left:right]
    resized = cv2.resize(canvas, (_INPUT_WIDTH, _INPUT_HEIGHT))
    normalised = (resized / 255 - _MEAN) / _STD
    return normalised.transpose(2, 0, 1).astype(np.float32)


def decode_heatmaps(heatmaps: np.ndarray, centre: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return points `k 3` (x px, y px, confidence) from heatmaps `k h w`: the maximum, refined below a pixel (DARK).

    The refinement (Zhang et al., "Distribution-Aware Coordinate Representation", 2020) takes one Newton step on the log
    of the blurred map.
    """
    count, height, width = heatmaps.shape
    flat = heatmaps.reshape(count, -1)
    peaks, confidence = flat.argmax(axis=1), flat.max(axis=1)
    columns, rows = peaks % width, peaks // width
    points = np.stack([columns, rows], axis=1) + _refinements(_blur(heatmaps), columns, rows)
    points = points * scale * _UNIT_PX / [width, height] + centre - scale * _UNIT_PX / 2
    return np.concatenate([points, confidence[:, None]], axis=1)


def _blur(heatmaps: np.ndarray) -> np.ndarray:
    """Blur each heatmap, keeping its maximum.

    All in one call: laid below each other, as far apart as the kernel reaches.
    """
    border = (_BLUR - 1) // 2
    sheet = np.pad(heatmaps, ((0, 0), (border, border), (border, border)))
    blurred = cv2.GaussianBlur(sheet.reshape(-1, sheet.shape[2]), (_BLUR, _BLUR), 0).reshape(sheet.shape)
    inside = blurred[:, border:-border, border:-border]
    return inside * (heatmaps.max(axis=(1, 2)) / np.maximum(inside.max(axis=(1, 2)), 1e-12))[:, None, None]


def _refinements(heatmaps: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return steps `k 2` (x, y) from those pixels; 0 at the border, and where the map is flat."""
    count, height, width = heatmaps.shape
    inner = np.flatnonzero((columns > 1) & (columns < width - 2) & (rows > 1) & (rows < height - 2))

    def at(dx: int, dy: int) -> np.ndarray:
        values = heatmaps[inner, rows[inner] + dy, columns[inner] + dx]
        return np.asarray(np.log(np.maximum(values, 1e-10)), np.float64)

    gradient = np.stack([at(1, 0) - at(-1, 0), at(0, 1) - at(0, -1)], axis=1) / 2
    dxx = (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4
    dyy = (at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4
    dxy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    hessian = np.stack([dxx, dxy, dxy, dyy], axis=1).reshape(-1, 2, 2)
    curved = np.abs(np.linalg.det(hessian)) >= 1e-12
    steps = np.zeros((count, 2))
    steps[inner[curved]] = -np.linalg.solve(hessian[curved], gradient[curved][..., None])[..., 0]
    return steps
