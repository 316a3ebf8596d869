"""`MaskPreview`: the pixels that replace mode regenerates, in a few frames of the driving video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from animate_pipelines.request.choices import MaskFit


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedFrame:
    """One frame of a preview.

    second: its time.
    picture: `h w 3`.
    person: the person's mask, `h w` of 0 and 1.
    regenerated: the mask of the pixels that are regenerated, `h w` of 0 and 1.
    """

    second: float
    picture: np.ndarray
    person: np.ndarray
    regenerated: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPreview:
    """The masks in a few frames.

    source: the name of the mask source; see `RenderResult.mask_source`.
    """

    source: str
    fit: MaskFit
    frames: tuple[MaskedFrame, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the preview as JSON values, without pictures; shares are of the picture, 0 to 1."""
        return {
            "source": self.source,
            "fit": self.fit,
            "frames": [
                {
                    "second": round(frame.second, 2),
                    "person": round(float(frame.person.mean()), 3),
                    "regenerated": round(float(frame.regenerated.mean()), 3),
                }
                for frame in self.frames
            ],
        }
