"""Draws the pictures that condition one segment: skeletons, face crops, background and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from animate_pipelines.diffusion.segments import Segment, segment_indices
from animate_pipelines.families.wan_animate.conditioning import Conditioning
from animate_pipelines.families.wan_animate.retarget import retarget
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.face import crop_face
from animate_pipelines.perception.masks import fit_mask
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of
from animate_pipelines.request.choices import MaskFit
from animate_pipelines.request.size import Size

_SHARED = 5  # frames that one segment may share with the next, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPainter:
    """Draws the pictures of one segment after the other, at the render size `size`.

    masks: returns `t h w`, 1 on the person, for source frames; None to animate.

    Beyond the clip's end they run back and forth. Each source frame is read once a segment, for its face and its
    background; those that the next segment shares are kept for it.
    """

    frames: DrivingFrames
    conditioning: Conditioning
    size: Size
    face_size_px: int
    masks: Callable[[Sequence[int]], np.ndarray] | None = None
    mask_fit: MaskFit = "box"
    _kept: dict[int, np.ndarray] = field(default_factory=dict)

    def draw(self, segment: Segment) -> SegmentFrames:
        """Return the pictures that condition `segment`."""
        indices = segment_indices(segment, self.frames.clip.num_frames)
        sources = self.frames.clip.indices[indices]
        pose = _draw_pose(self.conditioning, indices, self.frames.size, self.size)
        crops = np.zeros((len(sources), self.face_size_px, self.face_size_px, 3), np.uint8)
        background = None
        if self.masks is not None:
            width, height = self.frames.size
            background = np.empty((len(sources), height, width, 3), np.uint8)
        self._paint(sources, crops, background)
        if self.masks is None or background is None:
            return SegmentFrames(pose=pose, face=crops)
        coarse = np.stack([fit_mask(mask, self.mask_fit) for mask in self.masks(sources.tolist())])
        return SegmentFrames(pose=pose, face=crops, background=background * (1 - coarse[..., None]), masks=coarse)

    def _paint(self, sources: np.ndarray, crops: np.ndarray, background: np.ndarray | None) -> None:
        """Fill face crops `t s s 3`, black where there is no face, and backgrounds `t h w 3` from one pass."""
        faces = self.conditioning.face_frames[sources]
        needed = set(faces[faces >= 0].tolist())
        if background is not None:
            needed.update(sources.tolist())
        for index, frame in self._read(needed, shared=sources[-_SHARED:]):
            crop = crop_face(frame, self.conditioning.face_boxes[index], self.face_size_px)
            if crop is not None:
                crops[faces == index] = crop
            if background is not None:
                background[sources == index] = frame

    def _read(self, needed: set[int], shared: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the source frames `needed` with their pictures `h w 3`, one at a time.

        shared: source frames that the next segment has too; their pictures, and their faces', are kept for it.
        """
        keep = needed & {*shared.tolist(), *self.conditioning.face_frames[shared].tolist()}
        kept = {index: self._kept[index] for index in sorted(needed & self._kept.keys())}
        unread = sorted(needed - kept.keys())
        self._kept.clear()
        for index, frame in chain(kept.items(), zip(unread, self.frames.read(unread), strict=True)):
            if index in keep:
                self._kept[index] = frame
            yield index, frame


def _draw_pose(conditioning: Conditioning, indices: Sequence[int], canvas: Size, size: Size) -> np.ndarray:
    """Return skeletons `t h w 3` of the output frames `indices`.

    Retargeted ones are drawn at the render size `size`; others at the driving frames' size, and letter-boxed.
    """
    fitted = conditioning.proportions
    drawn = []
    for index in indices:
        pose = conditioning.keypoints[index]
        if fitted is not None:
            drawn.append(draw_skeleton(retarget(pose, canvas, fitted, first=index == 0), *size))
        else:
            picture = draw_skeleton(skeleton_of(pose, *canvas), *canvas)
            drawn.append(picture if canvas == size else padding_resize(picture, *size))
    return np.stack(drawn)
