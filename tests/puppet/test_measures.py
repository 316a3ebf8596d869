"""The measures: literals, and cheats that must not score."""

from __future__ import annotations

import numpy as np
import pytest

from animate_benchmarks.puppet import measures
from animate_benchmarks.puppet.rendering import MIN_WRIST_TRAVEL, held_out_case
from animate_benchmarks.puppet.shots import pictures
from animate_weights.puppet.performance import steer

SIZE = (96, 96)


def noise(shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, scale, shape)


def test_psnr_of_a_constant_error():
    truth = np.full((2, 8, 8, 3), 100, np.uint8)
    assert measures.psnr_db(truth + 10, truth) == pytest.approx(20 * np.log10(25.5), abs=1e-9)
    assert measures.psnr_db(truth, truth) == 99
    half = np.zeros((2, 8, 8), np.uint8)
    half[:, :4] = 1
    wrong = truth.copy()
    wrong[:, 4:] = 0
    assert measures.psnr_db(wrong, truth, half) == 99


def test_ssim_falls_with_noise_and_is_one_for_equal_pictures():
    truth = np.random.default_rng(1).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    assert measures.ssim(truth, truth) == pytest.approx(1)
    light, heavy = (np.clip(truth + noise(truth.shape, s), 0, 255).astype(np.uint8) for s in (10, 80))
    assert measures.ssim(heavy, truth) < measures.ssim(light, truth) < 1


def test_pck_counts_points_within_a_tenth_of_the_extent():
    true = np.zeros((1, 133, 3))
    true[0, :17, 0] = np.linspace(0, 100, 17)
    true[0, :17, 2] = 1
    read = true.copy()
    read[0, :8, 1] = 9.9
    read[0, 8:17, 1] = 10.1
    assert measures.pck(read, true) == pytest.approx(8 / 17)
    true[0, 8:16, 2] = 0
    assert measures.pck(read, true) == pytest.approx(8 / 9)


def test_balanced_accuracy_gives_a_constant_answer_half():
    positive = np.array([True] * 9 + [False])
    assert measures.balanced_accuracy(np.ones(10), positive) == 0.5
    assert measures.balanced_accuracy(positive.astype(float), positive) == 1.0
    unread = np.where(np.arange(10) == 9, np.nan, 1.0)
    with pytest.warns(RuntimeWarning):
        assert np.isnan(measures.balanced_accuracy(unread, positive))


def test_a_seam_is_an_error_that_jumps_not_a_movement_that_does():
    truth = np.random.default_rng(2).integers(60, 200, (34, 16, 16, 3)).astype(np.uint8)
    steady = np.clip(truth + noise(truth.shape, 5), 0, 255)
    assert measures.seam_ratio(steady, truth, [17]) == pytest.approx(1, abs=0.1)
    jumping = steady.copy()
    jumping[17:] += 30
    assert measures.seam_ratio(jumping, truth, [17]) > 2


def test_drift_is_the_slope_of_the_segments():
    truth = np.full((40, 16, 16, 3), 128, np.uint8)
    error = np.concatenate([noise((10, 16, 16, 3), 5 * 10 ** (n / 20)) for n in range(4)])
    bounds = [(10 * n, 10 * n + 10) for n in range(4)]
    assert measures.drift_db_per_segment(truth + error, truth, bounds) == pytest.approx(1.0, abs=0.02)
    assert measures.drift_db_per_segment(truth + noise(truth.shape, 5), truth, bounds) == pytest.approx(0, abs=0.05)


def test_held_out_pairs_move_and_the_still_reference_does_not_score():
    case = held_out_case(0, 17, SIZE, native=SIZE)
    wrists = np.stack([frame.keypoints[[9, 10], :2] for frame in case.truth])
    assert np.linalg.norm(np.ptp(wrists, axis=0), axis=-1).min() > MIN_WRIST_TRAVEL * SIZE[1] / np.sqrt(2)
    truth = pictures(case.truth)
    still = np.repeat(case.reference[None], len(truth), axis=0)
    boxes = measures.person_boxes(np.stack([frame.mask for frame in case.truth]))
    assert measures.psnr_db(still, truth, boxes) < 18
    assert measures.pck(np.repeat(case.truth[0].keypoints[None], 17, axis=0), _keypoints(case.truth)) < 1


def test_two_cases_differ_and_a_case_is_the_same_each_time():
    first, again, other = (held_out_case(index, 5, SIZE, native=SIZE) for index in (1, 1, 2))
    assert np.array_equal(first.driving, again.driving)
    assert np.array_equal(pictures(first.truth), pictures(again.truth))
    assert measures.pck(_keypoints(first.truth), _keypoints(other.truth)) < 0.5
    colours = measures.colour_errors(pictures(first.truth), pictures(other.truth), _keypoints(first.truth))
    assert np.mean(list(colours.values())) > 20
    same = measures.colour_errors(pictures(first.truth), pictures(first.truth), _keypoints(first.truth))
    assert max(same.values()) == 0


@pytest.mark.parametrize("word", ["smile", "close eyes", "raise both hands at the end"])
def test_the_steered_truth_is_recognised_and_the_plain_one_is_not(word: str):
    case = held_out_case(3, 17, SIZE, native=SIZE)
    poses = case.pair.shot.poses(17)
    plain = pictures(case.truth)
    steered = pictures(case.pair.answer(steer(poses, (word,)), SIZE, "animate"))
    seen = measures.nearer_share(np.clip(steered + noise(steered.shape, 5), 0, 255), steered, plain)
    unseen = measures.nearer_share(plain, steered, plain)
    assert np.nanmean(seen) == 1
    assert np.nanmean(unseen) == 0


def _keypoints(truth: list) -> np.ndarray:
    return np.stack([frame.keypoints for frame in truth])
