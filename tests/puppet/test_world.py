"""The drawn world: its truth is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from animate_weights.puppet import Character, Frame, Performance, Pose, demo_pair, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.performance import steer
from animate_weights.puppet.scene import Scene, draw_scene

SIZE = (120, 96)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST = 5, 6, 9, 10


def frame_of(seed: int, pose: Pose, size: tuple[int, int] = SIZE, zoom: float = 0.8) -> Frame:
    rng = np.random.default_rng(seed)
    character, backdrop = Character.random(rng), Backdrop.random(rng)
    return draw(character, pose, size, camera=Camera.framing(zoom), backdrop=backdrop)


def test_a_seed_draws_the_same_picture_twice_and_another_seed_another():
    first, again, other = (frame_of(seed, Pose()) for seed in (1, 1, 2))
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.keypoints, again.keypoints)
    assert np.abs(first.rgb.astype(int) - other.rgb).mean() > 10


def test_the_mask_is_where_the_picture_differs_from_the_empty_backdrop():
    rng = np.random.default_rng(3)
    character, backdrop = Character.random(rng), Backdrop.random(rng)
    frame = draw(character, Pose(), SIZE, camera=Camera.framing(0.8), backdrop=backdrop)
    away = replace(Camera.framing(0.8), x=5.0)
    empty = draw(character, Pose(), SIZE, camera=away, backdrop=backdrop)
    assert not empty.mask.any()
    assert np.array_equal(frame.rgb[frame.mask == 0], empty.rgb[frame.mask == 0])
    changed = (frame.rgb != empty.rgb).any(axis=-1)
    assert changed[frame.mask == 255].mean() > 0.95


@pytest.mark.parametrize("seed", range(6))
def test_limbs_end_where_the_keypoints_say(seed: int):
    pose = Performance.random(np.random.default_rng(seed), 1.0).pose_at(0.3)
    frame = frame_of(seed, pose)
    body = frame.keypoints[5:17]
    for x, y, seen in body:
        if seen == 1:
            assert frame.mask[int(y), int(x)] > 0


def test_a_wider_picture_of_the_same_height_moves_nothing_but_the_centre():
    narrow, wide = frame_of(4, Pose(), (96, 96)), frame_of(4, Pose(), (160, 96))
    moved = wide.keypoints[:, :2] - narrow.keypoints[:, :2]
    assert np.allclose(moved, [32, 0], atol=1e-4)


def test_the_larger_picture_is_the_same_picture():
    small, large = frame_of(4, Pose(), (96, 96)), frame_of(4, Pose(), (480, 480))
    assert np.allclose(large.keypoints[:, :2], small.keypoints[:, :2] * 5, atol=1e-3)
    averaged = large.rgb.reshape(96, 5, 96, 5, 3).mean(axis=(1, 3))
    assert np.abs(averaged - small.rgb).mean() < 2


def test_left_is_the_puppets_own_left_also_when_it_turns_its_back():
    facing, away = frame_of(5, Pose()), frame_of(5, Pose(yaw=np.pi))
    assert facing.keypoints[LEFT_SHOULDER, 0] > facing.keypoints[RIGHT_SHOULDER, 0]
    assert away.keypoints[LEFT_SHOULDER, 0] < away.keypoints[RIGHT_SHOULDER, 0]
    assert (away.keypoints[23:91, 2] <= 0.3).all()
    assert (facing.keypoints[23:91, 2] == 1).all()


def test_raising_the_left_arm_raises_the_left_wrist_alone():
    down, up = frame_of(6, Pose()), frame_of(6, Pose(left_shoulder=2.8, left_elbow=0.1))
    rise = down.keypoints[:, 1] - up.keypoints[:, 1]
    assert rise[LEFT_WRIST] > 0.3 * SIZE[1]
    assert abs(rise[RIGHT_WRIST]) < 1e-4
    assert rise[91:112].min() > 0.3 * SIZE[1]
    assert np.abs(rise[112:133]).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "points"),
    [({"mouth": 1.0}, slice(71, 91)), ({"eyes": 0.0}, slice(59, 71)), ({"smile": 1.0}, slice(71, 91))],
)
def test_an_expression_changes_its_own_part_of_the_face_only(change: dict[str, float], points: slice):
    plain, changed = frame_of(7, Pose(), (192, 192), 1.6), frame_of(7, Pose(**change), (192, 192), 1.6)
    rows, columns = np.nonzero((plain.rgb != changed.rgb).any(axis=-1))
    both = np.concatenate([plain.keypoints[points, :2], changed.keypoints[points, :2]])
    low, high = both.min(axis=0) - 5, both.max(axis=0) + 5
    assert len(rows) > 20
    assert columns.min() >= low[0]
    assert columns.max() <= high[0]
    assert rows.min() >= low[1]
    assert rows.max() <= high[1]


def test_keypoints_outside_the_picture_are_said_to_be_outside():
    portrait = frame_of(8, Pose(), zoom=2.0)
    ankles = portrait.keypoints[[15, 16]]
    assert (ankles[:, 1] > SIZE[1]).all()
    assert (ankles[:, 2] == 0).all()
    assert portrait.keypoints[0, 2] == 1


def test_performances_are_smooth_and_move():
    performance = Performance.random(np.random.default_rng(9), 3.0)
    vectors = np.stack([pose.vector() for pose in performance.poses(90, 30.0)])
    assert np.abs(np.diff(vectors, axis=0)).max() < 0.6
    assert np.ptp(vectors, axis=0).max() > 1.0


def test_expression_does_not_depend_on_the_bodys_keys():
    performance = Performance.random(np.random.default_rng(10), 3.0)
    still = replace(performance, body_keys=np.zeros_like(performance.body_keys))
    assert [p.mouth for p in still.poses(30, 15.0)] == [p.mouth for p in performance.poses(30, 15.0)]


def test_steering_words_override_what_the_driver_does():
    poses = [Pose(mouth=1.0, eyes=1.0)] * 17
    assert all(pose.smile == 1 and pose.mouth == 0 for pose in steer(poses, ("smile",)))
    assert all(pose.eyes == 0 and pose.mouth == 1 for pose in steer(poses, ("close eyes",)))
    raised = steer(poses, ("raise both hands at the end",))
    assert raised[0] == poses[0]
    assert raised[-1].left_shoulder == raised[-1].right_shoulder == 2.85
    assert steer(poses, ()) == poses
    with pytest.raises(ValueError, match="not steering words"):
        steer(poses, ("fly",))


def test_a_nearer_actor_hides_the_one_behind():
    scene = Scene.random(np.random.default_rng(11), 2, 4.0)
    apart, crossing = draw_scene(scene, 0.0, SIZE), draw_scene(scene, 2.0, SIZE)
    assert (apart.actors[0].mask.astype(int) + apart.actors[1].mask).max() <= 255
    alone = draw_scene(replace(scene, actors=scene.actors[:1]), 2.0, SIZE)
    assert crossing.actors[0].mask.sum() < 0.8 * alone.actors[0].mask.sum()
    assert apart.actors[0].keypoints[5, 0] < apart.actors[1].keypoints[5, 0]
    later = draw_scene(scene, 4.0, SIZE)
    assert later.actors[0].keypoints[5, 0] > later.actors[1].keypoints[5, 0]


def test_the_third_actor_leaves_and_comes_back():
    scene = Scene.random(np.random.default_rng(12), 3, 4.0)
    seen = [draw_scene(scene, t, SIZE) for t in (0.0, 2.0, 4.0)]
    gone = [frame.actors[2].mask.any() for frame in seen]
    assert gone == [True, False, True]


def test_the_demos_voice_follows_the_mouth():
    pair = demo_pair(1, size=(96, 96), num_frames=30)
    frames = list(pair.driving)
    assert len(frames) == pair.num_frames == 30
    assert frames[0].shape == pair.reference.shape == (96, 96, 3)
    assert len(pair.audio) == 30 / pair.fps * pair.sample_rate
    assert 0 < np.abs(pair.audio).max() <= 0.42
    again = demo_pair(1, size=(96, 96), num_frames=30)
    assert np.array_equal(frames[7], list(again.driving)[7])
