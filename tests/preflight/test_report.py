"""What preflight makes of true poses: framing, distance, findings, score, refusal, and the re-framed reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from animate_pipelines.errors import PairRefused
from animate_pipelines.perception.framing import framing_of
from animate_pipelines.perception.observation import Observation, count_heads
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.pose_distance import pose_distance
from animate_pipelines.preflight.align import align_picture
from animate_pipelines.preflight.findings import Cutting
from animate_pipelines.preflight.report import check_pair, refuse_problems
from animate_pipelines.preflight.sampling import sampled_frames
from animate_pipelines.sheets.overlay import draw_overlay
from animate_weights.puppet import Character, Frame, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera

SIZE = (160, 160)
ONE_TAKE = Cutting(cuts_s=(), duration_s=3.0)
ARMS_UP = Pose(left_shoulder=2.8, right_shoulder=2.8, left_elbow=0.0, right_elbow=0.0)


def frame_of(pose: Pose = Pose(), *, zoom: float = 0.8, seed: int = 0, x: float = 0.5) -> Frame:  # noqa: B008
    rng = np.random.default_rng(seed)
    character, backdrop = Character.random(rng), Backdrop.random(rng)
    return draw(character, pose, SIZE, camera=Camera.framing(zoom, x=x), backdrop=backdrop)


def relative(frame: Frame) -> np.ndarray:
    return frame.keypoints / [*SIZE, 1]


def colours_of(frame: Frame) -> Observation:
    rows, columns = np.nonzero(frame.mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / SIZE[0]
    return Observation(pose=relative(frame), box=box, people=1, sharpness=200.0)


def seen_of(*frames: Frame, **changes: Any) -> Observations:
    looks = [replace(colours_of(frame), **changes) for frame in frames]
    return Observations.of(looks, [index / 10 for index in range(len(frames))], SIZE)


@pytest.mark.parametrize(
    ("zoom", "framing"), [(0.8, "full"), (1.03, "three_quarter"), (1.24, "half"), (1.8, "portrait")]
)
def test_framing_is_the_lowest_joint_in_the_picture(zoom: float, framing: str) -> None:
    assert framing_of(relative(frame_of(zoom=zoom))) == framing


def test_equal_poses_of_unequal_builds_and_pictures_are_near() -> None:
    near = pose_distance(relative(frame_of(seed=1)), relative(frame_of(seed=2, zoom=0.6)), aspect_a=1, aspect_b=1)
    far = pose_distance(relative(frame_of(seed=1)), relative(frame_of(ARMS_UP, seed=2)), aspect_a=1, aspect_b=1)
    assert near is not None
    assert far is not None
    assert near < 5
    # Upper arms turn by 2.6 rad, forearms by 2.4, whole arms by what is between; the other five parts of the body stay.
    assert far == pytest.approx(math.degrees(2.5) * math.sqrt(2 / 7), abs=1)


def test_the_aspect_of_the_picture_counts() -> None:
    wide = relative(frame_of()) * [0.5, 1, 1]  # the same person in a picture twice as wide
    same = pose_distance(relative(frame_of()), wide, aspect_a=1, aspect_b=2)
    squeezed = pose_distance(relative(frame_of()), wide, aspect_a=1, aspect_b=1)
    assert same == pytest.approx(0, abs=1e-4)
    assert squeezed is not None
    assert squeezed > 3


def test_no_distance_between_faces() -> None:
    portrait = relative(frame_of(zoom=1.8))
    assert pose_distance(portrait, portrait, aspect_a=1, aspect_b=1) is None


def test_a_good_pair_has_nothing_to_say() -> None:
    driver = [*[frame_of(seed=2)] * 3, frame_of(ARMS_UP, seed=2)]
    report = check_pair(seen_of(frame_of(seed=1)), seen_of(*driver), ONE_TAKE)
    assert (report.findings, report.score) == ((), 100)
    refuse_problems(report)
    assert report.to_json()["start_s"] == 0.0


def test_every_finding_names_side_and_fix() -> None:
    video = seen_of(frame_of(seed=2), frame_of(seed=2))
    cases: dict[str, tuple[Observations, Observations]] = {
        "framing": (seen_of(frame_of(zoom=1.7)), video),
        "pose": (seen_of(frame_of(ARMS_UP)), video),
        "several_people_in_image": (seen_of(frame_of(), people=2), video),
        "several_people_in_video": (seen_of(frame_of()), seen_of(frame_of(), frame_of(), people=3)),
        "no_face_in_image": (seen_of(frame_of(Pose(yaw=math.pi))), video),
        "no_face_in_video": (seen_of(frame_of()), seen_of(frame_of(Pose(yaw=math.pi)), frame_of(Pose(yaw=math.pi)))),
        "nobody_in_image": (Observations.of([None], [0.0], SIZE), video),
        "nobody_in_video": (seen_of(frame_of()), Observations.of([None, None], [0.0, 1.0], SIZE)),
        "hidden_in_image": (_without(seen_of(frame_of()), range(5, 11), range(91, 133)), video),
        "hidden_in_video": (seen_of(frame_of()), _without(video, range(13, 23))),
    }
    for code, (image, driving) in cases.items():
        report = check_pair(image, driving, ONE_TAKE)
        (found,) = [finding for finding in report.problems if finding.code == code]
        assert found.side in ("image", "video", "pair")
        assert found.fix
        assert report.score <= 65
        with pytest.raises(PairRefused) as refused:
            refuse_problems(report)
        assert code in [finding["code"] for finding in refused.value.to_json()["value"]]


def _without(seen: Observations, *rows: range) -> Observations:
    poses = seen.poses.copy()
    for each in rows:
        poses[:, list(each), 2] = 0.2
    return replace(seen, poses=poses)


def test_hints_are_not_problems() -> None:
    film = Cutting(cuts_s=(1.0, 2.5), duration_s=90.0)
    tiny = seen_of(frame_of(zoom=0.25), sharpness=3.0)
    report = check_pair(tiny, seen_of(frame_of(seed=2)), film)
    assert {finding.code for finding in report.findings} == {"blurred_image", "small_in_image", "cuts", "long"}
    assert report.problems == ()
    assert report.score == 100 - 4 * 7


def test_a_nearer_frame_is_offered_as_the_start() -> None:
    video = seen_of(*[frame_of(seed=2)] * 4, frame_of(ARMS_UP, seed=2))
    report = check_pair(seen_of(frame_of(ARMS_UP)), video, ONE_TAKE)
    assert report.to_json()["start_s"] == 0.4
    (finding,) = report.problems
    assert "0.40 s" in finding.fix


def test_heads_tell_people_apart_and_boxes_do_not() -> None:
    left, right = (frame_of(zoom=0.6, x=x).keypoints for x in (0.25, 0.75))
    again = left + np.array([3, 2, 0])
    assert count_heads([left, again]) == 1
    assert count_heads([left, right, again]) == 2
    assert count_heads([left * [1, 1, 0.4]]) == 1  # unsure, but somebody


@pytest.mark.parametrize(("zoom", "x"), [(0.6, 0.3), (1.0, 0.5)])
def test_an_aligned_reference_stands_where_the_driver_does(zoom: float, x: float) -> None:
    driver, hero = frame_of(zoom=zoom, x=x, seed=2), frame_of(zoom=0.8, seed=2)
    aligned = align_picture(hero.rgb, seen_of(hero), seen_of(driver), SIZE)
    assert aligned.shape == (160, 160, 3)
    person = (draw_like(hero, zoom=zoom, x=x).mask > 0) & (driver.mask > 0)
    assert np.abs(aligned.astype(int) - driver.rgb)[person].mean() < 12  # one character: the same picture again


def draw_like(frame: Frame, *, zoom: float, x: float) -> Frame:
    return frame_of(zoom=zoom, x=x, seed=2)


def test_the_start_is_looked_at_closely_and_the_rest_evenly() -> None:
    indices = sampled_frames(241, 24.0)
    assert indices[:4] == [0, 2, 4, 22]
    assert indices[-1] == 240
    assert len(indices) == 14
    assert sampled_frames(3, 24.0) == [0, 1, 2]


def test_the_overlay_shows_image_first_frame_and_nearest_one() -> None:
    image, driver = frame_of(ARMS_UP), frame_of(seed=2)
    report = check_pair(seen_of(image), seen_of(driver, driver, driver, driver, frame_of(ARMS_UP, seed=2)), ONE_TAKE)
    sheet = np.asarray(draw_overlay(report, image.rgb, [(0.0, driver.rgb), (0.4, image.rgb)]))
    assert sheet.shape[1] == 3 * 360 + 4 * 10
    right_arm = np.array([255, 120, 0])
    for panel in range(3):
        left = 10 + panel * 370
        drawn = sheet[26 : 26 + 360, left : left + 360]
        assert (np.abs(drawn.astype(int) - right_arm).sum(axis=2) < 10).sum() > 300
