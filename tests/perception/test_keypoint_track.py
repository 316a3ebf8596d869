"""Keypoints that callers bring along: both forms give the pose they came from, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate_pipelines.errors import InvalidField
from animate_pipelines.perception.keypoint_track import read_track
from animate_weights.puppet import Character, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera

WIDTH, HEIGHT = 200, 100
# The order of OpenPose's outputs, by name (its documentation, "BODY_25" and "COCO").
BODY_25 = [
    "nose",
    "neck",
    "r_shoulder",
    "r_elbow",
    "r_wrist",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "mid_hip",
    "r_hip",
    "r_knee",
    "r_ankle",
    "l_hip",
    "l_knee",
    "l_ankle",
    "r_eye",
    "l_eye",
    "r_ear",
    "l_ear",
    "l_big_toe",
    "l_small_toe",
    "l_heel",
    "r_big_toe",
    "r_small_toe",
    "r_heel",
]
COCO_18 = [
    "nose",
    "neck",
    "r_shoulder",
    "r_elbow",
    "r_wrist",
    "l_shoulder",
    "l_elbow",
    "l_wrist",
    "r_hip",
    "r_knee",
    "r_ankle",
    "l_hip",
    "l_knee",
    "l_ankle",
    "r_eye",
    "l_eye",
    "r_ear",
    "l_ear",
]
WHOLE_BODY = [
    "nose",
    "l_eye",
    "r_eye",
    "l_ear",
    "r_ear",
    "l_shoulder",
    "r_shoulder",
    "l_elbow",
    "r_elbow",
    "l_wrist",
    "r_wrist",
    "l_hip",
    "r_hip",
    "l_knee",
    "r_knee",
    "l_ankle",
    "r_ankle",
    "l_big_toe",
    "l_small_toe",
    "l_heel",
    "r_big_toe",
    "r_small_toe",
    "r_heel",
]


@pytest.fixture(scope="module")
def pose() -> np.ndarray:
    """`133 3` in pixels."""
    rng = np.random.default_rng(4)
    camera = Camera.framing(0.8)
    frame = draw(Character.random(rng), Pose(yaw=0.3), (WIDTH, HEIGHT), camera=camera, backdrop=Backdrop.random(rng))
    return frame.keypoints.astype(float)


def write(folder: Path, frames: Any, **changes: Any) -> Path:
    path = folder / "track.json"
    track = {"format": "coco_wholebody", "width": WIDTH, "height": HEIGHT, "frames": frames}
    path.write_text(json.dumps(track | changes))
    return path


def openpose(pose: np.ndarray, names: list[str]) -> dict[str, Any]:
    points = dict(zip(WHOLE_BODY, pose, strict=False))
    body = [points.get(name, np.array([1.0, 2.0, 0.9])) for name in names]
    pupils = pose[[2, 1]]
    return {
        "people": [
            {
                "pose_keypoints_2d": np.concatenate(body).tolist(),
                "face_keypoints_2d": np.concatenate([pose[23:91], pupils]).flatten().tolist(),
                "hand_left_keypoints_2d": pose[91:112].flatten().tolist(),
                "hand_right_keypoints_2d": pose[112:133].flatten().tolist(),
            }
        ]
    }


def test_whole_body_frames_are_scaled_to_the_picture(pose: np.ndarray, tmp_path: Path) -> None:
    poses = read_track(write(tmp_path, [pose.tolist(), None, pose.flatten().tolist()]), 3)
    np.testing.assert_allclose(poses[0], pose / [WIDTH, HEIGHT, 1])
    np.testing.assert_array_equal(poses[2], poses[0])
    assert not poses[1].any()


def test_openpose_of_25_joints_gives_every_keypoint(pose: np.ndarray, tmp_path: Path) -> None:
    frames = [openpose(pose, BODY_25), {"people": []}]
    poses = read_track(write(tmp_path, frames, format="openpose"), 2)
    np.testing.assert_allclose(poses[0], pose / [WIDTH, HEIGHT, 1])
    assert not poses[1].any()


def test_openpose_of_18_joints_has_no_feet(pose: np.ndarray, tmp_path: Path) -> None:
    (read,) = read_track(write(tmp_path, [openpose(pose, COCO_18)], format="openpose"), 1)
    expected = pose / [WIDTH, HEIGHT, 1]
    np.testing.assert_allclose(read[:17], expected[:17])
    np.testing.assert_allclose(read[23:], expected[23:])
    assert not read[17:23].any()


def test_face_points_that_were_not_found_stay_inside_the_face(pose: np.ndarray, tmp_path: Path) -> None:
    frame = openpose(pose, BODY_25)
    frame["people"][0]["face_keypoints_2d"][:30] = [0.0] * 30
    (read,) = read_track(write(tmp_path, [frame], format="openpose"), 1)
    (left, top), (right, bottom) = pose[33:91, :2].min(axis=0), pose[33:91, :2].max(axis=0)
    assert (read[23:33, 0] * WIDTH >= left).all()
    assert (read[23:33, 0] * WIDTH <= right).all()
    assert (read[23:33, 1] * HEIGHT >= top).all()
    assert (read[23:33, 1] * HEIGHT <= bottom).all()
    assert not read[23:33, 2].any()


POINTS = np.full((133, 3), 0.5).tolist()


@pytest.mark.parametrize(
    ("frames", "changes", "said"),
    [
        ([POINTS], {}, "number of frames must be 2, one a frame of the driving video, not 1"),
        ([POINTS, POINTS[:132]], {}, r"frames\[1\] must be 133 triples"),
        ([POINTS, "x"], {}, r"frames\[1\] must be 133 triples"),
        (
            [POINTS, [*POINTS[:5], [0.5, 0.5, 3.0], *POINTS[6:]]],
            {},
            r"frames\[1\], keypoint 5, confidence must be 0 to 2",
        ),
        ([POINTS, [[1e9, 0.5, 1.0], *POINTS[1:]]], {}, r"frames\[1\], keypoint 0, x must be within 4 sides"),
        ([POINTS, [[float("nan"), 0.5, 1.0], *POINTS[1:]]], {}, "keypoint 0, x must be"),
        ([POINTS, POINTS], {"width": 0}, "width must be a number of pixels above 0"),
        ([POINTS, POINTS], {"format": "dwpose"}, "format must be one of coco_wholebody, openpose, not dwpose"),
        ({}, {}, "frames must be a list"),
        ([None, {"people": [{}, {}]}], {"format": "openpose"}, r"frames\[1\].people must be one person, not 2 people"),
        ([None, {"people": [{}]}], {"format": "openpose"}, r"pose_keypoints_2d must be 18 or 25 triples"),
    ],
)
def test_what_is_wrong_is_named(frames: Any, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=said) as caught:
        read_track(write(tmp_path, frames, **changes), 2)
    assert caught.value.field == "keypoints"


@pytest.mark.parametrize("text", ["[1, 2]", "no JSON", "[" * 100_000])
def test_what_is_no_object_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "track.json").write_text(text)
    with pytest.raises(InvalidField, match="the file must be"):
        read_track(tmp_path / "track.json", 2)
