"""Pieces, the source's audio and a few words about the render, joined into the MP4 that the caller gets."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Literal

from animate_pipelines.errors import MediaError, ServerError
from animate_pipelines.media.durable import written_whole
from animate_pipelines.media.ffmpeg import decode_bounds, file_url, header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.probe import AudioInfo, VideoInfo
from animate_pipelines.media.timing import packets_of, ticks_per_second

AudioTreatment = Literal["none", "copied", "encoded"]

# What MP4 holds and players play from it. Vorbis and PCM have a place in MP4 too, but few players look there.
_COPIED_CODECS = {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"}


def join_pieces(
    pieces: Sequence[Path],
    destination: Path,
    *,
    audio_source: Path | None,
    source_info: VideoInfo,
    num_frames: int,
    fps: Fraction,
    metadata: dict[str, str],
    limits: MediaLimits | None = None,
    field: str = "driving_video",
) -> AudioTreatment:
    """Write `destination`: the frames of `pieces` in order, frame i shown at i / fps exactly, and the source's audio.

    audio_source: the driving video as it came, described by `source_info`; None leaves the audio out. Its audio keeps
    its offset to its video and is cut at the end of the frames; it is copied where MP4 can hold it, else made AAC.
    num_frames: how many frames the pieces must have; `ServerError` when they do not.
    Returns what was done to the audio.
    """
    limits = limits or MediaLimits()
    audio = source_info.audio
    if audio is not None and audio.first_packet_s - source_info.start_s + audio.packet_s > num_frames / fps:
        audio = None  # it begins after the last frame
    with written_whole(destination) as temporary:
        ending = [*_tags(metadata), "-f", "mp4", "-y", file_url(temporary)]
        if audio is None or audio_source is None:
            _run(pieces, [*_video(fps), *ending], limits, field=None)
            treatment: AudioTreatment = "none"
        else:
            source = _Source(audio_source, source_info, audio, num_frames / fps)
            treatment = _run_with_audio(pieces, source, _video(fps), ending, limits, field)
        _check_frames(temporary, num_frames, fps, limits)
    return treatment


class _Source:
    """The arguments that take the audio from the driving video."""

    def __init__(self, path: Path, info: VideoInfo, audio: AudioInfo, duration_s: Fraction) -> None:
        self.audio = audio
        self.duration_s = duration_s
        # On this clock the first video frame stands at 0, as it does in the pieces.
        offset = ["-itsoffset", f"{-float(info.start_s):.6f}"]
        self.opening = [*offset, *input_arguments(path, info.container)]
        self.map = ["-map", f"1:{audio.index}"]

    def copying(self) -> list[str]:
        # A packet that would end after the last frame is dropped: the file must not last longer than its video.
        last_s = float(self.duration_s - self.audio.packet_s)
        return [*self.map, "-c:a", "copy", "-bsf:a", f"noise=amount=0:drop=gt(pts*tb\\,{last_s:.6f})"]

    def encoding(self) -> list[str]:
        end_s = f"{float(self.duration_s):.6f}"
        filters = f"aresample=async=1:first_pts=0,atrim=end={end_s}"
        return [*self.map, "-af", filters, "-c:a", "aac", "-b:a", "192k"]


def _run_with_audio(
    pieces: Sequence[Path], source: _Source, video: list[str], ending: list[str], limits: MediaLimits, field: str
) -> AudioTreatment:
    if source.audio.codec in _COPIED_CODECS:
        try:
            _run(pieces, [*source.opening, *video, *source.copying(), *ending], limits, field=field)
            return "copied"
        except MediaError:
            pass  # a variant that MP4 does not hold; what decodes can still be encoded
    _run(pieces, [*source.opening, *video, *source.encoding(), *ending], limits, field=field)
    return "encoded"


def _run(pieces: Sequence[Path], arguments: list[str], limits: MediaLimits, *, field: str | None) -> None:
    script = "ffconcat version 1.0\n" + "".join(f"file {_quoted(piece)}\n" for piece in pieces)
    opening = ["-copyts", "-protocol_whitelist", "file,pipe", "-f", "concat", "-safe", "0", "-i", "pipe:0"]
    run_ffmpeg([*opening, *arguments], decode_bounds(limits), field=field, stdin=memoryview(script.encode()))


def _quoted(piece: Path) -> str:
    return "'" + file_url(piece).replace("'", "'\\''") + "'"


def _video(fps: Fraction) -> list[str]:
    # The concat demuxer adds durations that are rounded to microseconds; the times are set anew from the frame numbers.
    rate = ticks_per_second(fps)
    step = rate * fps.denominator // fps.numerator
    times = f"setts=time_base=1/{rate}:pts=N*{step}:dts=N*{step}:duration={step}"
    return ["-map", "0:v:0", "-c:v", "copy", "-bsf:v", times, "-video_track_timescale", str(rate)]


def _tags(metadata: dict[str, str]) -> list[str]:
    pairs = [part for key, value in metadata.items() for part in ("-metadata", f"{key}={value}")]
    clean = ["-map_metadata", "-1", "-map_chapters", "-1"]
    return [*clean, *pairs, "-movflags", "+faststart+use_metadata_tags"]


def _check_frames(path: Path, num_frames: int, fps: Fraction, limits: MediaLimits) -> None:
    arguments = ["-copyts", *input_arguments(path, "mov"), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    outcome = run_ffmpeg(arguments, header_bounds(limits), field=None)
    packets = packets_of(outcome.stdout.decode("ascii", "replace"), 0)
    times = [time * packets.tick_s for time in packets.times]
    if times != [i / fps for i in range(num_frames)]:
        raise ServerError(
            f"the joined video has {len(times)} frames, or not at their times; {num_frames} were rendered"
        )
