"""`VideoInfo`: the description of a video file before it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from animate_pipelines.media.container import Container

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
WIDE_PRIMARIES = {"bt2020": "BT.2020", "smpte431": "P3", "smpte432": "P3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioInfo:
    """The audio stream: the default one where there are several, unless only another one decodes.

    layout: of its channels, as FFmpeg calls it.
    is_preferred: whether it is the one that a player would take.
    first_packet_s: on the source's own clock, as `VideoInfo.start_s`; below the first sample's time by the encoder's
        priming.
    packet_s: the length of one packet.
    """

    index: int
    codec: str
    layout: str
    is_preferred: bool
    first_packet_s: Fraction
    packet_s: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """A driving video in the form in which it is shown.

    width, height: square pixels, after rotation and sample aspect, made even.
    fps: the rate of its frames; exact (30000/1001 stays so). Of a variable or too high rate, the one it is resampled
        to.
    stored_fps: the rate in the file.
    num_frames: packets of the video stream, which for a constant rate are its frames.
    rotation: degrees clockwise from the stored picture to the one to show.
    duration_s: from the first video frame's start to the last one's end.
    missing_s: the part of that, at its beginning, whose frames do not decode.
    is_interlaced: whether header or first frames say that frames are two fields.
    transfer, matrix, primaries: as tagged; None where not.
    audio: None also for a stream without packets.
    tracks: the codecs of all audio streams, the preferred one first.
    is_part: whether it describes a part of the file only; see `trim`.
    cut_s: the seconds of the file before that part.
    """

    container: Container
    index: int
    codec: str
    width: int
    height: int
    stored_width: int
    stored_height: int
    fps: Fraction
    stored_fps: Fraction
    is_variable_rate: bool
    num_frames: int
    start_s: Fraction
    duration_s: Fraction
    missing_s: Fraction
    rotation: int
    pixel_format: str
    is_interlaced: bool
    transfer: str | None
    matrix: str | None
    primaries: str | None
    audio: AudioInfo | None
    tracks: tuple[str, ...]
    is_part: bool = False
    cut_s: Fraction = Fraction(0)

    @property
    def is_hdr(self) -> bool:
        """Return whether the picture has a high dynamic range."""
        return self.transfer in HDR_TRANSFERS

    @property
    def is_wide(self) -> bool:
        """Return whether colours of a standard range have primaries that a standard screen does not."""
        return not self.is_hdr and self.primaries in WIDE_PRIMARIES

    @property
    def missing_frames(self) -> int:
        """Return the number of frames at the beginning that do not decode."""
        return round(self.missing_s * self.fps)
