"""Chooses the frames of a mask preview, and finds or reads their masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.given import MaskVideo
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.perception.masked_frames import MaskedFrame, MaskPreview
from animate_pipelines.perception.masks import MaskSource, fit_mask
from animate_pipelines.perception.observations import Observations
from animate_pipelines.request.choices import MaskFit

_MOST_FRAMES = 8


def preview_masks(
    source: MaskSource, frames: DrivingFrames, video: Observations, fit: MaskFit, own_masks: DrivingFrames | None
) -> MaskPreview:
    """Return the masks in up to eight of the frames in which `video` has the person, evenly over time.

    A tracker reads these frames only here, and all of them in a render. The preview is empty where nobody is visible.

    own_masks: the caller's own masks, of the same frames; `source` is then not used.
    """
    chosen = _spread(video.times_s)
    seconds = video.times_s[chosen]
    numbers = np.round(seconds * float(frames.clip.fps)).astype(int)
    indices = frames.clip.indices[numbers].tolist()
    finder = source if own_masks is None else MaskVideo(own_masks.read(indices))
    pictures = list(frames.read(indices))
    masks = finder.person_masks(pictures, frames.place_poses(video.poses[chosen]))
    return _preview(finder.name, fit, seconds, pictures, masks)


def previewed(source_frames: Sequence[int], fps: float) -> list[int]:
    """Return eight of `source_frames`, evenly over time, for the preview of a render."""
    return [source_frames[index] for index in _spread(np.array(source_frames) / fps)]


def masks_used(
    masks: MaskFile,
    frames: DrivingFrames,
    source_frames: Sequence[int],
    fit: MaskFit,
    source: str,
    pictures: Mapping[int, np.ndarray] = MappingProxyType({}),
) -> MaskPreview:
    """Return the masks of a render, in eight of `source_frames`.

    source: the name of the mask source.
    pictures: by source frame, those that need not be read.
    """
    fps = float(frames.clip.source_fps)
    indices = previewed(source_frames, fps)
    unread = [index for index in indices if index not in pictures]
    by_frame = {**pictures, **dict(zip(unread, frames.read(unread), strict=True))}
    return _preview(source, fit, np.array(indices) / fps, [by_frame[index] for index in indices], masks.read(indices))


def _preview(
    source: str, fit: MaskFit, seconds: np.ndarray, pictures: Iterable[np.ndarray], masks: Iterable[np.ndarray]
) -> MaskPreview:
    return MaskPreview(
        source=source,
        fit=fit,
        frames=tuple(
            MaskedFrame(second=second, picture=picture, person=mask, regenerated=fit_mask(mask, fit))
            for second, picture, mask in zip(seconds.tolist(), pictures, masks, strict=True)
        ),
    )


def _spread(times_s: np.ndarray) -> list[int]:
    """Return the indices of the times nearest to evenly spaced ones, in order."""
    if not len(times_s):
        return []
    even_times = np.linspace(times_s[0], times_s[-1], _MOST_FRAMES)
    return sorted({int(np.abs(times_s - second).argmin()) for second in even_times})
