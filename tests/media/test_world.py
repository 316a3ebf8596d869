"""Videos as cameras, phones and editors write them: groups, fields, wide colours, high rates, cuts, odd sound."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animate_pipelines.errors import MediaError
from animate_pipelines.media.conversions import describe_conversions
from animate_pipelines.media.header_text import read_header_text
from animate_pipelines.media.join import join_pieces
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.sound import MIXES, settle_sound
from animate_pipelines.media.timing import slower_rate
from animate_pipelines.media.trim import trim
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.media.writer import VideoWriter
from animate_pipelines.request.choices import OutputFormat
from tests.media.conftest import Studio

Numbers = Callable[[np.ndarray], list[int]]
AAC = ("-c:a", "aac")


def notes(info: VideoInfo) -> str:
    return "; ".join(describe_conversions(info, wants_sound=True))


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.mkv", "x.webm", "x.m4v"])
@pytest.mark.parametrize("timecode", [False, True])
def test_every_container_is_read_with_and_without_a_timecode(
    studio: Studio, limits: MediaLimits, tmp_path: Path, name: str, timecode: bool
) -> None:
    codec = ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"] if name == "x.webm" else AAC
    plain, path = studio.clapper(f"world-{name}", *codec, seconds=1, audio_seconds=1), tmp_path / name
    studio.ffmpeg("-i", plain, "-map", "0", "-c", "copy", *(["-timecode", "01:00:00:00"] if timecode else []), path)
    info = probe_video(path, limits)
    assert (info.width, info.height, info.fps, info.num_frames) == (64, 48, 30, 30)
    assert info.audio is not None
    assert notes(info) == ""


# What FFmpeg 9's `av_dump_format` prints of groups that its own muxers do not write into MP4.
TILES = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'x':
[info]   Duration: 00:00:02.00, start: 0.000000, bitrate: 100 kb/s
[info]   Stream group #0:0[0x1]: Tile Grid: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv), 1024x1024 (default)
[info]     Stream #0:0[0x1]: Video: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv), 512x512, 1 fps, 1 tbr (dependent)
[info]     Stream #0:1[0x2]: Video: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv), 512x512, 1 fps, 1 tbr (dependent)
[info]   Stream #0:2[0x3](und): Video: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv, bt709), 640x360, 30 fps (default)
[info]     Side data:
[info]       Display Matrix: rotation of -90.00 degrees
[info] Stream mapping:
[info]   Stream #0:2 -> #0:0 (copy)
"""
LAYERS = """\
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'x':
[info]   Stream group #0:0[0x1]: LCEVC:
[info]     Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p(tv, top coded first (swapped)), 960x540 [SAR 1:1 DAR 16:9], 25 fps (default)
[info]     Stream #0:1[0x2](und): Video: lcevc (lvc1 / 0x3163766C), none, 1920x1080, 25 fps (dependent)
[info]   Stream group #0:1[0x3]: IAMF Audio Element:
[info]     Layer 0: stereo
[info]       Stream #0:2[0x3]: Audio: opus (Opus / 0x7375704F), 48000 Hz, stereo, fltp
[info]   Stream group #0:2[0x4]: IAMF Mix Presentation:
[info]     Submix 0:
[info]       IAMF Audio Element #0:1[0x3]
[info]       Stream #0:2[0x3]: Audio: opus (Opus / 0x7375704F), 48000 Hz, stereo, fltp
[info]   Stream #0:3[0x5](eng): Audio: aac (LC) (mp4a / 0x6134706D), 48000 Hz, 5.1(side), fltp, 128 kb/s (default)
[info] Output #0, null, to 'pipe:':
[info]   Stream #0:0(und): Video: h264, yuv420p, 1x1
"""  # noqa: E501 -- as it is printed


def test_streams_of_groups_are_read_once_and_layers_are_no_films() -> None:
    tiles, layers = read_header_text(TILES), read_header_text(LAYERS)
    assert [film.index for film in tiles.films] == [2]
    assert (tiles.films[0].rotation, tiles.films[0].colour, tiles.duration_s) == (-90, ("bt709",) * 3, 2.0)
    (film,) = layers.films
    assert (film.index, film.sides, film.is_interlaced, film.fps) == (0, (960, 540, 1, 1), True, 25.0)
    assert [(audio.index, audio.codec, audio.layout) for audio in layers.audios] == [
        (3, "aac", "5.1(side)"),
        (2, "opus", "stereo"),
    ]


def cut_between_key_frames(studio: Studio, tmp_path: Path) -> tuple[Path, int]:
    """A clapper of 3 s without its first eight packets of video, which hold the only key frame before the thirtieth."""
    whole, path = studio.clapper("gop.mkv", *AAC, "-c:v", "libx264", "-g", "30", "-bf", "0"), tmp_path / "cut.mkv"
    drop = "noise=amount=0:drop=lt(n\\,8)"
    studio.ffmpeg("-i", whole, "-map", "0", "-c", "copy", "-bsf:v", drop, "-copyinkf", path)
    return path, 22


@pytest.mark.parametrize(("start", "missing"), [(0.0, 22), (0.4, 10), (1.0, 0)])
def test_picture_and_sound_stay_together_where_the_first_frames_do_not_decode(
    studio: Studio, limits: MediaLimits, tmp_path: Path, start: float, missing: int
) -> None:
    path, _ = cut_between_key_frames(studio, tmp_path)
    whole = probe_video(path, limits)
    info = trim(whole, start, None)
    assert info.missing_frames == missing
    assert (f"the first {missing} frames" in notes(info)) == (missing > 0)
    output, mezzanine = tmp_path / "output.mp4", write_mezzanine(path, tmp_path / "mezzanine.mp4", info, limits)
    assert mezzanine.num_frames == round(info.duration_s * info.fps)
    pieces = VideoWriter(tmp_path, render_size=(64, 48), output_size=(64, 48), fps=info.fps)
    piece = pieces.write_segment(0, studio.decoded(mezzanine.path))
    join_pieces(
        [piece],
        output,
        audio_source=path,
        source_info=info,
        num_frames=mezzanine.num_frames,
        fps=info.fps,
        metadata={},
    )
    flashes, clicks = studio.flashes(output), studio.clicks(output)
    assert np.abs(np.array(flashes[-1:]) - clicks[-1:]).max() <= 1 / 30
    if missing:
        frames = studio.decoded(mezzanine.path)
        assert np.abs(frames[0].astype(int) - frames[missing - 1]).max() <= 4


def test_a_video_of_which_most_does_not_decode_is_refused(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    whole = studio.numbered("late-key.mkv", 60, "30", "-c:v", "libx264", "-g", "50", "-bf", "0", "-sc_threshold", "0")
    path = tmp_path / "late.mkv"
    studio.ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "noise=amount=0:drop=lt(n\\,2)", "-copyinkf", path)
    with pytest.raises(MediaError, match="is damaged: only 10 of 58 frames can be decoded"):
        write_mezzanine(path, tmp_path / "mezzanine.mp4", probe_video(path, limits), limits)


@pytest.mark.parametrize("flagged", ["top", "bottom"])
def test_fields_become_whole_frames(studio: Studio, limits: MediaLimits, tmp_path: Path, flagged: str) -> None:
    """A white bar that moves 8 px from field to field: combed frames have edges that alternate from line to line."""
    order = "tff" if flagged == "top" else "bff"
    bar = "color=black:s=128x96:r=50:d=1,geq=lum='235*between(X,8*mod(N,12),8*mod(N,12)+24)':cb=128:cr=128"
    fields = ["-vf", f"interlace=scan={order}:lowpass=off", "-flags", "+ildct+ilme", "-x264-params", f"{order}=1"]
    path = tmp_path / "fields.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", bar, *fields, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-qp", "4", path)
    info = probe_video(path, limits)
    assert (info.is_interlaced, info.fps, notes(info)) == (
        True,
        25,
        "the driving video is interlaced: it was deinterlaced",
    )
    mezzanine = write_mezzanine(path, tmp_path / "mezzanine.mp4", info, limits)
    assert mezzanine.num_frames == 25

    def combed(frames: np.ndarray) -> float:
        grey = frames[5:20].mean(axis=-1)
        return float(np.abs(2 * grey[:, 1:-1] - grey[:, :-2] - grey[:, 2:]).mean())

    assert combed(studio.decoded(path)) > 5 * combed(studio.decoded(mezzanine.path))


def test_fields_that_only_the_frames_tell_of(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    fields = ["-vf", "interlace=scan=tff:lowpass=off", "-flags", "+ildct+ilme", "-field_order", "progressive"]
    path = tmp_path / "silent.mkv"
    studio.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=128x96:r=50:d=0.4", *fields, "-c:v", "mpeg2video", "-q:v", "2", path)
    assert probe_video(path, limits).is_interlaced


@pytest.mark.parametrize(
    ("primaries", "name"), [("bt2020", "BT.2020"), ("smpte432", "P3"), ("smpte431", "P3"), ("bt709", None)]
)
def test_wide_colours_of_standard_range_are_converted_by_their_tags(
    studio: Studio, limits: MediaLimits, tmp_path: Path, primaries: str, name: str | None
) -> None:
    """A colour inside BT.709, written in wider primaries, comes back; read as if it were BT.709 it would be duller."""
    matrix = "bt2020nc" if primaries == "bt2020" else "bt709"
    wanted = (200, 60, 40)
    convert = f"zscale=min=gbr:pin=bt709:tin=bt709:m={matrix}:p={primaries}:t=bt709:r=limited,format=yuv444p10le"
    tags = f"setparams=color_primaries={primaries}:color_trc=bt709:colorspace={matrix}:range=tv"
    colour = "0x{:02X}{:02X}{:02X}".format(*wanted)
    path = tmp_path / "wide.mkv"
    picture = f"color={colour}:s=64x48:r=10:d=0.3,format=gbrp,setparams=colorspace=gbr,{convert},{tags}"
    studio.ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "ffv1", path)
    info = probe_video(path, limits)
    assert (info.is_wide, info.is_hdr) == (name is not None, False)
    assert notes(info) == (f"the driving video has {name} colours: they were converted to BT.709" if name else "")
    mezzanine = write_mezzanine(path, tmp_path / "mezzanine.mp4", info, limits)
    assert np.abs(studio.decoded(mezzanine.path)[0, 24, 32].astype(int) - wanted).max() <= 6


@pytest.mark.parametrize(
    ("stored", "used"),
    [("120", "120"), ("1201/10", "120"), ("240", "120"), ("240000/1001", "120000/1001"), ("144", "72"), ("960", "120")],
)
def test_rates_that_are_too_high_are_resampled(stored: str, used: str) -> None:
    assert slower_rate(Fraction(stored), 120) == Fraction(used)


@pytest.mark.parametrize(("rate", "every"), [("240", 2), ("500", 5)])
def test_slow_motion_is_taken_and_said(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path, rate: str, every: int
) -> None:
    source = studio.numbered(f"slow-{rate}.mp4", 200, rate, "-c:v", "libx264", "-bf", "0", "-preset", "ultrafast")
    info = probe_video(source, limits)
    assert info.fps <= 120
    assert f"has {float(info.stored_fps):g} frames a second: {float(info.fps):g} were taken" in notes(info)
    seen = numbers(studio.decoded(write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits).path))
    assert abs(len(seen) - 200 / every) <= 1
    assert np.abs(np.array(seen[:90]) - every * np.arange(len(seen[:90]))).max() <= every / 2


def test_more_than_a_thousand_frames_a_second_are_refused(studio: Studio, limits: MediaLimits) -> None:
    source = studio.numbered("bullet.mkv", 100, "2000", "-c:v", "ffv1")
    with pytest.raises(MediaError, match="the limit is 1000"):
        probe_video(source, limits)


LAYOUTS = [("5.1(side)", 6, "ac3", "mkv"), ("2.1", 3, "pcm_s16le", "mov"), ("4.0", 4, "pcm_s16le", "mov")]


@pytest.mark.parametrize("output_format", ["mp4", "webm"])
@pytest.mark.parametrize(("layout", "channels", "codec", "suffix"), [*LAYOUTS, ("16c", 16, "pcm_s16le", "mkv")])
def test_sound_of_any_layout_arrives(
    studio: Studio,
    limits: MediaLimits,
    tmp_path: Path,
    layout: str,
    channels: int,
    codec: str,
    suffix: str,
    output_format: OutputFormat,
) -> None:
    source, path = studio.numbered("silent.mp4", 30, "30"), tmp_path / f"sound.{suffix}"
    tones = "|".join(f"0.3*sin({300 + 50 * k}*t)" for k in range(channels))
    named = "" if layout == "16c" else f":c={layout}"
    sound = ["-f", "lavfi", "-i", f"aevalsrc={tones}:s=48000:d=1{named}", "-map", "0:v", "-map", "1:a"]
    studio.ffmpeg("-i", source, *sound, "-c:v", "copy", "-c:a", codec, path)
    info = probe_video(path, limits)
    sound_of = settle_sound(path, info, output_format, limits)
    assert sound_of is not None
    frames = studio.decoded(source)
    piece = VideoWriter(tmp_path, render_size=(64, 48), output_size=(64, 48), fps=info.fps).write_segment(0, frames)
    output = tmp_path / f"output.{output_format}"
    joined = join_pieces(
        [piece],
        output,
        audio_source=path,
        source_info=info,
        num_frames=30,
        fps=info.fps,
        metadata={},
        output_format=output_format,
        mix=sound_of.mix,
    )
    assert joined.audio in ("copied", "encoded")
    assert (sound_of.mix in MIXES[1:]) == bool(joined.warning) or joined.audio == "copied"
    assert "Audio: " in studio.information(output)
    assert np.abs(np.frombuffer(studio.ffmpeg("-i", output, "-map", "0:a", "-f", "s16le", "-"), np.int16)).max() > 1000


def undecodable(path: Path, codec: bytes = b"mp4a") -> None:
    """Call the last audio track of a MOV by a codec that FFmpeg does not know."""
    data = bytearray(path.read_bytes())
    at = data.index(codec, data.rindex(b"stsd"))
    data[at : at + 4] = b"apac"
    for tag in (b"wave", b"esds"):
        found = data.find(tag, at, at + 200)
        if found > 0:
            data[found : found + 4] = b"dapa"
    path.write_bytes(data)


def test_a_track_that_decodes_is_preferred_to_the_default_one(
    studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    video, path = studio.clapper("two.mp4", *AAC, seconds=1, audio_seconds=1), tmp_path / "two.mov"
    chosen = ["-disposition:a:0", "0", "-disposition:a:1", "default"]
    studio.ffmpeg("-i", video, "-map", "0", "-map", "0:a", "-c", "copy", *chosen, path)
    undecodable(path)
    info = probe_video(path, limits)
    assert info.audio is not None
    assert (info.audio.index, info.audio.is_preferred) == (1, False)
    assert "cannot be decoded: another one (aac) was taken" in notes(info)


def test_without_a_track_that_decodes_the_result_is_silent_and_says_so(
    studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    path = tmp_path / "one.mov"
    studio.ffmpeg("-i", studio.clapper("one.mp4", *AAC, seconds=1, audio_seconds=1), "-c", "copy", path)
    undecodable(path)
    info = probe_video(path, limits)
    assert info.audio is None
    assert "no audio track of the driving video can be decoded" in notes(info)
    assert settle_sound(path, info, "mp4", limits) is None


def test_sound_that_fails_at_the_end_costs_no_picture(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.clapper("lost.mp4", *AAC, seconds=1, audio_seconds=1)
    info = probe_video(source, limits)
    frames = studio.decoded(source)
    piece = VideoWriter(tmp_path, render_size=(64, 48), output_size=(64, 48), fps=info.fps).write_segment(0, frames)
    lost = tmp_path / "gone.mp4"  # the sound's file is lost between the check and the end
    output = tmp_path / "output.mp4"
    joined = join_pieces(
        [piece], output, audio_source=lost, source_info=info, num_frames=len(frames), fps=info.fps, metadata={}
    )
    assert joined.audio == "none"
    assert joined.warning.startswith("the sound could not be written: ")
    assert len(studio.decoded(output)) == len(frames)


def test_a_name_that_is_no_utf8_is_read_and_written(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    path = tmp_path / b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    path.write_bytes(studio.clapper("name.mp4", *AAC, seconds=1, audio_seconds=1).read_bytes())
    folder = tmp_path / b"\xff".decode("utf-8", "surrogateescape")
    folder.mkdir()
    info = probe_video(path, limits)
    mezzanine = write_mezzanine(path, folder / "mezzanine.mp4", info, limits)
    writer = VideoWriter(folder, render_size=(64, 48), output_size=(64, 48), fps=info.fps)
    piece = writer.write_segment(0, np.zeros((30, 48, 64, 3), np.uint8))
    joined = join_pieces(
        [piece], folder / "o.mp4", audio_source=path, source_info=info, num_frames=30, fps=info.fps, metadata={}
    )
    assert (mezzanine.num_frames, joined.audio) == (30, "copied")
