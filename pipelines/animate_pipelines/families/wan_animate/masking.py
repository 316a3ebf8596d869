"""Finds the masks of the person to replace, and keeps a few of their frames for the preview."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import bridge
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.perception.mask_preview import previewed
from animate_pipelines.perception.masks import MaskSource


def find_masks(source: MaskSource, people: FoundPeople, frames: DrivingFrames, file: MaskFile) -> dict[int, np.ndarray]:
    """Write the mask of the person to follow in every frame that was read.

    people: found in `frames`; where the person is out of sight its pose is interpolated.
    Returns the pictures `h w 3`, by source frame, for a preview of the masks, so that none is read again.
    """
    source_frames = people.frames.tolist()
    preview_frames = set(previewed(source_frames, float(frames.clip.source_fps)))
    preview: dict[int, np.ndarray] = {}

    def pictures() -> Iterator[np.ndarray]:
        for index, picture in zip(source_frames, frames.read(source_frames), strict=True):
            if index in preview_frames:
                preview[index] = picture
            yield picture

    masks = source.person_masks(pictures(), bridge(people.poses, people.found)[source_frames])
    file.write(zip(source_frames, masks, strict=True), len(people.poses), frames.size)
    return preview
