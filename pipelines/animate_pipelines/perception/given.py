"""Keypoints and masks that a caller brings along, in place of those that the networks find."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from animate_pipelines.perception.cuts import find_cuts, thumbnail
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.scan import Read
from animate_pipelines.perception.sharpness import sharpness_of
from animate_pipelines.perception.squash import squash
from animate_pipelines.request.size import Size

_WHITE = 128


def people_given(poses: np.ndarray, frames: Sequence[int], read: Read, size: Size) -> FoundPeople:
    """Return the one person of the caller's own poses `m 133 3`.

    poses: fractions of the frames; zero where there is nobody.
    frames: the source frames to read for cuts and sharpness.
    read: yields them at `size`.
    size: (width, height) of the frames.
    """
    poses = poses[: frames[-1] + 1].astype(np.float32)
    found: np.ndarray = np.any(poses[..., 2] > 0, axis=1)
    boxes = {index: _box(poses[index], size) for index in frames if found[index]}
    sharpness, thumbnails = np.zeros(len(poses), np.float32), []
    for index, picture in zip(frames, read(frames), strict=True):
        thumbnails.append(thumbnail(squash(picture)))
        if index in boxes:
            sharpness[index] = sharpness_of(picture, boxes[index])
    return FoundPeople(
        frames=np.array(frames),
        boxes=np.array(list(boxes.values())).reshape(-1, 5),
        box_frames=np.array(list(boxes), int),
        box_people=np.ones(len(boxes), int),
        chosen=1 if boxes else 0,
        poses=poses,
        found=found,
        sharpness=sharpness,
        cuts=np.array([frames[index] for index in find_cuts(thumbnails)], int),
    )


def _box(pose: np.ndarray, size: Size) -> np.ndarray:
    """Return the box `5` around the visible keypoints, in pixels, with a score of 1."""
    points = pose[pose[:, 2] > 0, :2] * size
    return np.concatenate([points.min(axis=0), points.max(axis=0), [1.0]])


class MaskVideo:
    """A `MaskSource` without a network: the caller's masks, frame for frame."""

    name = "mask_video"

    def __init__(self, pictures: Iterator[np.ndarray]) -> None:
        self._pictures = pictures

    def person_masks(self, frames: Iterable[np.ndarray], poses: np.ndarray) -> Iterator[np.ndarray]:
        """Yield one `h w` mask of 0 and 1 for each of `poses`: 1 where the picture is nearer to white than to black."""
        for _, picture in zip(poses, self._pictures, strict=True):
            yield (picture.mean(axis=2) >= _WHITE).astype(np.uint8)
