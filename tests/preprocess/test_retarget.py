"""Retargeting equals the official one on recorded values, and keeps its rules beyond them."""

from __future__ import annotations

import numpy as np
import pytest
from golden_weights import GOLDEN
from PIL import Image
from safetensors.numpy import load_file

from animate_pipelines.preprocess.keypoints import LEFT_HAND, RIGHT_HAND
from animate_pipelines.preprocess.retarget import Size, fit_proportions
from animate_pipelines.preprocess.retarget import retarget as retarget_frame
from animate_pipelines.preprocess.skeleton import Skeleton, draw_skeleton, skeleton_of

DRIVING, REFERENCE = (1280, 720), (704, 1280)


def retarget(poses: np.ndarray, size: Size, reference: np.ndarray, reference_size: Size) -> list[Skeleton]:
    """A whole clip."""
    proportions = fit_proportions(poses[0], size, reference, reference_size)
    return [retarget_frame(pose, size, proportions, first=index == 0) for index, pose in enumerate(poses)]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "preprocess.safetensors")


@pytest.fixture
def driving(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["kp133_px"] / [*DRIVING, 1]


@pytest.fixture
def reference(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["kp133_ref_px"] / [*REFERENCE, 1]


def test_skeletons_are_the_official_ones(
    driving: np.ndarray, reference: np.ndarray, tensors: dict[str, np.ndarray]
) -> None:
    skeletons = retarget(driving, DRIVING, reference, REFERENCE)
    for index, skeleton in enumerate(skeletons):
        np.testing.assert_allclose(skeleton.body[:, :2], tensors[f"retarget_body_px_{index}"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(skeleton.body[:, 2], tensors[f"retarget_body_p_{index}"], rtol=0, atol=1e-9)
        for hand, name in zip(skeleton.hands, ("lhand", "rhand"), strict=True):
            golden = tensors[f"retarget_{name}_px_{index}"]
            kept = golden[:, 0] > -1e8  # dropped points are recorded as -1e9
            np.testing.assert_array_equal(hand[:, 2] > 0, kept)
            np.testing.assert_array_equal(hand[kept, :2], golden[kept])


@pytest.mark.parametrize("frame", [0, 1])
def test_they_are_drawn_to_the_pixel(frame: int, driving: np.ndarray, reference: np.ndarray) -> None:
    drawn = draw_skeleton(retarget(driving, DRIVING, reference, REFERENCE)[frame], *REFERENCE)
    golden = np.asarray(Image.open(GOLDEN / f"retarget_draw_{frame}_704x1280.png"))
    np.testing.assert_array_equal(drawn, golden)


def _half_body(poses: np.ndarray) -> np.ndarray:
    cut = poses.copy()
    cut[..., 11:23, 2] = 0.1  # hips and below are not seen
    return cut


def test_a_half_body_driving_itself_is_unchanged(driving: np.ndarray) -> None:
    poses = _half_body(driving)
    for skeleton, pose in zip(retarget(poses, DRIVING, poses[0], DRIVING), poses, strict=True):
        upper = [0, 1, 2, 3, 4, 5, 6, 7, 14, 15, 16, 17]
        np.testing.assert_allclose(skeleton.body[upper], skeleton_of(pose, *DRIVING).body[upper], atol=1e-6)


def test_twice_the_arm_gives_twice_the_arm(driving: np.ndarray) -> None:
    poses = _half_body(driving)
    reference = poses[0].copy()
    elbow, wrist = 7, 9  # the left forearm
    reference[wrist, :2] += reference[wrist, :2] - reference[elbow, :2]

    def forearms(body: np.ndarray) -> np.ndarray:
        return np.array([np.hypot(*(body[7] - body[6])[:2]), np.hypot(*(body[4] - body[3])[:2])])

    grown = forearms(retarget(poses, DRIVING, reference, DRIVING)[1].body)
    before = forearms(skeleton_of(poses[1], *DRIVING).body)
    # the right one too: the longer of the two sides counts
    np.testing.assert_allclose(grown / before, [2.0, 2.0], rtol=1e-6)


def test_feet_are_at_most_half_a_calf(driving: np.ndarray, reference: np.ndarray) -> None:
    long_feet = reference.copy()
    long_feet[[17, 18, 20, 21], 1] += 0.3
    for skeleton in retarget(driving, DRIVING, long_feet, REFERENCE):
        for toe, ankle, knee in ((18, 13, 12), (19, 10, 9)):
            foot, calf = skeleton.body[toe] - skeleton.body[ankle], skeleton.body[ankle] - skeleton.body[knee]
            assert np.hypot(*foot[:2]) <= 0.5 * np.hypot(*calf[:2]) + 1e-6


def test_crossed_hands_are_given_to_the_nearer_wrists(driving: np.ndarray, reference: np.ndarray) -> None:
    straight = retarget(driving[:1], DRIVING, reference, REFERENCE)[0]
    swapped = driving[:1].copy()
    swapped[0, LEFT_HAND], swapped[0, RIGHT_HAND] = driving[0, RIGHT_HAND], driving[0, LEFT_HAND]
    crossed = retarget(swapped, DRIVING, reference, REFERENCE)[0]
    for hand, other in zip(straight.hands, crossed.hands, strict=True):
        # the same hand at the same wrist: only by which wrist's shift it was carried differs
        np.testing.assert_allclose(np.diff(hand[:, :2], axis=0), np.diff(other[:, :2], axis=0), atol=1.0)


def test_a_hand_without_a_root_follows_its_wrist(driving: np.ndarray, reference: np.ndarray) -> None:
    poses = driving[:1].copy()
    poses[0, RIGHT_HAND.start, 2] = 0.1
    (skeleton,) = retarget(poses, DRIVING, reference, REFERENCE)
    for hand in skeleton.hands:
        seen = hand[hand[:, 2] > 0, :2]
        wrists = skeleton.body[[4, 7], :2]
        assert np.isfinite(seen).all()
        assert np.hypot(*(seen[:, None] - wrists).transpose(2, 0, 1)).min(axis=1).max() < 0.25 * REFERENCE[1]
    assert sorted((hand[:, 2] > 0).sum() for hand in skeleton.hands) == [20, 21]
