"""Fingers that are read where no hand can be."""

from __future__ import annotations

import numpy as np
import pytest

from animate_pipelines.perception.hands import hide_stray_fingers
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND
from animate_weights.puppet import Character, Performance, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera

SIZE = (160, 90)
THUMB_TIP = LEFT_HAND.start + 4


@pytest.fixture
def pose() -> np.ndarray:
    """A left arm that hangs down, 20 px of forearm and 24 of upper arm, with a small hand."""
    pixels = np.zeros((133, 3))
    pixels[[5, 7, 9, 11], :] = [(80, 20, 0.9), (80, 44, 0.9), (80, 64, 0.9), (75, 60, 0.9)]
    pixels[LEFT_HAND] = [(80 + i % 4, 64 + i / 2, 0.8) for i in range(21)]
    return pixels / [*SIZE, 1]


def test_a_hand_stays(pose: np.ndarray) -> None:
    assert np.array_equal(hide_stray_fingers(pose, SIZE), pose)


def test_only_the_far_finger_is_hidden(pose: np.ndarray) -> None:
    pose[THUMB_TIP, :2] = np.array([112, 64]) / SIZE  # 32 px away, of 30 allowed
    given = pose.copy()
    kept = hide_stray_fingers(pose, SIZE)
    assert kept[THUMB_TIP, 2] == 0
    kept[THUMB_TIP, 2] = given[THUMB_TIP, 2]
    assert np.array_equal(kept, given)
    assert np.array_equal(pose, given)


def test_pixels_count_not_fractions_of_a_wide_frame(pose: np.ndarray) -> None:
    pose[THUMB_TIP, :2] = np.array([80 + 29, 64]) / SIZE
    assert np.array_equal(hide_stray_fingers(pose, SIZE), pose)


def test_an_arm_that_points_at_the_camera_is_measured_by_the_trunk(pose: np.ndarray) -> None:
    pose[[7, 9], :2] = np.array([(80, 21), (80, 22)]) / SIZE
    pose[11, :2] = np.array([80, 60]) / SIZE
    pose[LEFT_HAND, :2] = np.array([80, 44]) / SIZE  # 22 px, of 25 allowed
    assert np.array_equal(hide_stray_fingers(pose, SIZE), pose)
    pose[11, 2] = 0.1  # the hip is out of sight
    assert not hide_stray_fingers(pose, SIZE)[LEFT_HAND, 2].any()


@pytest.mark.parametrize("unseen", [[9], [5, 7, 11]])
def test_nothing_to_measure_by(pose: np.ndarray, unseen: list[int]) -> None:
    pose[THUMB_TIP, :2] = 1.0
    pose[unseen, 2] = 0.1
    assert np.array_equal(hide_stray_fingers(pose, SIZE), pose)


def test_no_true_hand_of_a_puppet_is_hidden() -> None:
    rng = np.random.default_rng(11)
    for _ in range(60):
        camera = Camera.random(rng)
        acted = Performance.random(rng, 0.5).pose_at(0.2)
        frame = draw(Character.random(rng), acted, (96, 96), camera=camera, backdrop=Backdrop.random(rng))
        pose = frame.keypoints / [96, 96, 1]
        kept = hide_stray_fingers(pose, (96, 96))
        for hand in (LEFT_HAND, RIGHT_HAND):
            assert np.array_equal(kept[hand], pose[hand])
