"""`MaskPreview`: what replace mode regenerates in a few frames of the driving video, to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from animate_pipelines.request.choices import MaskFit


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedFrame:
    """picture: `h w 3`. person: the mask that was found, regenerated: what is made of it; `h w` of 0 and 1."""

    second: float
    picture: np.ndarray
    person: np.ndarray
    regenerated: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPreview:
    """source: what found the masks; see `RenderResult.mask_source`."""

    source: str
    fit: MaskFit
    frames: tuple[MaskedFrame, ...]

    def to_json(self) -> dict[str, Any]:
        """Shares are of the picture, 0 to 1."""
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
