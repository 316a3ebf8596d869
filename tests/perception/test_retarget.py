"""Retargeting equals the official one on recorded values, and keeps its rules beyond them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from golden_weights import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

from animate_pipelines.families.wan_animate.retarget import NeutralPoses, Size, TargetBody, fit_proportions
from animate_pipelines.families.wan_animate.retarget import retarget as retarget_frame
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND, body_20
from animate_pipelines.perception.skeleton import LIMBS, Skeleton, draw_skeleton, skeleton_of

DRIVING, REFERENCE = (1280, 720), (704, 1280)


def retarget(
    poses: np.ndarray, size: Size, reference: np.ndarray, reference_size: Size, neutral: NeutralPoses | None = None
) -> list[Skeleton]:
    """A whole clip."""
    figure = TargetBody(pose=reference, size=reference_size, neutral=neutral)
    proportions = fit_proportions(poses[0], size, figure)
    return [retarget_frame(pose, size, proportions, first=index == 0) for index, pose in enumerate(poses)]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return load_file(GOLDEN / "preprocess.safetensors")


@pytest.fixture(scope="module")
def driving(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["kp133_px"] / [*DRIVING, 1]


@pytest.fixture(scope="module")
def reference(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return tensors["kp133_ref_px"] / [*REFERENCE, 1]


@pytest.fixture(scope="module")
def neutral(tensors: dict[str, np.ndarray]) -> NeutralPoses:
    return NeutralPoses(
        driver=tensors["kp133_srcedit_px"] / [*DRIVING, 1], reference=tensors["kp133_refedit_px"] / [*REFERENCE, 1]
    )


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
            np.testing.assert_allclose(hand[:, 2], tensors[f"retarget_{name}_p_{index}"], rtol=0, atol=1e-9)


def test_limbs_measured_in_neutral_pictures_are_the_official_ones(
    driving: np.ndarray, reference: np.ndarray, neutral: NeutralPoses, tensors: dict[str, np.ndarray]
) -> None:
    skeletons = retarget(driving, DRIVING, reference, REFERENCE, neutral)
    for index, skeleton in enumerate(skeletons):
        golden = tensors[f"retarget_flux_body_px_{index}"]
        np.testing.assert_allclose(skeleton.body[:, :2], golden, rtol=0, atol=1e-6)


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


Cut = Literal["full", "three_quarter", "half"]
_CUT = {"full": slice(0, 0), "three_quarter": slice(13, 23), "half": slice(11, 23)}  # rows of the 133 that are not seen
cuts = st.sampled_from(sorted(_CUT))
seeds = st.integers(0, 2**16)


def _someone(pose: np.ndarray, seed: int, cut: str, *, dropped: float = 0.0) -> np.ndarray:
    """The pose `133 3` with other joints and hands, some of them `dropped`, and what lies below `cut` out of sight."""
    rng = np.random.default_rng(seed)
    other = pose.copy()
    other[:, :2] = (pose[:, :2] + rng.normal(0, 0.02, (len(pose), 2))).clip(0.01, 0.99)
    if rng.random() < 0.5:
        other[LEFT_HAND], other[RIGHT_HAND] = other[RIGHT_HAND].copy(), other[LEFT_HAND].copy()
    other[rng.random(len(pose)) < dropped, 2] = 0.1
    other[_CUT[cut], 1] += 1.0
    other[_CUT[cut], 2] = 0.1
    return other


@settings(max_examples=40, deadline=None)
@given(seed=seeds, cut=cuts)
def test_hands_hang_on_their_wrists(seed: int, cut: str, driving: np.ndarray, reference: np.ndarray) -> None:
    """Where the right hand is the nearer one to the right wrist; else the lists change sides."""
    pose, target = _someone(driving[0], seed, cut), _someone(reference, seed + 1, "full")
    (skeleton,) = retarget(pose[None], DRIVING, target, REFERENCE)
    body, root = skeleton_of(pose, *DRIVING).body, pose[RIGHT_HAND.start, :2] * DRIVING
    right, left = (np.hypot(*(body[wrist, :2] - root)) for wrist in (4, 7))
    roots = np.stack([hand[0, :2] for hand in skeleton.hands])
    on_wrists = np.abs(roots - skeleton.body[[4, 7], :2]).max() < 1  # whole pixels
    assert on_wrists == (right <= left)


def _limbs(body: np.ndarray) -> np.ndarray:
    starts, ends = zip(*LIMBS, strict=True)
    return body[list(ends), :2] - body[list(starts), :2]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, cut=cuts, other_cut=cuts, neutral=st.booleans())
def test_limbs_keep_their_directions_and_what_is_out_of_sight_stays_so(
    seed: int, cut: str, other_cut: str, neutral: bool, driving: np.ndarray, reference: np.ndarray
) -> None:
    poses = np.stack([_someone(pose, seed + index, cut, dropped=0.2) for index, pose in enumerate(driving)])
    target = _someone(reference, seed + 10, other_cut, dropped=0.2)
    pair = NeutralPoses(driver=_someone(driving[0], seed + 11, cut), reference=target) if neutral else None
    for skeleton, pose in zip(retarget(poses, DRIVING, target, REFERENCE, pair), poses, strict=True):
        before, after = (_limbs(body) for body in (skeleton_of(pose, *DRIVING).body, skeleton.body))
        along = (before * after).sum(axis=1)
        np.testing.assert_allclose(along, np.hypot(*before.T) * np.hypot(*after.T), rtol=1e-6)
        np.testing.assert_array_equal(skeleton.body[:, 2], body_20(pose)[:, 2])
        assert np.isfinite(skeleton.body).all()
        assert np.isfinite(np.concatenate(skeleton.hands)).all()
        seen = [sorted(hand[hand[:, 2] > 0, 2].tolist()) for hand in skeleton.hands]
        given_hands = (pose[LEFT_HAND, 2], pose[RIGHT_HAND, 2])
        assert sorted(seen) == sorted(sorted(hand[hand >= 0.4].tolist()) for hand in given_hands)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, cut=cuts)
def test_the_first_frame_has_the_limbs_of_the_reference(
    seed: int, cut: str, driving: np.ndarray, reference: np.ndarray
) -> None:
    first, target = _someone(driving[0], seed, cut), _someone(reference, seed + 1, "full")
    (skeleton,) = retarget(first[None], DRIVING, target, REFERENCE)
    lengths, wanted = (np.hypot(*_limbs(body).T) for body in (skeleton.body, skeleton_of(target, *REFERENCE).body))
    longer = lengths / wanted
    # Of each pair the longer ratio counts for both: one side is the reference's, the other one at least that.
    np.testing.assert_allclose(longer[12], 1, rtol=0.02)  # neck to nose; whole pixels of the scaled picture
    for pair in ((0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11)):
        np.testing.assert_allclose(longer[list(pair)].min(), 1, rtol=0.02)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, cut=cuts)
def test_who_is_driven_by_herself_stays_as_she_is(seed: int, cut: str, driving: np.ndarray) -> None:
    poses = np.stack([_someone(driving[0], seed, cut)])
    (skeleton,) = retarget(poses, DRIVING, poses[0], DRIVING)
    body = skeleton_of(poses[0], *DRIVING).body
    moved = skeleton.body[:18, :2] - body[:18, :2]  # toes may be drawn in
    ground = max((body[10] + body[19])[1], (body[13] + body[18])[1]) / 2 - max(body[10, 1], body[13, 1])
    down = ground if cut == "full" else 0.0  # the official rule puts ankles on the middle of the reference's feet
    np.testing.assert_allclose(moved, np.tile([0.0, down], (18, 1)), atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, cut=cuts, larger=st.floats(0.5, 1.5), smaller=st.floats(0.5, 1.5))
def test_how_large_neutral_pictures_show_people_does_not_matter(
    seed: int, cut: str, larger: float, smaller: float, driving: np.ndarray, reference: np.ndarray
) -> None:
    first, target = _someone(driving[0], seed, cut), _someone(reference, seed + 1, cut)
    as_large = NeutralPoses(driver=first * [larger, larger, 1], reference=target * [smaller, smaller, 1])
    figure = TargetBody(pose=target, size=REFERENCE)
    plain = fit_proportions(first, DRIVING, figure)
    resized = fit_proportions(first, DRIVING, TargetBody(pose=target, size=REFERENCE, neutral=as_large))
    np.testing.assert_allclose(resized.ratios, plain.ratios, rtol=0.02)  # whole pixels of the scaled picture
