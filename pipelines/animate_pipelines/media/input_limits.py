"""Holds inputs to the limits that a request itself puts on them: the largest file, the shortest and longest film."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from animate_pipelines.errors import MediaError
from animate_pipelines.media.header import check_file_size
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.probe import check_length, stated_duration_s
from animate_pipelines.request.params import RenderParams

_FIELD = "driving_video"
_GRACE_S = 0.1  # a header speaks of the longest stream, and a film of "three seconds" may lack a frame


def check_sizes(files: Mapping[str, Path], params: RenderParams) -> None:
    """Raise `MediaTooLarge` for a file that is larger than the request takes.

    files: by their fields.
    """
    if params.largest_bytes is None:
        return
    limits = MediaLimits(max_file_bytes=params.largest_bytes)
    for name, path in files.items():
        check_file_size(path.stat().st_size, limits, field=name)


def check_shortest(duration_s: float | Fraction, shortest_s: float | None) -> None:
    """Raise `MediaError` for a driving video that is shorter than the request takes."""
    if shortest_s is not None and duration_s < shortest_s - _GRACE_S:
        message = f"{{field}} lasts {float(duration_s):.1f} s; at least {shortest_s:g} s are needed"
        raise MediaError(message, field=_FIELD, value=round(float(duration_s), 3), limit=shortest_s)


def check_stated_length(path: Path, limits: MediaLimits, shortest_s: float | None) -> None:
    """Hold a driving video to its limits by its header alone, which takes a fraction of a second.

    Raises `MediaTooLarge` and `MediaError`. What is wrong with a file that cannot be read is said by the job, in full.
    """
    try:
        duration_s = stated_duration_s(path, limits, field=_FIELD)
    except MediaError:
        return
    if duration_s is not None:
        check_length(duration_s - _GRACE_S, limits, field=_FIELD)
        check_shortest(duration_s, shortest_s)
