"""Reads the `VideoInfo` of a driving video from its header, the times of its packets, and its first dozen frames.

FFmpeg's header text gives shape and codecs; it rounds rates to two decimals, so the exact rate comes from the packet
times that its framecrc muxer prints.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.first_frames import read_first_frames
from animate_pipelines.media.header import HEAD_BYTES, check_family, check_file_size, check_shape
from animate_pipelines.media.header_text import HeaderText, StreamText, read_header_text
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.sound import choose_track
from animate_pipelines.media.timing import Packets, Timing, packets_of, timing_of
from animate_pipelines.media.video_info import AudioInfo, VideoInfo
from animate_pipelines.request.size import Size

# FFmpeg says so, and then goes on with what there is.
_CUT_SHORT = ("partial file", "File ended prematurely", "Truncat")


def probe_video(path: Path, limits: MediaLimits, *, field: str = "driving_video") -> VideoInfo:
    """Return the description of the video at `path`.

    Raises `MediaError` or `MediaTooLarge` on `field` for a video that is not within `limits`.
    """
    container = check_video_file(path, limits, field=field)
    header, film = _read_film(path, container, limits, field=field)
    rotation = round(-film.rotation) % 360
    stored_width, stored_height, width, height = _sides(film, rotation, field=field)
    _check_sides(width, height, stored_width, stored_height, limits, field=field)
    track = choose_track(path, container, header.audios, limits)
    packets, audio = _read_packets(path, container, film, track, limits, field=field)
    timing = timing_of(packets, limits.max_fps, stated_fps=film.fps, field=field)
    check_timing(timing, limits, field=field)
    first = read_first_frames(path, container, film.index, limits, field=field)
    matrix, primaries, transfer = film.colour
    return VideoInfo(
        container=container,
        index=film.index,
        codec=film.codec,
        width=width,
        height=height,
        stored_width=stored_width,
        stored_height=stored_height,
        fps=timing.fps,
        stored_fps=timing.stored_fps,
        is_variable_rate=timing.is_variable,
        num_frames=timing.num_frames,
        start_s=timing.start_s,
        duration_s=timing.duration_s,
        missing_s=max(Fraction(0), first.first_s - timing.start_s) if first else Fraction(0),
        rotation=rotation,
        pixel_format=film.pixel_format,
        is_interlaced=film.is_interlaced or (first is not None and first.is_interlaced),
        transfer=transfer,
        matrix=matrix,
        primaries=primaries,
        audio=_audio_info(track, audio, is_preferred=header.audios[:1] == (track,)),
        tracks=tuple(stream.codec for stream in header.audios),
    )


def stated_duration_s(path: Path, limits: MediaLimits, *, field: str) -> float | None:
    """Return how long a video lasts by its header; None where that does not say.

    Raises `MediaError` or `MediaTooLarge` on `field` for a file that cannot be read.
    """
    container = check_video_file(path, limits, field=field)
    return _read_header(path, container, limits, field=field).duration_s


def check_length(duration_s: float, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaTooLarge` for a video that lasts too long."""
    if duration_s > limits.max_duration_s:
        raise _too_long(duration_s, limits, field=field)


def check_video_file(path: Path, limits: MediaLimits, *, field: str) -> Container:
    """Check the size of the video at `path`, and return its container by its first bytes."""
    check_file_size(path.stat().st_size, limits, field=field)
    with path.open("rb") as stream:
        return check_family(stream.read(HEAD_BYTES), "video", field=field).container


def check_timing(timing: Timing, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaTooLarge` when frames come too fast or go on for too long."""
    fps = timing.mean_fps if timing.is_variable else timing.stored_fps
    if fps > limits.max_stored_fps:
        raise _too_fast(float(fps), limits, field=field)
    # "Ten minutes" at 29.97 fps end within the frame that begins before the limit.
    if timing.duration_s - 1 / timing.fps >= limits.max_duration_s:
        raise _too_long(float(timing.duration_s), limits, field=field)


def _too_fast(fps: float, limits: MediaLimits, *, field: str) -> MediaTooLarge:
    message = f"{{field}} has {fps:g} frames a second; the limit is {limits.max_stored_fps}"
    return MediaTooLarge(message, field=field, value=round(fps, 3), limit=f"{limits.max_stored_fps} fps")


def _too_long(duration_s: float, limits: MediaLimits, *, field: str) -> MediaTooLarge:
    message = f"{{field}} lasts {duration_s:.1f} s; the limit is {limits.max_duration_s:g} s"
    return MediaTooLarge(message, field=field, value=round(duration_s, 3), limit=f"{limits.max_duration_s:g} s")


def _read_header(path: Path, container: Container, limits: MediaLimits, *, field: str) -> HeaderText:
    # An output of no packets makes FFmpeg print the input's header and end well.
    arguments = [*input_arguments(path, container), "-map", "0:v?", "-map", "0:a?", "-c", "copy", "-t", "0"]
    return read_header_text(run_ffmpeg([*arguments, "-f", "null", "-"], header_bounds(limits), field=field).stderr)


def _read_film(path: Path, container: Container, limits: MediaLimits, *, field: str) -> tuple[HeaderText, StreamText]:
    """Return the header and the one stream of pictures, whose rate and length the header does not forbid."""
    header = _read_header(path, container, limits, field=field)
    film = _only_film(header, field=field)
    _check_header_rates(header, film, limits, field=field)
    return header, film


def _only_film(header: HeaderText, *, field: str) -> StreamText:
    if len(header.films) != 1:
        message = f"{{field}} has {len(header.films)} video streams; it must have exactly one"
        raise MediaError(message, field=field, value=len(header.films), limit=1)
    return header.films[0]


def _sides(film: StreamText, rotation: int, *, field: str) -> tuple[int, int, int, int]:
    sides = film.sides
    if sides is None:
        raise MediaError("{field} has a video stream of no known size", field=field)
    stored_width, stored_height, over, under = sides
    width, height = _square(stored_width, stored_height, Fraction(over, under or 1) or Fraction(1))
    return (stored_width, stored_height, height, width) if rotation % 180 == 90 else (*sides[:2], width, height)


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


def _check_header_rates(header: HeaderText, film: StreamText, limits: MediaLimits, *, field: str) -> None:
    # 1 s of grace: the header speaks of the longest stream, and the packets are counted exactly later.
    if header.duration_s is not None and header.duration_s > limits.max_duration_s + 1:
        raise _too_long(header.duration_s, limits, field=field)
    if film.fps is not None and film.fps > limits.max_stored_fps + 0.5:
        raise _too_fast(film.fps, limits, field=field)


def _read_packets(
    path: Path, container: Container, film: StreamText, track: StreamText | None, limits: MediaLimits, *, field: str
) -> tuple[Packets, Packets | None]:
    maps = ["-map", f"0:{film.index}"]
    if track is not None:
        maps += ["-map", f"0:{track.index}"]
    arguments = ["-copyts", *input_arguments(path, container), *maps, "-c", "copy", "-copyinkf", "-f", "framecrc", "-"]
    outcome = run_ffmpeg(arguments, header_bounds(limits), field=field)
    for sign in _CUT_SHORT:
        if sign in outcome.stderr:
            raise MediaError("{field} is cut short: the file ends before its content does", field=field)
    text = outcome.stdout.decode("ascii", "replace")
    audio = packets_of(text, 1) if track is not None else None
    return packets_of(text, 0), audio if audio is not None and audio.times else None


def _audio_info(track: StreamText | None, packets: Packets | None, *, is_preferred: bool) -> AudioInfo | None:
    if packets is None or track is None:
        return None
    return AudioInfo(
        index=track.index,
        codec=track.codec,
        layout=track.layout,
        is_preferred=is_preferred,
        first_packet_s=packets.times[0] * packets.tick_s,
        packet_s=max(packets.durations) * packets.tick_s,
    )
