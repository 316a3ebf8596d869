"""Detectors and pose networks beside the published ones, as stand-ins: graphs with their inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from animate_pipelines.errors import BundleError
from animate_pipelines.loading.readers import load_detector, load_pose_network
from animate_pipelines.perception.detector import list_people
from animate_pipelines.perception.detector_kinds import detector_kind
from animate_pipelines.perception.pose import estimate_pose
from animate_weights.manifest import DETECTOR_FOLDER, POSE_FOLDER

FRAME = np.zeros((720, 1280, 3), np.uint8)
FRAME[:] = (200, 100, 50)
PERSON = [320, 180, 640, 540]  # in the frame; in a letter-boxed square of 640: 160 90 320 270
SCORE = 0.8

Outputs = dict[str, np.ndarray]


def yolov10() -> Outputs:
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, 0] = [160, 160, 320, 480, SCORE, 0]
    rows[0, 1] = [400, 160, 560, 480, 0.9, 16]  # a dog
    return {"output0": rows}


def yolox() -> Outputs:
    """Return the export's raw values: the middle (240, 180) lies in column 15 and row 11.25 of the grid of 16 px."""
    cells = np.zeros((1, 6400 + 1600 + 400, 85), np.float32)
    cells[0, 6400 + 11 * 40 + 15] = [0, 0.25, np.log(10), np.log(11.25), 0.9, *np.zeros(80)]
    cells[0, 6400 + 11 * 40 + 15, 5] = SCORE / 0.9
    return {"output": cells}


def yolox_suppressed() -> Outputs:
    return {
        "dets": np.array([[[160, 90, 320, 270, SCORE], [0, 0, 50, 50, 0.9]]], np.float32),
        "labels": np.array([[0, 16]], np.int64),
    }


def rt_detr() -> Outputs:
    logits = np.full((1, 300, 80), -9, np.float32)
    logits[0, 7, 0] = np.log(SCORE / (1 - SCORE))
    boxes = np.full((1, 300, 4), 0.5, np.float32)
    boxes[0, 7] = [0.375, 0.5, 0.25, 0.5]  # middle and sides, as fractions
    return {"logits": logits, "pred_boxes": boxes}


def rt_detr_sized() -> Outputs:
    return {
        "labels": np.array([[0, 16]], np.int64),
        "boxes": np.array([[[160, 160, 320, 480], [0, 0, 50, 50]]], np.float32),
        "scores": np.array([[SCORE, 0.9]], np.float32),
    }


KINDS: dict[str, tuple[Callable[[], Outputs], dict[str, list[int]]]] = {
    "YOLOv10": (yolov10, {"images": [1, 3, 640, 640]}),
    "YOLOX": (yolox, {"images": [1, 3, 640, 640]}),
    "YOLOX with suppression": (yolox_suppressed, {"input": [1, 3, 640, 640]}),
    "RT-DETR": (rt_detr, {"pixel_values": [1, 3, 640, 640]}),
    "RT-DETR with sizes": (rt_detr_sized, {"images": [1, 3, 640, 640], "orig_target_sizes": [1, 2]}),
}


def write_graph(path: Path, inputs: dict[str, list[int]], outputs: Outputs) -> None:
    """Write a graph that takes `inputs` and answers the same `outputs` whatever it sees."""
    types = {"orig_target_sizes": TensorProto.INT64}
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in outputs.items()
    ]
    takes = [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), s) for name, s in inputs.items()]
    gives = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in outputs.items()
    ]
    save(path, helper.make_graph(nodes, "stand-in", takes, gives))


def save(path: Path, graph: onnx.GraphProto) -> None:
    path.parent.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@pytest.fixture(params=KINDS)
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> onnxruntime.InferenceSession:
    outputs, inputs = KINDS[request.param]
    write_graph(tmp_path / DETECTOR_FOLDER / "other.onnx", inputs, outputs())
    return load_detector(tmp_path)


def test_every_kind_finds_the_person_in_pixels_of_the_frame(detector: onnxruntime.InferenceSession) -> None:
    people = list_people(detector, FRAME)
    assert people.shape == (1, 5)
    assert people[0, :4] == pytest.approx(PERSON, abs=1)  # whole pixels, cut
    assert people[0, 4] == pytest.approx(SCORE)


@pytest.mark.parametrize(
    ("kind", "top", "bottom"),
    [
        ("YOLOv10", [200 / 255, 100 / 255, 50 / 255], [200 / 255, 100 / 255, 50 / 255]),
        ("YOLOX", [50, 100, 200], [114, 114, 114]),
        ("YOLOX with suppression", [50, 100, 200], [114, 114, 114]),
        ("RT-DETR", [200 / 255, 100 / 255, 50 / 255], [200 / 255, 100 / 255, 50 / 255]),
    ],
)
def test_each_kind_sees_the_colours_and_borders_it_was_trained_on(
    kind: str, top: list[float], bottom: list[float], tmp_path: Path
) -> None:
    outputs, inputs = KINDS[kind]
    write_graph(tmp_path / DETECTOR_FOLDER / "other.onnx", inputs, outputs())
    squashed = np.full((640, 640, 3), (200, 100, 50), np.uint8)
    picture = detector_kind(load_detector(tmp_path)).prepare(squashed, (1280, 720), 640)
    assert picture.shape == (3, 640, 640)
    assert picture[:, 359, 639] == pytest.approx(top)
    assert picture[:, 360, 0] == pytest.approx(bottom)


def test_an_unknown_detector_is_refused_with_what_it_answers(tmp_path: Path) -> None:
    write_graph(
        tmp_path / DETECTOR_FOLDER / "ssd.onnx", {"x": [1, 3, 300, 300]}, {"heat": np.zeros((1, 7), np.float32)}
    )
    with pytest.raises(BundleError, match=r"no known kind: it answers heat \(1, 7\); known are YOLOv10, YOLOX and RT"):
        load_detector(tmp_path)


def test_of_two_files_none_is_guessed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        outputs, inputs = KINDS["YOLOX"]
        write_graph(tmp_path / DETECTOR_FOLDER / name / "end2end.onnx", inputs, outputs())
    with pytest.raises(BundleError, match=r"lacks yolov10m\.onnx"):
        list_people(load_detector(tmp_path), FRAME)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / DETECTOR_FOLDER / "yolov10m.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BundleError, match=r"process_checkpoint/det/yolov10m\.onnx cannot be read"):
        load_detector(tmp_path)


def write_simcc(path: Path) -> None:
    """Write a pose network that finds the reddest row and column, as every point: `n 133 384` and `n 133 512`."""
    float32 = TensorProto.FLOAT
    nodes = [helper.make_node("Gather", ["input", "red"], ["channel"], axis=1)]
    for output, axis in (("simcc_x", 2), ("simcc_y", 3)):
        nodes += [
            helper.make_node("ReduceMax", ["channel"], [f"{output}_max"], axes=[axis], keepdims=0),
            helper.make_node("Resize", [f"{output}_max", "", "twice"], [f"{output}_wide"], mode="nearest"),
            helper.make_node("Expand", [f"{output}_wide", f"{output}_shape"], [output]),
        ]
    constants = {
        "red": np.array([0]),
        "twice": np.array([1, 1, 2], np.float32),
        "simcc_x_shape": np.array([1, 133, 384]),
        "simcc_y_shape": np.array([1, 133, 512]),
    }
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("input", float32, ["n", 3, 256, 192])],
        [helper.make_tensor_value_info(f"simcc_{a}", float32, ["n", 133, s]) for a, s in (("x", 384), ("y", 512))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save(path, graph)


def test_rows_and_columns_lead_back_to_the_frame(tmp_path: Path) -> None:
    """A red spot at (310, 150) is found there, a blue one beside it is not: the network sees RGB."""
    write_simcc(tmp_path / POSE_FOLDER / "rtmw/end2end.onnx")
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[148:153, 308:313, 0] = 255
    frame[298:303, 288:293, 2] = 255
    pose = estimate_pose(load_pose_network(tmp_path), frame, np.array([220, 80, 400, 320, 0.9]))
    assert pose.shape == (133, 3)
    assert pose[:, 0] * 640 == pytest.approx(310, abs=2)
    assert pose[:, 1] * 480 == pytest.approx(150, abs=2)
    assert np.all(pose[:, 2] == 1)  # likelihoods above 1 are cut


def test_an_unknown_pose_network_is_refused(tmp_path: Path) -> None:
    body = {"simcc_x": np.zeros((1, 17, 384), np.float32), "simcc_y": np.zeros((1, 17, 512), np.float32)}
    write_graph(tmp_path / POSE_FOLDER / "body.onnx", {"input": [1, 3, 256, 192]}, body)
    with pytest.raises(BundleError, match=r"no known kind.*ViTPose.*of 133 points"):
        load_pose_network(tmp_path)
