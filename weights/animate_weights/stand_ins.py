"""Detector and pose networks that were never trained, with the inputs and outputs of the real ones.

The detector finds one person, always at the same place, in any frame that is not of one flat colour: it needs contrast
both across and down the frame, which a letter-boxed flat frame does not have. The pose network stands that person up
and swings the arms and legs a little with the brightness of the picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Newer versions are refused by the onnxruntime releases that serve the real networks.
IR_VERSION, OPSET = 10, 17

_BOX = [160.0, 32.0, 480.0, 624.0, 0.9, 0.0]  # x1 y1 x2 y2 score class, in the detector's 640-space
_NUM_BOXES = 300
_MIN_CONTRAST = 0.1  # of 1.0
_MAP_WIDTH, _MAP_HEIGHT = 48, 64
_SIGMA_PX = 2.0

# x, y on the 48 x 64 heatmap: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; then the feet.
_BODY = [(24, 10), (25, 9), (23, 9), (27, 10), (21, 10), (30, 18), (18, 18), (33, 26), (15, 26), (34, 33), (14, 33)]
_BODY += [(28, 34), (20, 34), (28, 46), (20, 46), (28, 57), (20, 57)]
_FEET = [(30, 60), (31, 59), (28, 59), (18, 60), (17, 59), (20, 59)]
_FACE_CENTRE, _FACE_RADII = (24.0, 10.0), (4.0, 5.0)
_WRIST_ROWS = (9, 10)


def write_detector(path: Path) -> None:
    """Write the detector: `images` 1 3 640 640 -> `output0` 1 300 6."""
    boxes = np.zeros((1, _NUM_BOXES, 6), np.float32)
    boxes[0, 0] = _BOX
    nodes = [
        *_contrast("rows", axis=3),
        *_contrast("columns", axis=2),
        helper.make_node("Min", ["contrast_rows", "contrast_columns"], ["contrast"]),
        helper.make_node("Greater", ["contrast", "min_contrast"], ["anybody"]),
        helper.make_node("Cast", ["anybody"], ["presence"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["boxes", "presence"], ["output0"]),
    ]
    constants: dict[str, np.ndarray | np.float32] = {"boxes": boxes, "min_contrast": np.float32(_MIN_CONTRAST)}
    _save(path, "detector", nodes, constants, ("images", [1, 3, 640, 640]), ("output0", [1, _NUM_BOXES, 6]))


def _contrast(name: str, axis: int) -> list[onnx.NodeProto]:
    """Return the nodes of the largest difference within any line along `axis`, in one colour channel."""
    return [
        helper.make_node("ReduceMax", ["images"], [f"brightest_{name}"], axes=[axis]),
        helper.make_node("ReduceMin", ["images"], [f"darkest_{name}"], axes=[axis]),
        helper.make_node("Sub", [f"brightest_{name}", f"darkest_{name}"], [f"spread_{name}"]),
        helper.make_node("ReduceMax", [f"spread_{name}"], [f"contrast_{name}"], axes=[0, 1, 2, 3], keepdims=0),
    ]


def write_pose_network(path: Path) -> None:
    """Write the pose network: `input` n 3 256 192 -> `output` n 133 64 48."""
    rest, swing = _keypoints_at_rest(), _swing()
    columns, rows = np.arange(_MAP_WIDTH, dtype=np.float32), np.arange(_MAP_HEIGHT, dtype=np.float32)
    constants: dict[str, np.ndarray | np.float32] = {
        "rest_x": rest[:, 0].reshape(1, -1, 1, 1),
        "rest_y": rest[:, 1].reshape(1, -1, 1, 1),
        "swing_x": swing[:, 0].reshape(1, -1, 1, 1),
        "swing_y": swing[:, 1].reshape(1, -1, 1, 1),
        "columns": columns.reshape(1, 1, 1, -1),
        "rows": rows.reshape(1, 1, -1, 1),
        "sharpness": np.float32(-1 / (2 * _SIGMA_PX**2)),
        "confidence": np.float32(0.9),
    }
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["brightness"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Sin", ["brightness"], ["phase"]),
        *_distance("x", "columns"),
        *_distance("y", "rows"),
        helper.make_node("Add", ["square_x", "square_y"], ["square"]),
        helper.make_node("Mul", ["square", "sharpness"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["peak"]),
        helper.make_node("Mul", ["peak", "confidence"], ["output"]),
    ]
    output: list[int | str] = ["n", len(rest), _MAP_HEIGHT, _MAP_WIDTH]
    _save(path, "pose", nodes, constants, ("input", ["n", 3, 256, 192]), ("output", output))


def _distance(axis: str, grid: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Mul", ["phase", f"swing_{axis}"], [f"shift_{axis}"]),
        helper.make_node("Add", [f"rest_{axis}", f"shift_{axis}"], [f"centre_{axis}"]),
        helper.make_node("Sub", [grid, f"centre_{axis}"], [f"offset_{axis}"]),
        helper.make_node("Mul", [f"offset_{axis}", f"offset_{axis}"], [f"square_{axis}"]),
    ]


def _keypoints_at_rest() -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 68, endpoint=False)
    face = np.array(_FACE_CENTRE) + np.stack([np.sin(angles), np.cos(angles)], 1) * _FACE_RADII
    hands = [np.array(_BODY[row]) + _hand() for row in _WRIST_ROWS]
    return np.concatenate([_BODY, _FEET, face, *hands]).astype(np.float32)


def _hand() -> np.ndarray:
    """Return a root and five fingers of four joints, hanging down."""
    joints = [(0.0, 0.0)]
    for finger in range(5):
        joints += [((finger - 2) * 0.4, 0.8 + 0.5 * joint) for joint in range(4)]
    return np.array(joints)


def _swing() -> np.ndarray:
    """Return how far each keypoint moves at full swing, in heatmap pixels.

    Limbs move against each other, head and hips little.
    """
    swing = np.zeros((133, 2), np.float32)
    for row, distance in {7: 2.0, 9: 5.0, 13: 1.5, 15: 2.0}.items():
        swing[row], swing[row + 1] = (distance, -distance), (distance, distance)
    swing[17:20], swing[20:23] = swing[15], swing[16]
    swing[91:112], swing[112:133] = swing[9], swing[10]
    return swing


def _save(
    path: Path,
    name: str,
    nodes: list[onnx.NodeProto],
    constants: Mapping[str, np.ndarray | np.float32],
    source: tuple[str, Sequence[int | str]],
    result: tuple[str, Sequence[int | str]],
) -> None:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(source[0], TensorProto.FLOAT, source[1])],
        [helper.make_tensor_value_info(result[0], TensorProto.FLOAT, result[1])],
        [numpy_helper.from_array(np.asarray(value, np.float32), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
