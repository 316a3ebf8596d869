"""Reads the streams of a file from what FFmpeg prints about its header.

Rival: a machine-readable listing. FFmpeg 9 alone, without ffprobe, has none of inputs: `-print_graphs` shows what is
decoded only, framecrc names codec and size of what is mapped but neither rotation, scan, colours nor which is default.
So the text is read, by what has stayed the same in it since FFmpeg 4: `Stream #0:INDEX`, a kind, a description. Streams
of a group (a timecode track, IAMF, LCEVC, tiles of a grid) are printed deeper, below `Stream group #0:INDEX`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STREAM = re.compile(
    r"^\[info\] +Stream #0:(\d+)(?:\[\w+\])?(?:\([^)]*\))?: (Video|Audio|Subtitle|Data|Attachment)\b(.*)$"
)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d\d):(\d\d\.\d+)")
_ROTATION = re.compile(r"^\[info\] +Display Matrix: rotation of (-?[\d.]+) degrees", re.I)
_SIDES = re.compile(r", ([1-9]\d*)x([1-9]\d*)(?:,? \[?SAR (\d+):(\d+) )?")
_FPS = re.compile(r" ([\d.]+)(k?) fps\b")
_PIXELS = re.compile(r"^: [^,]*(?:\([^)]*\)[^,]*)*, ([a-z][a-z0-9]*)(?:\(([^)]*(?:\([^)]*\)[^)]*)*)\))?,")
_CODEC = re.compile(r"^: ([a-z0-9_]+)")
_LAYOUT = re.compile(r"\d+ Hz, ([^,]+)")
# Pictures that belong to another stream: covers, thumbnails, and layers that only add to one.
_NO_FILM = ("(attached pic)", "(timed thumbnails)", "(still image)", "(dependent)")
_LAYER_CODECS = ("lcevc",)
_INTERLACED = ("top first", "bottom first", "top coded first", "bottom coded first")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamText:
    """One stream as FFmpeg describes it.

    text: from the colon behind its kind to the end of the line.
    rotation: degrees anticlockwise that its display matrix turns it by.
    """

    index: int
    kind: str
    text: str
    rotation: float = 0.0

    @property
    def codec(self) -> str:
        """Return the codec's name, or "unknown"; FFmpeg calls one that it does not know "none"."""
        match = _CODEC.search(self.text)
        return match[1] if match else "unknown"

    @property
    def is_default(self) -> bool:
        """Return whether the file marks it as the one to play."""
        return "(default)" in self.text

    @property
    def is_film(self) -> bool:
        """Return whether it is a moving picture of its own."""
        is_layer = self.codec in _LAYER_CODECS or any(sign in self.text for sign in _NO_FILM)
        return self.kind == "Video" and not is_layer

    @property
    def sides(self) -> tuple[int, int, int, int] | None:
        """Return (width, height, sample aspect's numerator and denominator), None where no size is known."""
        match = _SIDES.search(self.text)
        return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 1), int(match[4] or 1))

    @property
    def fps(self) -> float | None:
        """Return the stated rate, rounded to two decimals by FFmpeg."""
        match = _FPS.search(self.text)
        return float(match[1]) * (1000 if match[2] else 1) if match else None

    @property
    def pixel_format(self) -> str:
        """Return the pixel format's name, or "unknown"."""
        match = _PIXELS.match(self.text)
        return match[1] if match else "unknown"

    @property
    def is_interlaced(self) -> bool:
        """Return whether the header says that frames are two fields."""
        return any(note.startswith(_INTERLACED) for note in self._notes)

    @property
    def colour(self) -> tuple[str | None, str | None, str | None]:
        """Return (matrix, primaries, transfer) as tagged: of `tv, bt2020nc/bt2020/smpte2084, progressive`."""
        for note in self._notes:
            names = note.split("/")
            if len(names) == 3:
                matrix, primaries, transfer = (None if name == "unknown" else name for name in names)
                return matrix, primaries, transfer
            if note.startswith(("bt", "smpte")):
                return note, note, note  # all three are the same
        return None, None, None

    @property
    def layout(self) -> str:
        """Return the channels of an audio stream: "stereo", "5.1(side)", "16 channels (...)"; or "unknown"."""
        match = _LAYOUT.search(self.text)
        return match[1] if match else "unknown"

    @property
    def _notes(self) -> Sequence[str]:
        match = _PIXELS.match(self.text)
        return (match[2] or "").split(", ") if match else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderText:
    """The streams of a file, and its stated length."""

    streams: tuple[StreamText, ...]
    duration_s: float | None

    @property
    def films(self) -> tuple[StreamText, ...]:
        """Return the video streams that are films."""
        return tuple(stream for stream in self.streams if stream.is_film)

    @property
    def audios(self) -> tuple[StreamText, ...]:
        """Return the audio streams, the default ones first."""
        audios = [stream for stream in self.streams if stream.kind == "Audio"]
        return tuple(sorted(audios, key=lambda stream: not stream.is_default))


def read_header_text(stderr: str) -> HeaderText:
    """Read what FFmpeg printed, each line tagged with its level, about the only input of a command."""
    lines = _input_lines(stderr)
    streams: dict[int, StreamText] = {}
    index: int | None = None
    for line in lines:
        if match := _STREAM.match(line):
            index = int(match[1])
            # A stream of several groups is printed once in each.
            streams.setdefault(index, StreamText(index=index, kind=match[2], text=match[3]))
        elif index is not None and (turned := _ROTATION.search(line)):
            known = streams[index]
            streams[index] = StreamText(index=index, kind=known.kind, text=known.text, rotation=float(turned[1]))
    return HeaderText(streams=tuple(streams[number] for number in sorted(streams)), duration_s=_duration(lines))


def _input_lines(stderr: str) -> list[str]:
    lines = stderr.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("[info] Input #0")), 0)
    ends = (i for i, line in enumerate(lines) if line.startswith(("[info] Stream mapping", "[info] Output #0")))
    return lines[start : next(ends, len(lines))]


def _duration(lines: Sequence[str]) -> float | None:
    for line in lines:
        if match := _DURATION.match(line):
            return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return None
