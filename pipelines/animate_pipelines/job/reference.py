"""The reference picture: an image, or the frame of a character's video whose pose goes best with the driving video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.image import OnNote, Picture, read_image
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import Mezzanine, read_mezzanine, write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.perception.keypoints import BODY
from animate_pipelines.perception.observation import Observation, observe
from animate_pipelines.perception.pose_distance import pose_distance
from animate_pipelines.perception.readers import Readers
from animate_pipelines.request.choices import ReferenceKind
from animate_pipelines.request.size import Size

# Frames of the character's video that are compared, evenly over all of it: about a second each on a CPU.
_LOOKED_AT = 16
_UNKNOWN = 180.0  # degrees: as far apart as poses can be


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The reference picture.

    picture: `h w 3`, RGB.
    taken_at_s: its time in the character's video; None for an image.
    """

    picture: Picture
    taken_at_s: float | None = None


def read_reference(
    path: Path, kind: ReferenceKind, files: Workspace, limits: MediaLimits, on_note: OnNote = lambda note: None
) -> Picture | Mezzanine:
    """Read the image, or rewrite the character's video.

    on_note: called with what is missing of the image.
    Raises `MediaError` and `MediaTooLarge` on `reference_image`.
    """
    if kind == "image":
        return read_image(path, limits, on_note=on_note)
    if files.character_mezzanine.is_file():
        return read_mezzanine(files.character_mezzanine, limits)
    source = probe_video(path, limits, field="reference_image")
    return write_mezzanine(path, files.character_mezzanine, source, limits, field="reference_image")


def settle_reference(
    source: Picture | Mezzanine, readers: Readers, driving: Clip, on_look: Callable[[], None] = lambda: None
) -> Reference:
    """Return an image as it is, and of a character's video the frame nearest in pose to the first frame of `driving`.

    Where no pose can be compared, it is the frame whose pose is surest.

    on_look: called after every frame; an exception from it stops the work.
    Raises `NoPersonFound` for a video without anybody, and `BundleError` where the bundle has no networks to read it.
    """
    if not isinstance(source, Mezzanine):
        return Reference(picture=source)
    goal = observe(readers, next(driving.read_source(driving.indices[:1])))
    with Clip(source) as clip:
        indices = np.linspace(0, clip.num_frames - 1, min(_LOOKED_AT, clip.num_frames)).round().astype(int)
        best: tuple[tuple[float, float], int, Picture] | None = None
        for index, frame in zip(indices.tolist(), clip.read_source(indices), strict=True):
            look = observe(readers, frame)
            rank = None if look is None else _rank(look, goal, clip.size, driving.size)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, index, frame)
            on_look()
        if best is None:
            message = f"no person was found in {len(indices)} frames of the character's video"
            raise NoPersonFound(message, field="reference_image", value=0, limit="at least 1")
        return Reference(picture=best[2].copy(), taken_at_s=round(best[1] / float(clip.fps), 3))


def _rank(look: Observation, goal: Observation | None, size: Size, goal_size: Size) -> tuple[float, float]:
    """Return the rank of a frame, less being better: degrees from one pose to the other, then doubt in this one."""
    aspect_a, aspect_b = (width / height for width, height in (size, goal_size))
    apart = None if goal is None else pose_distance(look.pose, goal.pose, aspect_a=aspect_a, aspect_b=aspect_b)
    return _UNKNOWN if apart is None else apart, 1 - float(look.pose[BODY, 2].mean())
