"""What the probe says of a video, and that the mezzanine keeps every frame, its time, its shape and its colours."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from animate_pipelines.errors import Canceled
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import Mezzanine, read_mezzanine, write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.size import fitted_size
from animate_pipelines.media.video_info import VideoInfo
from tests.media.conftest import Studio

Numbers = Callable[[np.ndarray], list[int]]


def rewrite(source: Path, folder: Path, limits: MediaLimits) -> tuple[VideoInfo, Mezzanine]:
    info = probe_video(source, limits)
    return info, write_mezzanine(source, folder / "mezzanine.mp4", info, limits)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        *(("x.mp4", rate) for rate in ("24", "25", "30000/1001", "60", "120")),
        *(("x.mkv", rate) for rate in ("24000/1001", "30000/1001", "120")),
        ("x.webm", "60"),
    ],
)
def test_constant_rates_stay_exact_and_no_frame_moves(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path, name: str, rate: str
) -> None:
    codec = ["-c:v", "libvpx", "-deadline", "realtime"] if name == "x.webm" else ["-c:v", "libx264", "-bf", "2"]
    source = studio.numbered(name, 50, rate, *codec)
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.fps, info.is_variable_rate, info.num_frames) == (Fraction(rate), False, 50)
    assert info.duration_s == 50 / Fraction(rate)
    assert (mezzanine.fps, mezzanine.num_frames) == (Fraction(rate), 50)
    assert numbers(studio.decoded(mezzanine.path)) == list(range(50))


def test_variable_rate_becomes_constant_with_every_picture_at_its_time(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path
) -> None:
    # 30 fps, of which every fourth frame from the twelfth on is missing: a phone in bad light.
    times = "if(lt(N,12),N,12+floor((N-12)*4/3))/30/TB"
    timing = ["-vf", f"settb=1/90000,setpts='{times}'", "-fps_mode", "passthrough", "-enc_time_base", "1/90000"]
    source = studio.numbered("variable.mp4", 48, "30", *timing)
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.is_variable_rate, info.fps) == (True, 30)
    shown = [max(k for k in range(48) if (k if k < 12 else 12 + (k - 12) * 4 // 3) <= i) for i in range(60)]
    seen = numbers(studio.decoded(mezzanine.path))
    assert abs(len(seen) - 60) <= 1
    assert seen[:59] == shown[:59]


def test_jitter_of_milliseconds_is_not_a_variable_rate(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path
) -> None:
    timing = ["-vf", "settb=1/90000,setpts='(N/30+mod(N*7,5)*0.001)/TB'", "-fps_mode", "passthrough"]
    source = studio.numbered("jitter.mp4", 40, "30", *timing, "-enc_time_base", "1/90000")
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.fps, info.is_variable_rate) == (30, False)
    assert numbers(studio.decoded(mezzanine.path)) == list(range(40))


def test_an_edit_list_that_hides_the_first_frames(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path
) -> None:
    whole = studio.numbered("whole.mp4", 60, "30", "-c:v", "libx264", "-g", "60")
    cut = studio.folder / "cut.mp4"
    studio.ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", cut)
    shown = numbers(studio.decoded(cut))
    assert shown[0] == 15
    info, mezzanine = rewrite(cut, tmp_path, limits)
    assert info.fps == 30
    assert numbers(studio.decoded(mezzanine.path)) == shown


@pytest.mark.parametrize(("degrees", "corner"), [(90, "left bottom"), (180, "right bottom"), (270, "right top")])
def test_rotation(studio: Studio, limits: MediaLimits, tmp_path: Path, degrees: int, corner: str) -> None:
    """A white quarter at the left top of the stored picture goes where a player puts it."""
    flat, turned = studio.folder / "flat.mp4", studio.folder / f"turned{degrees}.mp4"
    box = "drawbox=x=0:y=0:w=32:h=24:color=white:t=fill"
    studio.ffmpeg("-f", "lavfi", "-i", f"color=black:s=64x48:r=30:d=0.3,{box}", "-pix_fmt", "yuv420p", flat)
    studio.ffmpeg("-display_rotation", degrees, "-i", flat, "-c", "copy", turned)
    info, mezzanine = rewrite(turned, tmp_path, limits)
    size = (64, 48) if degrees == 180 else (48, 64)
    assert (info.width, info.height) == (mezzanine.width, mezzanine.height) == size
    frame = studio.decoded(mezzanine.path)[0].mean(axis=-1)
    half_h, half_w = frame.shape[0] // 2, frame.shape[1] // 2
    left, top = "left" in corner, "top" in corner
    quarter = frame[:half_h, :] if top else frame[half_h:, :]
    quarter = quarter[:, :half_w] if left else quarter[:, half_w:]
    assert quarter.mean() > 240
    assert frame.mean() < 70


def test_sample_aspect(studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.numbered("wide.mp4", 10, "25", "-vf", "setsar=2/1")
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.width, info.height) == (mezzanine.width, mezzanine.height) == (128, 48)
    assert numbers(studio.decoded(mezzanine.path)) == list(range(10))


def test_rotation_and_sample_aspect_together(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.numbered("wide.mkv", 10, "25", "-vf", "setsar=2/1", "-c:v", "libx264")
    turned = studio.folder / "wide-turned.mp4"
    studio.ffmpeg("-display_rotation", 90, "-i", source, "-c", "copy", turned)
    info, mezzanine = rewrite(turned, tmp_path, limits)
    assert (info.width, info.height) == (mezzanine.width, mezzanine.height) == (48, 128)


def test_odd_sides_lose_one_line_and_nothing_else(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.folder / "odd.mp4"
    # 4:4:4, smooth picture: what differs is the codec's noise only.
    colours = "n=2:c0=orange:c1=navy:x0=0:y0=0:x1=65:y1=51"
    picture = f"gradients=s=66x52:r=10:d=0.5:speed=0.00001:{colours},format=yuv444p,crop=65:51:exact=1"
    studio.ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-qp", "0", source)
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.stored_width, info.stored_height, info.width, info.height) == (65, 51, 64, 50)
    before, after = studio.decoded(source)[:, :50, :64].astype(int), studio.decoded(mezzanine.path).astype(int)
    assert np.abs(before - after).mean() < 2


FITS: list[tuple[tuple[int, int], tuple[int, int], Literal["pad", "crop"], tuple[int, int]]] = [
    ((160, 90), (960, 960), "crop", (90, 90)),
    ((160, 90), (960, 960), "pad", (160, 160)),
    ((160, 90), (720, 1280), "crop", (50, 90)),
    ((160, 90), (1584, 672), "crop", (160, 68)),
    ((90, 160), (1280, 720), "pad", (284, 160)),
    ((160, 90), (1280, 720), "pad", (160, 90)),
]


@pytest.mark.parametrize(("size", "target", "fit", "expected"), FITS)
def test_fitting_cuts_or_pads_and_never_stretches(
    studio: Studio,
    limits: MediaLimits,
    tmp_path: Path,
    size: tuple[int, int],
    target: tuple[int, int],
    fit: Literal["pad", "crop"],
    expected: tuple[int, int],
) -> None:
    source = tmp_path / "source.mp4"
    disc = "geq=lum='if(lt(hypot(X-W/2,Y-H/2),20),235,60)':cb=128:cr=128"
    studio.ffmpeg("-f", "lavfi", "-i", f"color=gray:s={size[0]}x{size[1]}:r=10:d=0.5,{disc}", "-crf", "4", source)
    info = probe_video(source, limits)
    frame = fitted_size(size, target, fit)
    mezzanine = write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits, frame=frame)
    assert (mezzanine.width, mezzanine.height) == frame == expected
    picture = studio.decoded(mezzanine.path)[2].mean(axis=-1)
    rows, columns = np.nonzero(picture > 160)
    assert abs(np.ptp(rows) - 39) <= 2
    assert abs(np.ptp(columns) - 39) <= 2
    assert abs(rows.mean() - (frame[1] - 1) / 2) <= 1.5
    assert abs(columns.mean() - (frame[0] - 1) / 2) <= 1.5
    assert (picture < 16).any() == (fit == "pad" and frame != size)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_colours_survive(studio: Studio, limits: MediaLimits, tmp_path: Path, matrix: str) -> None:
    source = studio.folder / f"{matrix}.mp4"
    colour = "bt601" if matrix == "smpte170m" else "bt709"
    convert = f"scale=out_color_matrix={colour}:out_range=tv,format=yuv420p,setparams=colorspace={matrix}:range=tv"
    studio.ffmpeg("-f", "lavfi", "-i", f"color=0xC86432:s=64x48:r=10:d=0.5,format=rgb24,{convert}", source)
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert info.matrix == matrix
    assert np.abs(studio.decoded(mezzanine.path).astype(int) - (0xC8, 0x64, 0x32)).max() <= 3
    assert "yuv420p(tv, bt709, progressive)" in studio.information(mezzanine.path)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_becomes_sdr_that_is_neither_grey_nor_burnt(
    studio: Studio, limits: MediaLimits, tmp_path: Path, transfer: str
) -> None:
    """Diffuse white (58 % PQ, 75 % HLG: ITU-R BT.2408) stays bright, a mid grey stays in the middle, black black."""
    white, grey = {"smpte2084": (573, 379), "arib-std-b67": (721, 441)}[transfer]
    source = studio.folder / f"{transfer}.mp4"
    luma = f"if(lt(X,32),64,if(lt(X,64),{grey},{white}))"
    tags = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    picture = f"color=black:s=96x48:r=10:d=0.3,format=yuv420p10le,geq=lum='{luma}':cb=512:cr=512,{tags}"
    studio.ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx265", "-x265-params", "log-level=none", source)
    info, mezzanine = rewrite(source, tmp_path, limits)
    assert (info.is_hdr, info.transfer, info.primaries) == (True, transfer, "bt2020")
    frame = studio.decoded(mezzanine.path)[0].astype(int)
    black, middle, bright = (frame[24, x] for x in (16, 48, 80))
    assert black.max() <= 4
    assert 80 <= middle.mean() <= 190
    assert 180 <= bright.mean() <= 255
    assert np.ptp(bright) <= 6  # still neutral


def test_alpha_is_dropped(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.folder / "alpha.webm"
    studio.ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=red@0.5:s=64x48:r=10:d=0.5,format=yuva420p",
        "-c:v",
        "libvpx",
        "-auto-alt-ref",
        "0",
        source,
    )
    _, mezzanine = rewrite(source, tmp_path, limits)
    assert mezzanine.num_frames == 5


def test_a_video_stream_that_changes_its_size(
    studio: Studio, numbers: Numbers, limits: MediaLimits, tmp_path: Path
) -> None:
    small = studio.numbered("small.ts", 20, "25", "-c:v", "libx264", "-bf", "0", "-f", "mpegts")
    large = studio.numbered("large.ts", 20, "25", "-c:v", "libx264", "-bf", "0", "-f", "mpegts", size=(128, 96))
    source = studio.folder / "both.mkv"
    studio.ffmpeg("-i", f"concat:{small}|{large}", "-c", "copy", "-bsf:v", "setts=ts=N/25/TB", source)
    _, mezzanine = rewrite(source, tmp_path, limits)
    assert (mezzanine.width, mezzanine.height) == (64, 48)
    assert numbers(studio.decoded(mezzanine.path)) == [*range(20), *range(20)]


def test_key_frames_are_near_and_no_frame_waits_for_a_later_one(
    studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    _, mezzanine = rewrite(studio.numbered("keys.mp4", 50, "25"), tmp_path, limits)
    text = studio.ffmpeg("-i", mezzanine.path, "-c", "copy", "-f", "framecrc", "-").decode()
    rows = [line.split(",") for line in text.splitlines() if line.startswith("0,")]
    assert all(row[1] == row[2] for row in rows)  # decoding order is showing order
    keys = studio.ffmpeg(
        "-skip_frame", "nokey", "-i", mezzanine.path, "-fps_mode", "passthrough", "-f", "framecrc", "-"
    )
    assert len([line for line in keys.decode().splitlines() if line.startswith("0,")]) == 5


def test_progress_cancel_and_restart(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.folder / "long.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=640x480:r=30:d=20", "-preset", "ultrafast", source)
    info = probe_video(source, limits)
    fractions: list[float] = []

    def cancel(fraction: float) -> None:
        fractions.append(fraction)
        raise Canceled

    with pytest.raises(Canceled):
        write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits, on_fraction=cancel)
    assert len(fractions) == 1
    assert list(tmp_path.iterdir()) == []
    fractions.clear()
    written = write_mezzanine(source, tmp_path / "mezzanine.mp4", info, limits, on_fraction=fractions.append)
    assert fractions == sorted(fractions)
    assert [path.name for path in tmp_path.iterdir()] == ["mezzanine.mp4"]
    assert read_mezzanine(tmp_path / "mezzanine.mp4", limits) == written
