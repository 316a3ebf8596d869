"""The poses that go with output frames above the driving video's rate."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from animate_pipelines.families.wan_animate.conditioning import condition
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.perception.found_people import FoundPeople

NUM_FRAMES = 8


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    path = tmp_path / "film.mp4"
    film = imageio_ffmpeg.write_frames(str(path), (64, 48), fps=10, macro_block_size=2)
    film.send(None)
    for level in range(NUM_FRAMES):
        film.send(np.full((48, 64, 3), 20 * level, np.uint8))
    film.close()
    limits = MediaLimits()
    return Clip(write_mezzanine(path, tmp_path / "m.mp4", probe_video(path, limits), limits), fps=25)


@pytest.fixture
def people() -> FoundPeople:
    """Somebody whose joints are at frame number / 10 in every frame."""
    poses = np.ones((NUM_FRAMES, 133, 3), np.float32)
    poses[..., :2] = np.arange(NUM_FRAMES, dtype=np.float32)[:, None, None] / 10
    return FoundPeople(
        frames=np.arange(NUM_FRAMES),
        boxes=np.tile([0.0, 0, 64, 48, 1], (NUM_FRAMES, 1)),
        box_frames=np.arange(NUM_FRAMES),
        box_people=np.ones(NUM_FRAMES, int),
        chosen=1,
        poses=poses,
        found=np.ones(NUM_FRAMES, bool),
        sharpness=np.ones(NUM_FRAMES, np.float32),
        cuts=np.array([], int),
    )


@pytest.mark.parametrize(
    ("interpolating", "moment"), [(False, lambda clip: clip.indices), (True, lambda clip: clip.positions)]
)
def test_skeletons_show_the_moment_of_the_background_or_one_between(
    interpolating: bool, moment: Callable[[Clip], np.ndarray], clip: Clip, people: FoundPeople
) -> None:
    assert clip.fps > Fraction(10)
    found = condition(people, clip, (64, 48), smoothing=False, interpolating=interpolating)
    np.testing.assert_allclose(found.keypoints[:, 0, 0], moment(clip) / 10, atol=1e-6)
