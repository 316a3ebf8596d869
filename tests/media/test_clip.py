"""Frames at the rate asked for: the right ones, in any order, a few at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from animate_pipelines.media.clip import Clip, frame_positions
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import Mezzanine, write_mezzanine
from animate_pipelines.media.probe import probe_video
from tests.media.conftest import Studio

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "frame_indices.json").read_text())


@pytest.fixture(scope="module")
def mezzanine(studio: Studio, limits: MediaLimits) -> Mezzanine:
    source = studio.numbered("clip.mp4", 100, "30000/1001", "-c:v", "libx264", "-bf", "3")
    return write_mezzanine(source, studio.folder / "clip-mezzanine.mp4", probe_video(source, limits), limits)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['source_fps']} to {case['fps']}")
def test_resampling_is_the_reference_rule(case: dict[str, object]) -> None:
    source = Fraction(str(case["source_fps"]))
    positions = frame_positions(int(str(case["num_frames"])), source, Fraction(str(case["fps"])))
    assert np.round(positions).astype(int).tolist() == case["indices"]


def test_source_rate_is_the_identity(mezzanine: Mezzanine, numbers: Callable[[np.ndarray], list[int]]) -> None:
    with Clip(mezzanine) as clip:
        assert (clip.fps, clip.source_fps, clip.size) == (Fraction(30000, 1001), Fraction(30000, 1001), (64, 48))
        assert clip.indices.tolist() == list(range(100))
        assert clip.repeats == 0
        frames = read(clip, 0, 100)
        assert (frames.dtype, frames.shape) == (np.uint8, (100, 48, 64, 3))
        assert numbers(frames) == list(range(100))


def test_any_order_gives_the_frames_of_the_file(mezzanine: Mezzanine, studio: Studio) -> None:
    expected = studio.decoded(mezzanine.path)
    with Clip(mezzanine) as clip:
        for start, stop in [(90, 100), (0, 5), (13, 14), (47, 61), (11, 13), (99, 100), (0, 1)]:
            difference = np.abs(read(clip, start, stop).astype(int) - expected[start:stop])
            assert difference.max() <= 3  # two versions of the same colour conversion


@pytest.mark.parametrize("fps", [24, 48])
def test_other_rates(mezzanine: Mezzanine, numbers: Callable[[np.ndarray], list[int]], fps: int) -> None:
    with Clip(mezzanine, fps=fps) as clip:
        assert clip.num_frames == int(100 / (30000 / 1001) * fps)
        assert clip.fps == fps
        assert clip.repeats == (0 if fps == 24 else clip.num_frames - len(set(clip.indices.tolist())))
        seen = numbers(read(clip, 0, clip.num_frames))
        assert seen == clip.indices.tolist()
        assert np.abs(clip.positions - clip.indices).max() <= 0.5
        assert clip.positions[5] == pytest.approx(5 / fps * 30000 / 1001)


@pytest.mark.parametrize(("fps", "num_frames", "repeats"), [(10, 20, 0), (24, 48, 8), (40, 80, 40)])
def test_frame_counts_follow_the_rate(
    studio: Studio, limits: MediaLimits, fps: int, num_frames: int, repeats: int
) -> None:
    source = studio.numbered(f"two-seconds-{fps}.mp4", 40, "20")
    written = write_mezzanine(source, studio.folder / f"at-{fps}.mp4", probe_video(source, limits), limits)
    with Clip(written, fps=fps) as clip:
        assert (clip.num_frames, clip.repeats, clip.duration_s) == (num_frames, repeats, 2)


def test_only_the_first_frames(mezzanine: Mezzanine) -> None:
    with Clip(mezzanine, fps=24, max_frames=10) as clip:
        assert (clip.num_frames, clip.duration_s) == (10, Fraction(10, 24))
        assert len(clip.indices) == len(clip.positions) == 10


def test_frames_in_any_order_and_again(mezzanine: Mezzanine, numbers: Callable[[np.ndarray], list[int]]) -> None:
    wanted = [5, 4, 3, 3, 0, 99, 5] * 5
    with Clip(mezzanine) as clip:
        assert numbers(np.stack(list(clip.read_source(wanted)))) == wanted


def read(clip: Clip, start: int, stop: int) -> np.ndarray:
    """Frames `start` to `stop` of the clip, as the segments read them."""
    return np.stack(list(clip.read_source(clip.indices[start:stop])))


def test_memory_does_not_grow_with_length(studio: Studio, limits: MediaLimits) -> None:
    """One pass over 900 frames of 640x360 (622 MB raw) after one over the first 100 must not cost another 100 MB."""
    source = studio.folder / "memory.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "color=gray:s=640x360:r=60:d=15", "-preset", "ultrafast", source)
    written = write_mezzanine(source, studio.folder / "memory-mezzanine.mp4", probe_video(source, limits), limits)
    process = psutil.Process()
    with Clip(written, max_frames=100) as clip:
        for _ in clip.read_source(clip.indices):
            pass
    before = process.memory_info().rss
    with Clip(written) as clip:
        for _ in clip.read_source(clip.indices):
            assert process.memory_info().rss < before + 100_000_000
