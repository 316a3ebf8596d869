"""The mezzanine: a driving video rewritten by us, so that readers of frames never meet foreign bytes.

Constant frame rate, upright, square pixels, even sides, whole frames, SDR bt709, no B-frames, a key frame at least
every 12: decord 0.6.0 (an FFmpeg of 2021) seeks in it exactly. It has no rotation, sample aspect, variable rate, fields
or edit list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from animate_pipelines.errors import MediaError, ServerError
from animate_pipelines.media.durable import written_whole
from animate_pipelines.media.ffmpeg import (
    THREADS,
    decode_bounds,
    file_url,
    header_bounds,
    input_arguments,
    run_ffmpeg,
)
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.timing import packets_of, ticks_per_second
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.request.size import Size

GOP_FRAMES = 12
OnFraction = Callable[[float], None]

_CURVES = ("bt709", "bt2020-10", "bt2020-12", "smpte170m", "iec61966-2-1")
_PROGRESS = re.compile(rb"out_time_us=(\d+)")
_SIDES = re.compile(r"^#dimensions 0: (\d+)x(\d+)$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mezzanine:
    """A video file of ours: `num_frames` pictures of `width` x `height`, frame i shown at i / fps."""

    path: Path
    width: int
    height: int
    fps: Fraction
    num_frames: int


def write_mezzanine(
    source: Path,
    destination: Path,
    info: VideoInfo,
    limits: MediaLimits,
    *,
    field: str = "driving_video",
    frame: Size | None = None,
    on_fraction: OnFraction | None = None,
) -> Mezzanine:
    """Decode all of `source` and write it to `destination`, which appears only when it is whole.

    info: the result of `probe_video` for `source`, or the part of it to write (`trim`).
    frame: (width, height), even, that the picture is cut to or set into the middle of, on black; None leaves it.
    on_fraction: called about four times a second with 0 to 1; an exception from it stops the work, which is how to
        cancel.
    Raises `MediaError` on `field` when the bytes do not decode, `MediaTooLarge` when that takes more than `limits`.
    """

    def on_tick(stdout: bytearray) -> None:
        if on_fraction is not None:
            times_us = _PROGRESS.findall(stdout, max(0, len(stdout) - 4096))
            seconds = int(times_us[-1]) / 1e6 if times_us else 0.0
            on_fraction(min(1.0, seconds / float(info.duration_s)))

    with written_whole(destination) as temporary:
        arguments = [
            *_reading(source, info),
            *_writing(info, limits, frame or (info.width, info.height)),
            file_url(temporary),
        ]
        run_ffmpeg(arguments, decode_bounds(limits), field=field, on_tick=on_tick)
        mezzanine = _read(temporary, limits, field=field)
        _check_complete(mezzanine, info, field=field)
    return replace(mezzanine, path=destination)


def read_mezzanine(path: Path, limits: MediaLimits) -> Mezzanine:
    """Read the mezzanine that an earlier `write_mezzanine` left at `path`."""
    return _read(path, limits, field=None)


def _reading(source: Path, info: VideoInfo) -> list[str]:
    # -copyts keeps the source's own clock, on which `info.start_s` is. A twentieth of the frames may be concealed.
    # A stream that changes its size goes on through the same filters, which end in one size; anew, they would lose
    # the count of frames.
    return [
        *["-threads", str(THREADS), "-copyts", "-max_error_rate", "0.05", "-reinit_filter", "0"],
        *input_arguments(source, info.container),
    ]


def _writing(info: VideoInfo, limits: MediaLimits, frame: Size) -> list[str]:
    cap = int(limits.max_duration_s * info.fps) + 1
    return [
        *["-map", f"0:{info.index}", "-vf", _filters(info, frame), "-fps_mode", "passthrough", "-frames:v", str(cap)],
        *["-c:v", "libx264", "-preset", "superfast", "-crf", "8", "-bf", "0", "-g", str(GOP_FRAMES)],
        *["-x264-params", "scenecut=0:open-gop=0:bframes=0", "-threads", str(THREADS), "-pix_fmt", "yuv420p"],
        *["-map_metadata", "-1", "-map_chapters", "-1", "-video_track_timescale", str(ticks_per_second(info.fps))],
        *["-progress", "pipe:1", "-stats_period", "0.25", "-f", "mp4", "-y"],
    ]


def _filters(info: VideoInfo, frame: Size) -> str:
    """Return the chain from a decoded frame (which FFmpeg has turned upright already) to a mezzanine frame."""
    rate = f"{info.fps.numerator}/{info.fps.denominator}"
    start = f"({info.start_s.numerator}/{info.start_s.denominator})"
    # `round=near` with less than half a frame of jitter neither repeats nor drops a frame of a constant rate;
    # `start_time` puts the first frame in the place of earlier ones that did not decode.
    timing = [f"setpts=PTS-{start}/TB", f"fps={rate}:round=near:start_time=0"]
    if info.is_part:
        # After `fps` a frame's time is its number; those before the part have negative ones.
        timing.append(f"trim=start_pts=0:end_pts={round(info.duration_s * info.fps)}")
    return ",".join([*_whole_frames(info), *timing, *_to_bt709(info), *_shape(info), *_fit(info, frame), *_tags()])


def _whole_frames(info: VideoInfo) -> list[str]:
    # Of both fields of a frame one whole frame at the same time; frames that are not flagged pass as they are.
    return ["bwdif=mode=send_frame:parity=auto:deint=interlaced"] if info.is_interlaced else []


def _to_bt709(info: VideoInfo) -> list[str]:
    if info.is_hdr:
        return _to_sdr(info)
    return _narrow(info) if info.is_wide else []


def _narrow(info: VideoInfo) -> list[str]:
    # zscale goes through linear light; an unusual or missing curve is taken as BT.709's.
    matrix = info.matrix or "bt2020nc"
    transfer = info.transfer if info.transfer in _CURVES else "bt709"
    tags = f"min={matrix}:pin={info.primaries}:tin={transfer}"
    return [f"zscale={tags}:p=bt709:t=bt709:m=bt709:r=limited,format=yuv420p"]


def _to_sdr(info: VideoInfo) -> list[str]:
    # To linear light of 203 cd/m2 (diffuse white, ITU-R BT.2408), BT.709 primaries, a curve for what is brighter.
    matrix, primaries = info.matrix or "bt2020nc", info.primaries or "bt2020"
    tags = f"min={matrix}:pin={primaries}:tin={info.transfer}"
    return [
        f"zscale={tags}:t=linear:npl=203:p=bt709,format=gbrpf32le",
        "tonemap=tonemap=mobius:desat=0",
        "zscale=tin=linear:pin=bt709:t=bt709:p=bt709:m=bt709:r=limited,format=yuv420p",
    ]


def _shape(info: VideoInfo) -> list[str]:
    upright = (
        (info.stored_height, info.stored_width) if info.rotation % 180 else (info.stored_width, info.stored_height)
    )
    exact = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    colour = f"out_color_matrix=bt709:out_range=tv:{exact}"
    if (info.width, info.height) == tuple(side - side % 2 for side in upright):
        # Cutting the odd line off keeps every other pixel as it is; scaling would blur them all.
        return [
            f"scale={upright[0]}:{upright[1]}:{colour},format=yuv420p",
            f"crop={info.width}:{info.height}:0:0:exact=1",
        ]
    return [f"scale={info.width}:{info.height}:{colour}", "format=yuv420p"]


def _fit(info: VideoInfo, frame: Size) -> list[str]:
    # Offsets are even, as chroma is; a filter that does nothing is left out.
    (width, height), (left, top) = (
        frame,
        (2 * (abs(a - b) // 4) for a, b in zip(frame, (info.width, info.height), strict=True)),
    )
    if width < info.width or height < info.height:
        return [f"crop={width}:{height}:{left}:{top}:exact=1"]
    return [f"pad={width}:{height}:{left}:{top}:black"] if frame != (info.width, info.height) else []


def _tags() -> list[str]:
    return ["setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709", "setsar=1"]


def _read(path: Path, limits: MediaLimits, *, field: str | None) -> Mezzanine:
    arguments = ["-copyts", *input_arguments(path, "mov"), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    text = run_ffmpeg(arguments, header_bounds(limits), field=field).stdout.decode("ascii", "replace")
    packets, sides = packets_of(text, 0), _SIDES.search(text)
    if not packets.times or sides is None:
        subject = "{field}" if field else "the mezzanine"
        raise MediaError(f"{subject} has no frames that can be decoded", field=field, value=0)
    step, off = divmod(packets.times[-1] - packets.times[0], max(1, len(packets.times) - 1))
    step = step or packets.durations[0]
    if off or packets.times != tuple(range(packets.times[0], packets.times[0] + step * len(packets.times), step)):
        raise ServerError("the mezzanine's frames are not evenly spaced")
    return Mezzanine(
        path=path,
        width=int(sides[1]),
        height=int(sides[2]),
        fps=1 / (step * packets.tick_s),
        num_frames=len(packets.times),
    )


def _check_complete(mezzanine: Mezzanine, info: VideoInfo, *, field: str) -> None:
    expected = round(info.duration_s * info.fps)
    decoded = mezzanine.num_frames - info.missing_frames
    if mezzanine.num_frames < 0.9 * expected - 1 or 2 * decoded < expected:
        message = f"{{field}} is damaged: only {decoded} of {expected} frames can be decoded"
        raise MediaError(message, field=field, value=decoded, limit=expected)
