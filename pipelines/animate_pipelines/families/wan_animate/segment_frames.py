"""`SegmentFrames`: the pictures that condition one segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFrames:
    """The conditions of a segment as pictures: `t h w 3` uint8, masks `t h w` of 0 and 1.

    background, masks: None in animate mode.
    """

    pose: np.ndarray
    face: np.ndarray
    background: np.ndarray | None = None
    masks: np.ndarray | None = None
