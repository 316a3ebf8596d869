"""Cuts a clip into the overlapping segments that are generated one after the other. Integers only."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Frames of the padded clip that are generated together.

    start, stop: the frames start..stop of the padded clip.
    overlap: the number of its first frames that are carried from the segment before.
    num_new_frames: the number of its frames, from `overlap` on, that are new output; the rest pads the last segment.
    """

    index: int
    start: int
    stop: int
    overlap: int
    num_new_frames: int


def plan_segments(num_frames: int, segment_frames: int, overlap: int) -> list[Segment]:
    """Return the segments of a clip, each starting `overlap` frames before the end of the one before.

    segment_frames: of each segment; must be 4n+1, the length that the VAE's and the face encoder's strides divide.
    Raises `ValueError` for lengths that cannot be generated.
    """
    if segment_frames % 4 != 1 or segment_frames - overlap < overlap:
        raise ValueError(f"segments of {segment_frames} frames with an overlap of {overlap} cannot be generated")
    stride = segment_frames - overlap
    count = max(1, math.ceil((num_frames - overlap) / stride))
    segments = []
    for index in range(count):
        start = index * stride
        first_new = start + (overlap if index else 0)
        num_new = min(start + segment_frames, num_frames) - first_new
        segments.append(
            Segment(
                index=index,
                start=start,
                stop=start + segment_frames,
                overlap=first_new - start,
                num_new_frames=num_new,
            )
        )
    return segments


def reflect(position: int, num_frames: int) -> int:
    """Return the frame at `position` of the padded clip: forth and back without repeating the ends (0 1 2 1 0 1)."""
    if num_frames == 1:
        return 0
    period = 2 * (num_frames - 1)
    offset = position % period
    return min(offset, period - offset)


def segment_indices(segment: Segment, num_frames: int) -> list[int]:
    """Return the clip's frames that condition this segment, one for each of its frames."""
    return [reflect(position, num_frames) for position in range(segment.start, segment.stop)]
