"""Holes in what was found: short ones are bridged, long ones end the job and say where they are."""

from __future__ import annotations

import numpy as np
import pytest

from animate_pipelines.errors import PersonLost
from animate_pipelines.perception.gaps import bridge, check_gaps, stretches_of
from animate_pipelines.perception.smoothing import smooth, smooth_boxes


def test_stretches_are_named_by_the_frames_themselves() -> None:
    frames = [0, 2, 4, 6, 8, 10]
    assert stretches_of(frames, np.array([1, 1, 0, 0, 1, 1], bool)) == [(0, 2), (8, 10)]
    assert stretches_of(frames, np.zeros(6, bool)) == []


def test_a_gap_is_bridged_in_a_straight_line_and_the_ends_stay() -> None:
    poses = np.zeros((8, 133, 3))
    poses[2], poses[6] = [0.2, 0.4, 0.9], [0.6, 0.8, 0.7]
    found = np.isin(np.arange(8), [2, 6])
    bridged = bridge(poses, found)
    np.testing.assert_allclose(bridged[:, 0, 0], [0.2, 0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6])
    np.testing.assert_allclose(bridged[:, 0, 2], [0.9, 0.9, 0.9, 0.7, 0.7, 0.7, 0.7, 0.7])


def test_a_hand_that_is_weak_on_one_side_stays_hidden_between() -> None:
    poses = np.full((5, 133, 3), 0.5)
    poses[0, 91:112, 2], poses[4, 91:112, 2] = 0.95, 0.2
    bridged = bridge(poses, np.array([True, False, False, False, True]))
    assert bridged[0, 91, 2] == 0.95
    assert (bridged[1:, 91:112, 2] == 0.2).all()


def test_what_was_found_is_not_touched() -> None:
    poses = np.random.default_rng(0).random((20, 133, 3))
    found = np.arange(20) % 3 != 1
    np.testing.assert_array_equal(bridge(poses, found)[found], poses[found])


def test_the_limit_is_the_longest_gap_that_is_bridged() -> None:
    check_gaps([(10, 19)], fps=20.0, max_gap_s=0.5)
    with pytest.raises(PersonLost, match=r"frames 40-60 \(1\.05 s\), 80-120 \(2\.05 s\); at most 0\.5 s") as caught:
        check_gaps([(10, 19), (40, 60), (80, 120)], fps=20.0, max_gap_s=0.5)
    assert caught.value.to_json() == {
        "code": "person_lost",
        "message": caught.value.message,
        "field": "driving_video",
        "value": [[40, 60], [80, 120]],
        "limit": 0.5,
    }


def test_smoothing_keeps_a_parabola_and_takes_out_most_of_the_noise() -> None:
    times = np.arange(60.0)
    path = np.stack([3 * times + 0.05 * times**2, 200 - times], axis=1)
    np.testing.assert_allclose(smooth(path, 30.0), path, atol=1e-8)
    noise = np.random.default_rng(1).normal(0, 2, path.shape)
    assert np.abs(smooth(path + noise, 30.0) - path).mean() < 0.7 * np.abs(noise).mean()


def test_boxes_are_not_smoothed_across_a_cut_or_a_gap() -> None:
    boxes = {frame: np.array([x, x, x + 50.0, x + 90.0, 0.9]) for frame, x in enumerate([10.0] * 20 + [300.0] * 20)}
    del boxes[30]
    steady = smooth_boxes(boxes, [20], 20.0)
    assert steady.keys() == boxes.keys()
    for frame, box in boxes.items():
        np.testing.assert_allclose(steady[frame], box, atol=1e-8)
