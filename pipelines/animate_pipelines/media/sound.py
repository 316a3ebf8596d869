"""The sound of a driving video: the track that is taken, and the ways in which it fits into an output's codec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from animate_pipelines.errors import MediaError
from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.header_text import StreamText
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.request.choices import OutputFormat

_TRIED_S = 1  # of sound, decoded and encoded to see whether that works
_AAC, _OPUS = ("-c:a", "aac", "-b:a", "192k"), ("-c:a", "libopus", "-b:a", "128k")
ENCODERS: Mapping[OutputFormat, tuple[str, ...]] = {"mp4": _AAC, "mov": _AAC, "webm": _OPUS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """One way to bring channels into a layout that a codec holds.

    filter: of FFmpeg; empty leaves them.
    note: for people; empty where nothing is lost.
    """

    filter: str = ""
    note: str = ""


# In the order in which they are tried. Opus and AAC hold these layouts; FFmpeg's rematrixing knows all layouts with a
# name, and none of channels that have no name.
MIXES = (
    Mix(),
    Mix(
        filter="aformat=channel_layouts=7.1|6.1|5.1|5.0|quad|3.0|stereo|mono",
        note="its channels were mixed to a layout that the output's codec holds",
    ),
    Mix(filter="aformat=channel_layouts=stereo", note="its channels were mixed down to stereo"),
    Mix(filter="pan=stereo|c0=c0|c1=c1", note="only its first two channels were kept: the others have no names"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What a result takes its sound from.

    path, info: the file, and its description.
    mix: the way to encode it, where it is not copied.
    """

    path: Path
    info: VideoInfo
    mix: Mix = MIXES[0]


def settle_sound(path: Path, info: VideoInfo, output_format: OutputFormat, limits: MediaLimits) -> Sound | None:
    """Return the sound of a driving video for an output of that format; None where it has none that decodes."""
    if info.audio is None:
        return None
    return Sound(path=path, info=info, mix=find_mix(path, info.container, info.audio.index, output_format, limits))


def choose_track(
    path: Path, container: Container, tracks: Sequence[StreamText], limits: MediaLimits
) -> StreamText | None:
    """Return the first of the tracks that FFmpeg decodes; None where it decodes none.

    tracks: in order of preference.
    """
    return next((track for track in tracks if can_decode(path, container, track.index, limits)), None)


def can_decode(path: Path, container: Container, index: int, limits: MediaLimits) -> bool:
    """Return whether the beginning of track `index` decodes."""
    return _runs(path, container, index, ["-f", "null", "-"], limits)


def find_mix(path: Path, container: Container, index: int, output_format: OutputFormat, limits: MediaLimits) -> Mix:
    """Return the first way in which the beginning of track `index` can be encoded; the last one where none works."""
    ways = (mix for mix in MIXES[:-1] if _runs(path, container, index, list(_trial(mix, output_format)), limits))
    return next(ways, MIXES[-1])


def _trial(mix: Mix, output_format: OutputFormat) -> Iterator[str]:
    if mix.filter:
        yield from ("-af", mix.filter)
    yield from (*ENCODERS[output_format], "-f", "null", "-")


def _runs(path: Path, container: Container, index: int, output: Sequence[str], limits: MediaLimits) -> bool:
    arguments = [*input_arguments(path, container), "-map", f"0:{index}", "-t", str(_TRIED_S), *output]
    try:
        run_ffmpeg(arguments, header_bounds(limits), field="driving_video")
    except MediaError:
        return False
    return True
