"""Preprocessing equals the official one, on values recorded from it (provenance: tests/golden/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from animate_pipelines.errors import InvalidField
from animate_pipelines.media.resize import padding_resize, render_size
from animate_pipelines.perception.boxes import largest_box, person_boxes
from animate_pipelines.perception.face import crop_face, face_box
from animate_pipelines.perception.keypoints import FACE, body_20, interpolate
from animate_pipelines.perception.masks import KeypointBoxes, dilate, fill_grid
from animate_pipelines.perception.pose import crop_corners, crop_geometry, crop_input, decode_heatmaps
from animate_pipelines.perception.skeleton import Skeleton, draw_skeleton, skeleton_of

GOLDEN = Path(__file__).parents[1] / "golden"
DRIVING_SIZE = (1280, 720)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "preprocess.safetensors")


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return json.loads((GOLDEN / "preprocess.json").read_text())


@pytest.fixture(scope="module")
def poses(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["kp133_px"] / [*DRIVING_SIZE, 1]


def test_render_size_follows_the_official_rule(values: dict[str, Any]) -> None:
    table = values["resize_by_area_effective(w,h,area,divisor=16)->new_w,new_h"]
    assert [render_size(w, h, area) for w, h, area, _, _ in table] == [(w, h) for *_, w, h in table]


def test_render_size_refuses_an_area_that_leaves_nothing() -> None:
    with pytest.raises(InvalidField, match="100 px leaves nothing of a 1000x10 video") as caught:
        render_size(1000, 10, 100)
    assert caught.value.field == "render_area"


@pytest.mark.parametrize(
    ("size", "flag", "key"),
    [((96, 64), cv2.INTER_LINEAR, "padresize_64x96_linear"), ((24, 32), cv2.INTER_AREA, "padresize_96x64_area")],
)
def test_padding_resize(size: tuple[int, int], flag: int, key: str, tensors: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(padding_resize(tensors["padresize_in"], *size, flag), tensors[key])


def test_body_20(poses: np.ndarray, tensors: dict[str, np.ndarray]) -> None:
    for i, pose in enumerate(poses):
        np.testing.assert_allclose(body_20(pose), tensors[f"body20_norm_{i}"], rtol=0, atol=1e-12)


def test_face_points(poses: np.ndarray, tensors: dict[str, np.ndarray]) -> None:
    for i, pose in enumerate(poses):
        # The official code's first row is a heel, which it skips later.
        np.testing.assert_allclose(pose[FACE], tensors[f"face69_norm_{i}"][1:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1280, 720), (832, 480)])
@pytest.mark.parametrize("frame", [0, 1])
def test_skeleton_is_drawn_to_the_pixel(size: tuple[int, int], frame: int, poses: np.ndarray) -> None:
    drawn = draw_skeleton(skeleton_of(poses[frame], *size), *size)
    golden = np.asarray(Image.open(GOLDEN / f"pose_draw_{frame}_{size[0]}x{size[1]}.png"))
    np.testing.assert_array_equal(drawn, golden)


def test_face_box(poses: np.ndarray, values: dict[str, Any]) -> None:
    assert [face_box(pose, *DRIVING_SIZE) for pose in poses] == [tuple(b) for b in values["face_bbox_x1x2y1y2"]]


def test_a_face_outside_the_frame_gives_no_crop(poses: np.ndarray) -> None:
    outside = poses[0] + [2.0, 0.0, 0.0]
    assert crop_face(np.zeros((72, 128, 3), np.uint8), face_box(outside, 128, 72), 64) is None
    inside = crop_face(np.full((720, 1280, 3), 7, np.uint8), face_box(poses[0], 1280, 720), 64)
    assert inside is not None
    np.testing.assert_array_equal(inside, np.full((64, 64, 3), 7, np.uint8))


def test_detector_choice(tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    boxes = person_boxes(tensors["yolo_out"], *DRIVING_SIZE)
    chosen = largest_box(boxes)
    assert chosen is not None
    np.testing.assert_allclose(boxes[chosen], values["yolo_selected_bbox"], atol=1e-6)


def test_nobody_detected() -> None:
    assert largest_box(person_boxes(np.zeros((300, 6), np.float32), 640, 480)) is None


@pytest.mark.parametrize("case", ["in", "edge"])
def test_pose_crop(case: str, tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    golden = values[f"vitpose_{case}"]
    image = tensors["vitpose_img_asgiven"]
    centre, scale = crop_geometry(np.array(golden["bbox"]), image.shape[1], image.shape[0])
    assert centre.tolist() == golden["center"]
    assert scale.tolist() == golden["scale"]
    np.testing.assert_allclose(crop_input(image, centre, scale), tensors[f"vitpose_in_{case}"], atol=1e-6)


def test_heatmap_decoding(tensors: dict[str, np.ndarray], values: dict[str, Any]) -> None:
    centre, scale = np.array(values["heatmap_center"][0]), np.array(values["heatmap_scale"][0])
    points = decode_heatmaps(tensors["heatmap_in"][0], centre, scale)
    np.testing.assert_allclose(points[:, :2], tensors["heatmap_pts"][0], atol=1e-3)
    np.testing.assert_allclose(points[:, 2:], tensors["heatmap_prob"][0], atol=1e-7)


def test_heatmaps_do_not_bleed_into_their_neighbours() -> None:
    """Bright edges all around; a peak in the border, and a map of nothing, stay at whole pixels."""
    heatmaps = np.random.default_rng(5).random((6, 64, 48), np.float32)
    heatmaps[1:, [0, -1]] += 1
    heatmaps[2, 1, 20], heatmaps[3] = 9.0, 0.0
    centre, scale = np.array([24.0, 32.0]), np.array([0.24, 0.32])  # coordinates of the heatmap
    together = decode_heatmaps(heatmaps, centre, scale)
    alone = [decode_heatmaps(heatmap[None], centre, scale)[0] for heatmap in heatmaps]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together[[2, 3]], [[20, 1, 9], [0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize(("kernel", "iterations", "grids"), [(7, 3, [(1, 1), (4, 6)]), (5, 1, [(10, 20)])])
def test_mask_dilation_and_grid(
    kernel: int, iterations: int, grids: list[tuple[int, int]], tensors: dict[str, np.ndarray]
) -> None:
    dilated = dilate(tensors["mask_in"], kernel_px=kernel, iterations=iterations)
    np.testing.assert_array_equal(dilated, tensors[f"mask_dil_it{iterations}_k{kernel}"])
    for columns, rows in grids:
        golden = tensors[f"mask_aug_it{iterations}_k{kernel}_w{columns}_h{rows}"]
        np.testing.assert_array_equal(fill_grid(dilated, columns=columns, rows=rows), golden)


def test_an_empty_or_tiny_mask_is_no_error() -> None:
    empty = np.zeros((8, 8), np.uint8)
    np.testing.assert_array_equal(fill_grid(empty), empty)
    dot = empty.copy()
    dot[3, 3] = 1
    np.testing.assert_array_equal(fill_grid(dot, columns=4, rows=4), dot)


def test_keypoints_between_frames_are_linear() -> None:
    poses = np.zeros((3, 133, 3))
    poses[1], poses[2] = 1.0, 4.0
    between = interpolate(poses, np.array([0.0, 0.25, 1.5, 2.0]))
    assert between[:, 0, 0].tolist() == [0.0, 0.25, 2.5, 4.0]


def test_box_masks_hold_the_confident_keypoints_and_nothing_far() -> None:
    pose = np.zeros((1, 133, 3))
    pose[0, 0], pose[0, 1] = [0.4, 0.4, 0.9], [0.6, 0.6, 0.9]
    pose[0, 2] = [0.95, 0.95, 0.1]  # not confident: ignored
    (mask,) = KeypointBoxes().person_masks([np.zeros((100, 100, 3), np.uint8)], pose)
    ys, xs = np.nonzero(mask)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (38, 61, 38, 61)


def test_crops_of_whole_pixel_boxes_are_the_official_ones() -> None:
    """Of 400 boxes; rounding the ends of the crop would miss one in thirteen by a pixel."""
    rows = json.loads((GOLDEN / "pose_crops.json").read_text())["boxes_and_crops"]
    ours = [crop_corners(*crop_geometry(np.array([*row[:4], 1.0]), 1280, 720)) for row in rows]
    assert ours == [tuple(row[4:]) for row in rows]


@pytest.mark.parametrize("point", [(0.4, 20.0), (20.0, 0.9), (0.02, 0.5)])
def test_hand_points_in_the_first_row_or_column_are_not_drawn(point: tuple[float, float]) -> None:
    hand = np.zeros((21, 3))
    hand[:2] = [[*point, 1.0], [30.0, 30.0, 1.0]]
    empty = np.zeros((21, 3))
    canvas = draw_skeleton(Skeleton(body=np.zeros((20, 3)), hands=(hand, empty)), 64, 64)
    rows, columns = np.nonzero(canvas.any(axis=-1))
    assert (rows.min(), columns.min()) == (29, 29)  # only the other joint, a disc of one pixel around it
