"""Frames without the person: short stretches are bridged, longer ones end the job."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animate_pipelines.errors import PersonLost
from animate_pipelines.perception.keypoints import interpolate

Stretch = tuple[int, int]  # first and last frame
_SHOWN = 5  # stretches that an error names


def stretches_of(frames: Sequence[int], chosen: np.ndarray) -> list[Stretch]:
    """Return (first, last) of each run of `frames` for which `chosen` holds.

    frames: `n`, ascending.
    chosen: `n` bool.
    """
    edges = np.diff(np.concatenate([[0], np.asarray(chosen, int), [0]]))
    starts, ends = np.flatnonzero(edges > 0).tolist(), (np.flatnonzero(edges < 0) - 1).tolist()
    return [(int(frames[start]), int(frames[end])) for start, end in zip(starts, ends, strict=True)]


def check_gaps(missing: Sequence[Stretch], fps: float, max_gap_s: float) -> None:
    """Raise `PersonLost` when a stretch without the person, at `fps`, is longer than `max_gap_s`."""
    long = [(first, last) for first, last in missing if (last - first + 1) / fps > max_gap_s]
    if not long:
        return
    named = ", ".join(f"{first}-{last} ({(last - first + 1) / fps:.2f} s)" for first, last in long[:_SHOWN])
    more = f" and {len(long) - _SHOWN} more stretches" if len(long) > _SHOWN else ""
    raise PersonLost(
        f"the person to follow is not seen in frames {named}{more}; at most {max_gap_s:g} s are bridged (max_gap_s)",
        field="driving_video",
        value=[list(stretch) for stretch in long],
        limit=max_gap_s,
    )


def bridge(poses: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return poses `m 133 3` with those that were not found interpolated between their neighbours.

    found: `m` bool, at least one of them true.

    Coordinates go straight from the last known pose to the next; before the first and after the last they stay. A joint
    is as certain as in the less certain of the two, so that a hand that is weak on one side is hidden, not twisted.
    """
    anchors = np.flatnonzero(found)
    places = np.interp(np.arange(len(poses)), anchors, np.arange(len(anchors)))
    bridged = interpolate(poses[anchors], places)
    ends = poses[anchors, :, 2]
    weaker = np.minimum(ends[np.floor(places).astype(int)], ends[np.ceil(places).astype(int)])
    bridged[..., 2] = weaker
    bridged[anchors] = poses[anchors]
    return bridged
