"""Looks at a few pictures of a job's inputs, for whether the bundle's networks read such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from animate_pipelines.media.clip import Clip
from animate_pipelines.media.image import Picture
from animate_pipelines.media.mezzanine import Mezzanine
from animate_pipelines.preflight.legibility import Legibility, judge_pair
from animate_weights.manifest import Manifest

_LOOKED_AT = 5  # frames of a video, evenly over all of it


def judge_inputs(manifest: Manifest, reference: Picture | Mezzanine, driving: Clip) -> Legibility:
    """Return whether the bundle reads the reference, a picture or the character's video, and the driving video."""
    if manifest.reads != "puppets":  # no picture tells more
        return judge_pair(manifest, [], [])
    if isinstance(reference, Mezzanine):
        with Clip(reference) as character:
            pictures = _sample(character)
    else:
        pictures = [reference]
    return judge_pair(manifest, pictures, _sample(driving))


def _sample(clip: Clip) -> Sequence[np.ndarray]:
    indices = np.linspace(0, clip.num_frames - 1, min(_LOOKED_AT, clip.num_frames)).round().astype(int)
    return [frame.copy() for frame in clip.read_source(clip.indices[indices])]
