"""The pictures that condition one segment: skeletons, face crops, background and masks, drawn from what is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.conditioning import Conditioning, DrivingFrames
from animate_pipelines.plan import Size
from animate_pipelines.preprocess.face import crop_face
from animate_pipelines.preprocess.masks import MaskSource, dilate, fill_grid
from animate_pipelines.preprocess.resize import padding_resize
from animate_pipelines.preprocess.skeleton import draw_skeleton
from animate_pipelines.segments import Segment, segment_indices


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
    masks: MaskSource | None,
) -> SegmentFrames:
    """The pictures that condition one segment, at the render size; beyond the clip's end they run back and forth.

    masks: where the person to replace is known from; None in animate mode.
    """
    indices = segment_indices(segment, frames.clip.num_frames)
    sources = frames.clip.indices[indices].tolist()
    pose = _draw_pose(conditioning, indices, frames.size, size)
    face = _crop_faces(conditioning, frames, sources, face_size_px)
    if masks is None:
        return SegmentFrames(pose=pose, face=face)
    background, people = _mask_person(conditioning, frames, sources, masks)
    return SegmentFrames(pose=pose, face=face, background=background, masks=people)


def _draw_pose(conditioning: Conditioning, indices: Sequence[int], canvas: Size, size: Size) -> np.ndarray:
    """Skeletons `t h w 3` of the output frames `indices`, drawn at the frames' size and letter-boxed to `size`."""
    drawn = (draw_skeleton(conditioning.keypoints[i], *canvas) for i in indices)
    return np.stack([skeleton if canvas == size else padding_resize(skeleton, *size) for skeleton in drawn])


def _crop_faces(
    conditioning: Conditioning, frames: DrivingFrames, source_indices: Sequence[int], size_px: int
) -> np.ndarray:
    """Face crops `t s s 3`; black when the clip never shows a face."""
    crops = np.zeros((len(source_indices), size_px, size_px, 3), np.uint8)
    faces = conditioning.face_frames[list(source_indices)]
    shown = [int(face) for face in faces if face >= 0]
    for slot, face, frame in zip(np.nonzero(faces >= 0)[0], shown, frames.read(shown), strict=True):
        crop = crop_face(frame, conditioning.source_keypoints[face], size_px)
        if crop is not None:
            crops[slot] = crop
    return crops


def _mask_person(
    conditioning: Conditioning, frames: DrivingFrames, source_indices: Sequence[int], masks: MaskSource
) -> tuple[np.ndarray, np.ndarray]:
    """Background frames `t h w 3` with the person blacked out, and masks `t h w`, 1 where the person is."""
    pictures = np.stack(list(frames.read(source_indices)))
    people = masks.person_masks(pictures, conditioning.source_keypoints[list(source_indices)])
    coarse = np.stack([fill_grid(dilate(person)) for person in people])
    return pictures * (1 - coarse[..., None]), coarse
