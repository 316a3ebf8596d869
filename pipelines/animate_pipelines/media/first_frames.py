"""Decodes the first frames of a video, for what no header tells: when the first one comes, and how they are scanned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import THREADS, header_bounds, input_arguments, run_ffmpeg
from animate_pipelines.media.limits import MediaLimits

_LOOKED_AT = 12
_FRAME = re.compile(r"\] n: *\d+ pts: *-?\d+ pts_time:(-?[\d.e+-]+) .* i:(.) ")
_PROGRESSIVE = "P"


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstFrames:
    """The first frames that can be decoded.

    first_s: the time of the first, on the file's own clock.
    is_interlaced: whether any of them is flagged as two fields.
    """

    first_s: Fraction
    is_interlaced: bool


def read_first_frames(
    path: Path, container: Container, index: int, limits: MediaLimits, *, field: str
) -> FirstFrames | None:
    """Decode the first dozen frames of stream `index`; None where there is none.

    Raises `MediaError` or `MediaTooLarge` on `field` where decoding fails or takes too much.
    """
    arguments = ["-threads", str(THREADS), "-copyts", *input_arguments(path, container), "-map", f"0:{index}"]
    showing = ["-vf", "showinfo=checksum=0", "-frames:v", str(_LOOKED_AT), "-fps_mode", "passthrough"]
    outcome = run_ffmpeg([*arguments, *showing, "-f", "null", "-"], header_bounds(limits), field=field)
    frames = [match for line in outcome.stderr.splitlines() if (match := _FRAME.search(line))]
    if not frames:
        return None
    return FirstFrames(first_s=Fraction(frames[0][1]), is_interlaced=any(match[2] != _PROGRESSIVE for match in frames))
