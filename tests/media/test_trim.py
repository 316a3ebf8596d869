"""A part of a driving video: its frames are exactly those, and its sound stays with them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate_pipelines.errors import InvalidField
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.join import join_pieces
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.trim import trim
from animate_pipelines.media.writer import VideoWriter
from tests.media.conftest import Studio

AAC = ("-c:a", "aac")


@pytest.mark.parametrize(
    ("rate", "start_s", "duration_s", "first", "stop"),
    [("30", 1.0, 1.5, 30, 75), ("30000/1001", 0.5, None, 15, 90), ("25", 0.0, 0.4, 0, 10), ("24", 1.26, 0.03, 30, 31)],
)
def test_the_frames_are_those_of_the_part(
    rate: str,
    start_s: float,
    duration_s: float | None,
    first: int,
    stop: int,
    studio: Studio,
    numbers: Callable[[np.ndarray], list[int]],
    limits: MediaLimits,
    tmp_path: Path,
) -> None:
    source = studio.numbered("whole.mp4", 90, rate)
    info = trim(probe_video(source, limits), start_s, duration_s)
    mezzanine = write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits)
    assert (mezzanine.num_frames, mezzanine.fps) == (stop - first, Fraction(rate))
    assert numbers(studio.decoded(mezzanine.path)) == list(range(first, stop))


@pytest.mark.parametrize(("start_s", "duration_s", "audio"), [(0.7, 2.0, "encoded"), (0.0, 2.5, "copied")])
def test_flash_and_click_stay_together(
    start_s: float, duration_s: float, audio: str, studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    source = studio.clapper("clapper.mp4", *AAC, seconds=4, audio_seconds=4)
    info = trim(probe_video(source, limits), start_s, duration_s)
    mezzanine = write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits)
    with Clip(mezzanine) as clip:
        writer = VideoWriter(tmp_path, render_size=clip.size, output_size=clip.size, fps=clip.fps)
        piece = writer.write_segment(0, np.stack(list(clip.read_source(clip.indices))))
        output = tmp_path / "output.mp4"
        made = join_pieces(
            [piece],
            output,
            audio_source=source,
            source_info=info,
            num_frames=clip.num_frames,
            fps=clip.fps,
            metadata={},
        )
    assert (made.audio, clip.num_frames) == (audio, round(duration_s * 30))
    assert studio.flashes(output) == pytest.approx([1 - start_s, 2 - start_s], abs=1e-3)
    assert np.abs(studio.clapper_offsets(output)).max() < 1 / 30


@pytest.mark.parametrize(
    ("start_s", "duration_s", "field", "limit"),
    [(3.0, None, "start", 3.0), (99.0, 1.0, "start", 3.0), (1.0, 2.1, "duration", 2.0), (1.0, 0.01, "duration", 2.0)],
)
def test_what_is_not_in_the_video_is_refused(
    start_s: float, duration_s: float | None, field: str, limit: float, studio: Studio, limits: MediaLimits
) -> None:
    info = probe_video(studio.numbered("three.mp4", 90, "30"), limits)
    with pytest.raises(InvalidField) as caught:
        trim(info, start_s, duration_s)
    assert (caught.value.field, caught.value.limit) == (field, limit)


def test_the_whole_is_left_alone(studio: Studio, limits: MediaLimits) -> None:
    info = probe_video(studio.numbered("three.mp4", 90, "30"), limits)
    assert trim(info, 0.0, None) is info
    assert trim(info, 0.0, 3.0) is info
