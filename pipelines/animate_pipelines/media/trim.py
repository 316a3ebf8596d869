"""Takes a part of a driving video, in whole frames."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from animate_pipelines.errors import InvalidField
from animate_pipelines.media.video_info import VideoInfo


def trim(info: VideoInfo, start_s: float, duration_s: float | None) -> VideoInfo:
    """Return the part that begins at `start_s` and lasts `duration_s`, both rounded to whole frames.

    duration_s: None for the rest of the video.
    Raises `InvalidField` on `start` or `duration` when that part is not all inside the video, or has no frame.
    """
    num_frames = round(info.duration_s * info.fps)
    first = round(Fraction(start_s) * info.fps)
    if first >= num_frames:
        raise InvalidField(
            f"{{field}} is at {start_s:g} s of a driving video of {float(info.duration_s):.3f} s",
            field="start",
            value=start_s,
            limit=round(float(info.duration_s), 3),
        )
    num_left = num_frames - first
    num_used = num_left if duration_s is None else round(Fraction(duration_s) * info.fps)
    if not 1 <= num_used <= num_left:
        raise InvalidField(
            f"{{field}} is {duration_s:g} s; {float(num_left / info.fps):.3f} s of the driving video follow its start, "
            f"and one frame lasts {float(1 / info.fps):.3f} s",
            field="duration",
            value=duration_s,
            limit=round(float(num_left / info.fps), 3),
        )
    if num_used == num_frames:
        return info
    return dataclasses.replace(
        info,
        start_s=info.start_s + first / info.fps,
        duration_s=num_used / info.fps,
        num_frames=num_used,
        missing_s=max(Fraction(0), info.missing_s - first / info.fps),
        cut_s=info.cut_s + first / info.fps,
        is_part=True,
    )
