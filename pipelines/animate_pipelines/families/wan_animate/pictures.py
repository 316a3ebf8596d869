"""The pictures that condition one segment: skeletons, face crops, background and masks, drawn from what is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.diffusion.segments import Segment, segment_indices
from animate_pipelines.families.wan_animate.conditioning import Conditioning, DrivingFrames
from animate_pipelines.families.wan_animate.retarget import retarget
from animate_pipelines.job.plan import Size
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.face import crop_face
from animate_pipelines.perception.masks import fit_mask
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of
from animate_pipelines.request.params import MaskFit


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFrames:
    """What a segment is conditioned on, as pictures: `t h w 3` uint8, masks `t h w` of 0 and 1.

    background and masks are None in animate mode.
    """

    pose: np.ndarray
    face: np.ndarray
    background: np.ndarray | None = None
    masks: np.ndarray | None = None


def draw_segment(
    frames: DrivingFrames,
    conditioning: Conditioning,
    segment: Segment,
    *,
    size: Size,
    face_size_px: int,
    masks: Callable[[Sequence[int]], np.ndarray] | None,
    mask_fit: MaskFit = "box",
) -> SegmentFrames:
    """The pictures that condition one segment, at the render size; beyond the clip's end they run back and forth.

    masks: gives `t h w`, 1 on the person, for source frames; None in animate mode.
    """
    indices = segment_indices(segment, frames.clip.num_frames)
    sources = frames.clip.indices[indices].tolist()
    pose = _draw_pose(conditioning, indices, frames.size, size)
    face = _crop_faces(conditioning, frames, sources, face_size_px)
    if masks is None:
        return SegmentFrames(pose=pose, face=face)
    coarse = np.stack([fit_mask(mask, mask_fit) for mask in masks(sources)])
    background = np.stack(list(frames.read(sources))) * (1 - coarse[..., None])
    return SegmentFrames(pose=pose, face=face, background=background, masks=coarse)


def _draw_pose(conditioning: Conditioning, indices: Sequence[int], canvas: Size, size: Size) -> np.ndarray:
    """Skeletons `t h w 3` of the output frames `indices`.

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


def _crop_faces(
    conditioning: Conditioning, frames: DrivingFrames, source_indices: Sequence[int], size_px: int
) -> np.ndarray:
    """Face crops `t s s 3`; black when the clip never shows a face."""
    crops = np.zeros((len(source_indices), size_px, size_px, 3), np.uint8)
    faces = conditioning.face_frames[list(source_indices)]
    shown = [int(face) for face in faces if face >= 0]
    for slot, face, frame in zip(np.nonzero(faces >= 0)[0], shown, frames.read(shown), strict=True):
        crop = crop_face(frame, conditioning.face_boxes[face], size_px)
        if crop is not None:
            crops[slot] = crop
    return crops
