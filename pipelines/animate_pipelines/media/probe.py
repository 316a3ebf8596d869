"""Reads the `VideoInfo` of a driving video from its header and the times of its packets. No picture is decoded.

Rival: ffprobe, which imageio-ffmpeg does not ship. FFmpeg's header text gives shape and codecs; it rounds rates to two
decimals, so the exact rate comes from the packet times that its framecrc muxer prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.header import HEAD_BYTES, check_family, check_file_size, check_shape
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.timing import Packets, Timing, packets_of, timing_of
from animate_pipelines.media.video_info import AudioInfo, VideoInfo
from animate_pipelines.request.size import Size

_STREAM = re.compile(
    r"^\[info\]   Stream #0:(\d+)(?:\[\w+\])?(?:\([^)]*\))?: (Video|Audio|Subtitle|Data|Attachment)\b(.*)$"
)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d+)")
_ROTATION = re.compile(r"^\[info\] +Display Matrix: rotation of (-?[\d.]+) degrees", re.I)
_SIDES = re.compile(r", ([1-9]\d*)x([1-9]\d*)(?:,? \[?SAR (\d+):(\d+) )?")
_FPS = re.compile(r" ([\d.]+)(k?) fps\b")
_DEFAULT = "(default)"
_PIXELS = re.compile(r"^: [^,]*(?:\([^)]*\)[^,]*)*, ([a-z][a-z0-9]*)(?:\(([^)]*)\))?,")
_CODEC = re.compile(r"^: ([a-z0-9_]+)")
# FFmpeg says so, and then goes on with what there is.
_CUT_SHORT = ("partial file", "File ended prematurely", "Truncat")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    index: int
    description: str
    num_audios: int
    audio_index: int | None
    audio_codec: str
    rotation: int
    duration_s: float | None


def probe_video(path: Path, limits: MediaLimits, *, field: str = "driving_video") -> VideoInfo:
    """Return the description of the video at `path`.

    Raises `MediaError` or `MediaTooLarge` on `field` for a video that is not within `limits`.
    """
    container = check_video_file(path, limits, field=field)
    header = _read_header(path, container, limits, field=field)
    stored_width, stored_height, width, height = _sides(header, field=field)
    _check_sides(width, height, stored_width, stored_height, limits, field=field)
    _check_header_rates(header, limits, field=field)
    packets, audio = _read_packets(path, container, header, limits, field=field)
    timing = timing_of(packets, limits.max_fps, stated_fps=_stated_fps(header), field=field)
    check_timing(timing, limits, field=field)
    pixel_format, matrix, primaries, transfer = _colour(header.description)
    return VideoInfo(
        container=container,
        index=header.index,
        codec=_first(_CODEC, header.description),
        width=width,
        height=height,
        stored_width=stored_width,
        stored_height=stored_height,
        fps=timing.fps,
        is_variable_rate=timing.is_variable,
        num_frames=timing.num_frames,
        start_s=timing.start_s,
        duration_s=timing.duration_s,
        rotation=header.rotation,
        pixel_format=pixel_format,
        transfer=transfer,
        matrix=matrix,
        primaries=primaries,
        audio=_audio_info(header, audio),
        num_audios=header.num_audios,
    )


def check_video_file(path: Path, limits: MediaLimits, *, field: str) -> Container:
    """Check the size of the video at `path`, and return its container by its first bytes."""
    check_file_size(path.stat().st_size, limits, field=field)
    with path.open("rb") as stream:
        return check_family(stream.read(HEAD_BYTES), "video", field=field).container


def check_timing(timing: Timing, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaTooLarge` when frames come too fast or go on for too long."""
    fps = timing.mean_fps if timing.is_variable else timing.fps
    if fps > limits.max_fps:
        raise _too_fast(float(fps), limits, field=field)
    # "Ten minutes" at 29.97 fps end within the frame that begins before the limit.
    if timing.duration_s - 1 / timing.fps >= limits.max_duration_s:
        raise _too_long(float(timing.duration_s), limits, field=field)


def _too_fast(fps: float, limits: MediaLimits, *, field: str) -> MediaTooLarge:
    message = f"{{field}} has {fps:g} frames a second; the limit is {limits.max_fps}"
    return MediaTooLarge(message, field=field, value=round(fps, 3), limit=f"{limits.max_fps} fps")


def _too_long(duration_s: float, limits: MediaLimits, *, field: str) -> MediaTooLarge:
    message = f"{{field}} lasts {duration_s:.1f} s; the limit is {limits.max_duration_s:g} s"
    return MediaTooLarge(message, field=field, value=round(duration_s, 3), limit=f"{limits.max_duration_s:g} s")


def _read_header(path: Path, container: Container, limits: MediaLimits, *, field: str) -> _Header:
    # An output of no packets makes FFmpeg print the input's header and end well.
    arguments = [*input_arguments(path, container), "-map", "0:v?", "-map", "0:a?", "-c", "copy", "-t", "0"]
    outcome = run_ffmpeg([*arguments, "-f", "null", "-"], header_bounds(limits), field=field)
    lines = _header_lines(outcome.stderr)
    videos, audios = _streams(lines, "Video"), _streams(lines, "Audio")
    if len(videos) != 1:
        message = f"{{field}} has {len(videos)} video streams; it must have exactly one"
        raise MediaError(message, field=field, value=len(videos), limit=1)
    if len(audios) > limits.max_audio_streams:
        message = f"{{field}} has {len(audios)} audio streams; the limit is {limits.max_audio_streams}"
        raise MediaTooLarge(message, field=field, value=len(audios), limit=limits.max_audio_streams)
    rotations = [match[1] for line in lines if (match := _ROTATION.search(line))]
    index, description = videos[0]
    audio_index, audio = next(
        (stream for stream in audios if _DEFAULT in stream[1]), audios[0] if audios else (None, "")
    )
    return _Header(
        index=index,
        description=description,
        num_audios=len(audios),
        audio_index=audio_index,
        audio_codec=_first(_CODEC, audio) if audio else "",
        rotation=round(-float(rotations[0])) % 360 if rotations else 0,
        duration_s=_duration(lines),
    )


def _header_lines(stderr: str) -> list[str]:
    lines = stderr.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("[info] Input #0")), 0)
    ends = (i for i, line in enumerate(lines) if line.startswith(("[info] Stream mapping", "[info] Output #0")))
    return lines[start : next(ends, len(lines))]


def _streams(lines: list[str], kind: str) -> list[tuple[int, str]]:
    streams = [(int(m[1]), m[3]) for line in lines if (m := _STREAM.match(line)) and m[2] == kind]
    return [(index, text) for index, text in streams if "(attached pic)" not in text]


def _duration(lines: list[str]) -> float | None:
    for line in lines:
        if match := _DURATION.match(line):
            return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return None


def _sides(header: _Header, *, field: str) -> tuple[int, int, int, int]:
    match = _SIDES.search(header.description)
    if match is None:
        raise MediaError("{field} has a video stream of no known size", field=field)
    stored_width, stored_height = int(match[1]), int(match[2])
    aspect = Fraction(int(match[3] or 1), int(match[4] or 1) or 1) or Fraction(1)
    width, height = _square(stored_width, stored_height, aspect)
    if header.rotation % 180 == 90:
        width, height = height, width
    return stored_width, stored_height, width, height


def _square(width: int, height: int, aspect: Fraction) -> Size:
    # The shorter way is stretched, never the longer one squeezed, so that no detail is lost.
    if aspect > 1:
        return _even_down(round(width * aspect)), _even_down(height)
    return _even_down(width), _even_down(round(height / aspect))


def _even_down(side: int) -> int:
    return side - side % 2


def _check_sides(
    width: int, height: int, stored_width: int, stored_height: int, limits: MediaLimits, *, field: str
) -> None:
    longest = max(width, height, stored_width, stored_height)
    if longest > limits.max_side_px:
        message = f"{{field}} is {width}x{height}; the limit is {limits.max_side_px} pixels a side"
        raise MediaTooLarge(message, field=field, value=f"{width}x{height}", limit=f"{limits.max_side_px} px")
    check_shape(width, height, limits, field=field)


def _check_header_rates(header: _Header, limits: MediaLimits, *, field: str) -> None:
    # 1 s of grace: the header speaks of the longest stream, and the packets are counted exactly later.
    if header.duration_s is not None and header.duration_s > limits.max_duration_s + 1:
        raise _too_long(header.duration_s, limits, field=field)
    fps = _stated_fps(header)
    if fps is not None and fps > limits.max_fps + 0.5:
        raise _too_fast(fps, limits, field=field)


def _stated_fps(header: _Header) -> float | None:
    match = _FPS.search(header.description)
    return float(match[1]) * (1000 if match[2] else 1) if match else None


def _read_packets(
    path: Path, container: Container, header: _Header, limits: MediaLimits, *, field: str
) -> tuple[Packets, Packets | None]:
    maps = ["-map", f"0:{header.index}"]
    if header.audio_index is not None:
        maps += ["-map", f"0:{header.audio_index}"]
    arguments = ["-copyts", *input_arguments(path, container), *maps, "-c", "copy", "-copyinkf", "-f", "framecrc", "-"]
    outcome = run_ffmpeg(arguments, header_bounds(limits), field=field)
    for sign in _CUT_SHORT:
        if sign in outcome.stderr:
            raise MediaError("{field} is cut short: the file ends before its content does", field=field)
    text = outcome.stdout.decode("ascii", "replace")
    audio = packets_of(text, 1) if header.audio_index is not None else None
    return packets_of(text, 0), audio if audio is not None and audio.times else None


def _audio_info(header: _Header, packets: Packets | None) -> AudioInfo | None:
    if packets is None or header.audio_index is None:
        return None
    return AudioInfo(
        index=header.audio_index,
        codec=header.audio_codec,
        first_packet_s=packets.times[0] * packets.tick_s,
        packet_s=max(packets.durations) * packets.tick_s,
    )


def _colour(description: str) -> tuple[str, str | None, str | None, str | None]:
    """Return (pixel format, matrix, primaries, transfer).

    description: such as `yuv420p10le(tv, bt2020nc/bt2020/smpte2084, progressive)`.
    """
    match = _PIXELS.match(description)
    if match is None:
        return "unknown", None, None, None
    for part in (match[2] or "").split(", "):
        names = part.split("/")
        if len(names) == 3:
            matrix, primaries, transfer = (None if name == "unknown" else name for name in names)
            return match[1], matrix, primaries, transfer
        if part.startswith(("bt", "smpte")):
            return match[1], part, part, part  # all three are the same
    return match[1], None, None, None


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else "unknown"
