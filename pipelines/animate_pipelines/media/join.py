"""Joins pieces, the source's audio and a few tags about the render into the file that the caller gets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from animate_pipelines.errors import MediaError, MediaTooLarge, ServerError
from animate_pipelines.media.container import Container
from animate_pipelines.media.durable import written_whole
from animate_pipelines.media.ffmpeg import THREADS, decode_bounds, file_url, header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.sound import ENCODERS, MIXES, Mix
from animate_pipelines.media.timing import packets_of, ticks_per_second
from animate_pipelines.media.video_info import AudioInfo, VideoInfo
from animate_pipelines.request.choices import OutputFormat
from animate_pipelines.request.params import DEFAULT_QUALITY

AudioTreatment = Literal["none", "copied", "encoded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What became of the sound.

    warning: for people; empty where all of it is there.
    """

    audio: AudioTreatment
    warning: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """One output format.

    muxer: FFmpeg's name for it.
    container: the container it is read as.
    copied: the audio codecs it takes as they are.
    options: of the muxer.
    reencodes: whether it cannot hold the pieces' H.264.
    """

    muxer: str
    container: Container
    copied: frozenset[str]
    options: tuple[str, ...] = ()
    reencodes: bool = False


_WHOLE_FIRST = ("-movflags", "+faststart+use_metadata_tags")
# What players play from each. Vorbis and PCM have a place in MP4 too, but few players look there.
_MP4_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_FORMATS: Mapping[OutputFormat, _Format] = {
    "mp4": _Format(muxer="mp4", container="mov", copied=_MP4_CODECS, options=_WHOLE_FIRST),
    "mov": _Format(muxer="mov", container="mov", copied=frozenset({"aac", "mp3", "ac3", "alac"}), options=_WHOLE_FIRST),
    "webm": _Format(
        muxer="webm",
        container="matroska",
        copied=frozenset({"opus", "vorbis"}),
        reencodes=True,
    ),
}


def join_pieces(
    pieces: Sequence[Path],
    destination: Path,
    *,
    audio_source: Path | None,
    source_info: VideoInfo | None,
    num_frames: int,
    fps: Fraction,
    metadata: dict[str, str],
    output_format: OutputFormat = "mp4",
    quality: int = DEFAULT_QUALITY,
    limits: MediaLimits | None = None,
    mix: Mix = MIXES[0],
    field: str = "driving_video",
) -> Joined:
    """Write `destination`: the frames of `pieces` in order, frame i shown at i / fps exactly, and the source's audio.

    WebM holds neither H.264 nor finer times than a millisecond: there the frames are encoded again as VP9.

    audio_source: the driving video as it came; None leaves the audio out. Its audio keeps its offset to its video and
        is cut at the end of the frames; it is copied where the format can hold it and the video is used from its
        beginning, else made AAC (Opus in WebM).
    source_info, field: the description of `audio_source`, and its field in the request.
    num_frames: the number of frames that the pieces must have.
    mix: the first way to try where the audio is encoded; see `find_mix`.
    Returns what became of the audio: where it can neither be copied nor encoded, the video is written without it.
    Raises `ServerError` for another number of frames.
    """
    limits = limits or MediaLimits()
    source = _audible(audio_source, source_info, output_format, num_frames / fps, mix)
    with written_whole(destination) as temporary:
        form = _FORMATS[output_format]
        video = _vp9(fps, quality) if form.reencodes else _copied(fps)
        ending = [*_tags(metadata), *form.options, "-f", form.muxer, "-y", file_url(temporary)]
        joined = _write(pieces, source, video, ending, limits, field)
        _check_frames(temporary, form.container, num_frames, fps, limits)
    return joined


class _Source:
    """The arguments that take the audio from the driving video."""

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        audio: AudioInfo,
        output_format: OutputFormat,
        duration_s: Fraction,
        mix: Mix,
    ) -> None:
        self.audio = audio
        self.duration_s = duration_s
        self.encoder = ENCODERS[output_format]
        self.mixes = MIXES[MIXES.index(mix) :]
        # Packets cannot be cut: copied sound would begin up to a packet off where only a part of the video is meant.
        self.can_copy = audio.codec in _FORMATS[output_format].copied and info.cut_s == 0
        # On this clock the first video frame stands at 0, as it does in the pieces.
        offset = ["-itsoffset", f"{-float(info.start_s):.6f}"]
        self.opening = [*offset, *input_arguments(path, info.container)]
        self.map = ["-map", f"1:{audio.index}"]

    def ways(self) -> Iterator[tuple[list[str], Joined]]:
        """Yield arguments, the best first, with what they make of the audio."""
        if self.can_copy:
            yield self._copying(), Joined(audio="copied")
        for mix in self.mixes:
            warning = f"the sound is {self.audio.layout}: {mix.note}" if mix.note else ""
            yield self._encoding(mix), Joined(audio="encoded", warning=warning)

    def _copying(self) -> list[str]:
        # A packet that would end after the last frame is dropped: the file must not last longer than its video.
        last_s = float(self.duration_s - self.audio.packet_s)
        return [*self.map, "-c:a", "copy", "-bsf:a", f"noise=amount=0:drop=gt(pts*tb\\,{last_s:.6f})"]

    def _encoding(self, mix: Mix) -> list[str]:
        timing = ["aresample=async=1:first_pts=0", f"atrim=end={float(self.duration_s):.6f}"]
        return [*self.map, "-af", ",".join([*timing, *([mix.filter] if mix.filter else [])]), *self.encoder]


def _audible(
    path: Path | None, info: VideoInfo | None, output_format: OutputFormat, duration_s: Fraction, mix: Mix
) -> _Source | None:
    """Return the audio of a video; None without any before the end of `duration_s` seconds of frames."""
    if path is None or info is None or info.audio is None:
        return None
    begins_s = info.audio.first_packet_s - info.start_s
    if begins_s + info.audio.packet_s > duration_s:
        return None
    return _Source(path, info, info.audio, output_format, duration_s, mix)


def _write(
    pieces: Sequence[Path], source: _Source | None, video: list[str], ending: list[str], limits: MediaLimits, field: str
) -> Joined:
    """Write the video with its audio, where it has any, in the first way that works, or without it."""
    if source is None:
        _run(pieces, [*video, *ending], limits, field=None)
        return Joined(audio="none")
    reason = ""
    for audio, joined in source.ways():
        try:
            _run(pieces, [*source.opening, *video, *audio, *ending], limits, field=field)
            return joined
        except MediaTooLarge as error:  # another way would take as much
            reason = error.named({field: "the sound"}).message
            break
        except MediaError as error:
            reason = error.named({field: "it"}).message
    _run(pieces, [*video, *ending], limits, field=None)
    return Joined(audio="none", warning=f"the sound could not be written: {reason}; the result is silent")


def _run(pieces: Sequence[Path], arguments: list[str], limits: MediaLimits, *, field: str | None) -> None:
    script = "ffconcat version 1.0\n" + "".join(f"file {_quoted(piece)}\n" for piece in pieces)
    opening = ["-copyts", "-protocol_whitelist", "file,pipe", "-f", "concat", "-safe", "0", "-i", "pipe:0"]
    run_ffmpeg([*opening, *arguments], decode_bounds(limits), field=field, stdin=memoryview(os.fsencode(script)))


def _quoted(piece: Path) -> str:
    return "'" + file_url(piece).replace("'", "'\\''") + "'"


def _copied(fps: Fraction) -> list[str]:
    # The concat demuxer adds durations that are rounded to microseconds; the times are set anew from the frame numbers.
    rate = ticks_per_second(fps)
    step = rate * fps.denominator // fps.numerator
    times = f"setts=time_base=1/{rate}:pts=N*{step}:dts=N*{step}:duration={step}"
    return ["-map", "0:v:0", "-c:v", "copy", "-bsf:v", times, "-video_track_timescale", str(rate)]


def _vp9(fps: Fraction, quality: int) -> list[str]:
    # Of VP9's scale of 0 to 63, 18 for a quality of 95: the step after x264's 16 must lose little. FFmpeg's 720p test
    # picture goes through at 22 frames a second with two threads on a small CPU.
    times = f"settb=1/{ticks_per_second(fps)},setpts=N/({fps.numerator}/{fps.denominator})/TB"
    rate = ["-crf", str(round(18 + (DEFAULT_QUALITY - quality) * 0.6)), "-b:v", "0"]
    speed = ["-deadline", "good", "-cpu-used", "4", "-row-mt", "1", "-threads", str(THREADS), "-g", "120"]
    return ["-map", "0:v:0", "-vf", times, "-fps_mode", "passthrough", "-c:v", "libvpx-vp9", *rate, *speed]


def _tags(metadata: dict[str, str]) -> list[str]:
    pairs = [part for key, value in metadata.items() for part in ("-metadata", f"{key}={value}")]
    return ["-map_metadata", "-1", "-map_chapters", "-1", *pairs]


def _check_frames(path: Path, container: Container, num_frames: int, fps: Fraction, limits: MediaLimits) -> None:
    arguments = ["-copyts", *input_arguments(path, container), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    outcome = run_ffmpeg(arguments, header_bounds(limits), field=None)
    packets = packets_of(outcome.stdout.decode("ascii", "replace"), 0)
    # A tick off in WebM, whose ticks are milliseconds; none in the others, whose ticks divide the frames' times.
    tick_s = packets.tick_s if container == "matroska" else 0
    off = [abs(time * packets.tick_s - i / fps) > tick_s for i, time in enumerate(packets.times)]
    if len(off) != num_frames or any(off):
        raise ServerError(f"the joined video has {len(off)} frames, or not at their times; {num_frames} were rendered")
