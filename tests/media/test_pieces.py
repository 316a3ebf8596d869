"""Pieces and the joined file: exact times, the audio where it was, the same bytes for the same frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate_pipelines.errors import ServerError
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.join import join_pieces
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.media.writer import VideoWriter
from animate_pipelines.request.choices import OutputFormat
from tests.media.conftest import Studio

SIZE = (64, 48)
AAC = ("-c:a", "aac")


class Render:
    """A render that changes nothing: driving video, mezzanine, pieces of 40 frames, join."""

    def __init__(self, source: Path, folder: Path, limits: MediaLimits, output_format: OutputFormat = "mp4") -> None:
        self.info: VideoInfo = probe_video(source, limits)
        mezzanine = write_mezzanine(source, folder / "mezzanine.mp4", self.info, limits)
        self.output = folder / f"output.{output_format}"
        with Clip(mezzanine) as clip:
            writer = VideoWriter(folder, render_size=clip.size, output_size=clip.size, fps=clip.fps)
            cuts = np.split(clip.indices, range(40, clip.num_frames, 40))
            pieces = [writer.write_segment(i, np.stack(list(clip.read_source(cut)))) for i, cut in enumerate(cuts)]
            self.fps, self.num_frames = clip.fps, clip.num_frames
        self.joined = join_pieces(
            pieces,
            self.output,
            audio_source=source,
            source_info=self.info,
            num_frames=self.num_frames,
            fps=self.fps,
            metadata={"seed": "42"},
            output_format=output_format,
        )


@pytest.mark.parametrize("rate", ["24", "25", "30000/1001", "30", "60"])
def test_times_are_exact_over_all_joins(
    studio: Studio, numbers: Callable[[np.ndarray], list[int]], limits: MediaLimits, tmp_path: Path, rate: str
) -> None:
    render = Render(studio.numbered("pieces.mp4", 130, rate), tmp_path, limits)
    assert (render.num_frames, render.joined.audio) == (130, "none")
    packets = studio.packet_times(render.output, "v")
    step = packets[0][1]
    assert packets == [(i * step, step) for i in range(130)]
    assert numbers(studio.decoded(render.output)) == list(range(130))
    assert probe_video(render.output, limits).fps == Fraction(rate)
    assert probe_video(render.output, limits).duration_s == 130 / Fraction(rate)


AUDIO_CASES = {
    "aac.mp4": (AAC, "copied"),
    "mp3.mp4": (("-c:a", "libmp3lame"), "copied"),
    "alac.mov": (("-c:a", "alac"), "copied"),
    "ac3.mkv": (("-c:a", "ac3"), "copied"),
    "flac.mkv": (("-c:a", "flac"), "copied"),
    "opus.webm": (("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"), "copied"),
    "opus.mp4": (("-c:a", "libopus"), "copied"),
    "vorbis.webm": (("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"), "encoded"),
    "pcm.mov": (("-c:a", "pcm_s16le"), "encoded"),
}


@pytest.mark.parametrize("name", AUDIO_CASES)
def test_audio_of_every_codec_stays_in_step(studio: Studio, limits: MediaLimits, tmp_path: Path, name: str) -> None:
    options, treatment = AUDIO_CASES[name]
    source = studio.clapper(name, *options)
    render = Render(source, tmp_path, limits)
    assert render.joined.audio == treatment
    before, after = studio.clapper_offsets(source), studio.clapper_offsets(render.output)
    assert len(after) == 2
    assert np.abs(np.array(after) - before).max() <= 0.020
    assert np.abs(after).max() <= 0.025  # a codec may blur the click a little


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv", "early.mp4", "early.mkv", "vorbis.mkv"])
def test_audio_that_begins_at_another_time(studio: Studio, limits: MediaLimits, tmp_path: Path, name: str) -> None:
    """The audio stream begins 150 ms after, or before, the video stream."""
    codec = ["-c:a", "libvorbis"] if name == "vorbis.mkv" else AAC
    plain, source = studio.clapper("plain.mkv", *codec), studio.folder / name
    video, audio = ("0", "0.15") if name.startswith(("late", "vorbis")) else ("0.15", "0")
    shifted = ["-itsoffset", video, "-i", plain, "-itsoffset", audio, "-i", plain]
    studio.ffmpeg(*shifted, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    render = Render(source, tmp_path, limits)
    expected = 0.15 if video == "0" else -0.15
    assert studio.clapper_offsets(source) == pytest.approx([expected, expected], abs=0.012)
    assert np.abs(np.array(studio.clapper_offsets(render.output)) - studio.clapper_offsets(source)).max() <= 0.020


def test_audio_hidden_by_an_edit_list(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    whole, cut = (
        studio.clapper("whole-av.mp4", *AAC, "-g", "300", seconds=4, audio_seconds=4),
        studio.folder / "cut-av.mp4",
    )
    studio.ffmpeg("-ss", "0.7", "-i", whole, "-c", "copy", cut)
    render = Render(cut, tmp_path, limits)
    before, after = studio.clapper_offsets(cut), studio.clapper_offsets(render.output)
    assert len(after) == 3
    assert np.abs(np.array(after) - before).max() <= 0.020


@pytest.mark.parametrize(("name", "audio_seconds"), [("short.mp4", 1.5), ("long.mp4", 5.0), ("longer.webm", 5.0)])
@pytest.mark.parametrize("fps", ["24", "60"])
def test_audio_shorter_and_longer_than_the_video(
    studio: Studio, limits: MediaLimits, tmp_path: Path, name: str, audio_seconds: float, fps: str
) -> None:
    codec = ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"] if name == "longer.webm" else AAC
    source = studio.clapper(f"{fps}-{name}", *codec, fps=fps, audio_seconds=audio_seconds)
    render = Render(source, tmp_path, limits)
    assert render.num_frames == 3 * int(fps)
    assert "Duration: 00:00:03.0" in studio.information(render.output)
    assert abs(studio.clicks(render.output)[0] - studio.flashes(render.output)[0]) <= 0.020
    rate = 48_000
    last_pts, last_duration = studio.packet_times(render.output, "a")[-1]
    assert (last_pts + last_duration) / rate <= 3 + 1 / float(fps)


def test_variable_rate_keeps_step_to_the_end(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    steady, source = studio.clapper("steady.mp4", *AAC, seconds=8, audio_seconds=8), studio.folder / "unsteady.mp4"
    drop = "select='not(eq(mod(n,5),3)*gt(n,60)*lt(n,150))'"
    studio.ffmpeg("-i", steady, "-vf", drop, "-fps_mode", "vfr", "-c:a", "copy", source)
    render = Render(source, tmp_path, limits)
    assert render.info.is_variable_rate
    assert abs(render.num_frames / render.fps - 8) <= 1 / render.fps
    assert len(studio.clapper_offsets(render.output)) == 7
    assert np.abs(studio.clapper_offsets(render.output)).max() <= 0.020 + 1 / 30  # a flash may fall on a missing frame
    assert np.median(np.abs(studio.clapper_offsets(render.output))) <= 0.020


def test_audio_that_begins_after_the_last_frame(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    plain, source = studio.clapper("plain.mp4", *AAC), studio.folder / "after.mp4"
    studio.ffmpeg("-i", plain, "-itsoffset", "5", "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    render = Render(source, tmp_path, limits)
    assert render.joined.audio == "none"
    assert "Duration: 00:00:03.00" in studio.information(render.output)


@pytest.mark.parametrize(
    ("output_format", "words"),
    [
        ("mov", ("Input #0, mov", "major_brand     : qt", "Video: h264", "Audio: aac", "seed            : 42")),
        ("webm", ("Input #0, matroska,webm", "Video: vp9", "Audio: opus", "SEED            : 42")),
    ],
)
def test_other_formats_hold_the_same_frames_and_sound(
    studio: Studio,
    numbers: Callable[[np.ndarray], list[int]],
    limits: MediaLimits,
    tmp_path: Path,
    output_format: OutputFormat,
    words: tuple[str, ...],
) -> None:
    render = Render(studio.numbered("formats.mp4", 100, "30000/1001"), tmp_path, limits, output_format)
    assert numbers(studio.decoded(render.output)) == list(range(100))
    assert probe_video(render.output, limits).fps == Fraction(30000, 1001)
    sounding = Render(studio.clapper("formats-audio.mp4", *AAC), tmp_path, limits, output_format)
    assert sounding.joined.audio == ("copied" if output_format == "mov" else "encoded")
    assert max(map(abs, studio.clapper_offsets(sounding.output))) < 0.02
    text = studio.information(sounding.output)
    assert [word for word in words if word not in text] == [], text


def test_a_lower_quality_is_a_smaller_file(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), np.uint8)
    sizes = []
    for quality in (20, 95, 99):
        writer = VideoWriter(tmp_path, render_size=SIZE, output_size=SIZE, fps=Fraction(24), quality=quality)
        sizes.append(writer.write_segment(0, noise).stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] * 3 < sizes[1]


def test_without_audio_and_with_words(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.clapper("words.mp4", *AAC)
    info = probe_video(source, limits)
    frames = np.zeros((10, 48, 64, 3), np.uint8)
    pieces = [VideoWriter(tmp_path, render_size=SIZE, output_size=SIZE, fps=info.fps).write_segment(0, frames)]
    words = {"seed": "42", "recipe": '{"dtype": "bf16", "steps": 4}', "bundle": "sha256:00ff", "version": "0.1.0"}
    output = tmp_path / "it's here.mp4"
    join = {"source_info": info, "num_frames": 10, "fps": info.fps, "metadata": words}
    assert join_pieces(pieces, output, audio_source=None, **join).audio == "none"
    text = studio.information(output)
    assert "Audio" not in text
    assert all(f"{key:<16}: {value}" in text for key, value in words.items())
    head = output.read_bytes()
    assert head.index(b"moov") < head.index(b"mdat")
    with pytest.raises(ServerError, match="11 were rendered"):
        join_pieces(pieces, output, audio_source=None, **join | {"num_frames": 11})
    assert output.read_bytes() == head
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it's here.mp4", "segment-00000.mp4"]


def test_pieces_are_scaled_tagged_and_reproducible(studio: Studio, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path, render_size=(64, 48), output_size=(128, 96), fps=Fraction(25))
    frames = np.random.default_rng(1).integers(0, 256, (20, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    first = hashlib.sha256(writer.write_segment(3, frames).read_bytes()).hexdigest()
    path = writer.write_segment(3, frames)
    assert path == writer.path(3) == tmp_path / "segment-00003.mp4"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == first
    assert "yuv420p(tv, bt709, progressive), 128x96 [SAR 1:1" in studio.information(path)
    decoded = studio.decoded(path)
    assert decoded.shape == (20, 96, 128, 3)
    centres = decoded[:, 8::16, 8::16].astype(int) - frames[:, 4::8, 4::8]
    assert np.abs(centres).mean() < 8  # chroma at half resolution under random colours
    with pytest.raises(ValueError, match="frames must be uint8"):
        writer.write_segment(4, frames.astype(np.float32))
    assert [entry.name for entry in tmp_path.iterdir()] == ["segment-00003.mp4"]


def test_colours_of_a_piece(studio: Studio, tmp_path: Path) -> None:
    frames = np.tile(np.array([200, 100, 50], np.uint8), (3, 48, 64, 1))
    writer = VideoWriter(tmp_path, render_size=SIZE, output_size=SIZE, fps=Fraction(25))
    assert np.abs(studio.decoded(writer.write_segment(0, frames)).astype(int) - (200, 100, 50)).max() <= 3


PAIR = Path(__file__).parents[3] / "shared" / "media" / "animate-video.mp4"


@pytest.mark.skipif(not PAIR.exists(), reason="the sample pair is not here")
def test_a_real_clip(studio: Studio, limits: MediaLimits) -> None:
    info = probe_video(PAIR, limits)
    assert (info.width, info.height, info.fps, info.num_frames) == (1920, 1080, 30, 106)
    assert info.audio is not None
