"""What is known of the whole driving video: keypoints, 1.6 KB a frame; what is larger is drawn a segment at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.media.clip import Clip
from animate_pipelines.models import Models
from animate_pipelines.params import Mode
from animate_pipelines.plan import Size
from animate_pipelines.preprocess.detector import detect_person
from animate_pipelines.preprocess.face import face_box
from animate_pipelines.preprocess.keypoints import NUM_KEYPOINTS, interpolate
from animate_pipelines.preprocess.masks import MaskSource
from animate_pipelines.preprocess.pose import estimate_pose
from animate_pipelines.preprocess.resize import padding_resize, resize_interpolation
from animate_pipelines.preprocess.retarget import Proportions, fit_proportions
from animate_pipelines.stopwatch import Stopwatch
from animate_pipelines.workspace import FoundPoses, Workspace

PARTS = ("preflight", "detect", "pose", "mask")  # of preprocessing, whose seconds are counted


class DrivingFrames:
    """The frames the networks look at: native in animate mode, letter-boxed to the render size in replace mode."""

    def __init__(self, clip: Clip, mode: Mode, render_size: Size) -> None:
        self.clip = clip
        self.mode = mode
        self.size: Size = clip.size if mode == "animate" else render_size
        self._interpolation = resize_interpolation(clip.size, self.size)

    def read(self, source_indices: Sequence[int]) -> Iterator[np.ndarray]:
        """`h w 3` uint8 frames, one after the other."""
        for frame in self.clip.read_source(source_indices):
            resized = self.size != self.clip.size
            yield padding_resize(frame, *self.size, self._interpolation) if resized else frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """The driving performance.

    keypoints: `n 133 3`, one pose an output frame, between source frames where the rate goes up.
    proportions: how the driver's skeleton is fitted to the reference; None leaves it as it is.
    source_keypoints: `m 133 3`, one a source frame; zero where no output frame needs it.
    face_frames: the source frame whose face each source frame shows: itself, or the nearest earlier one with a face
        inside the picture (the first one with a face, before that); -1 where there never is one.
    num_examined, num_without_person: source frames looked at, and those in which the detector found nobody.
    """

    keypoints: np.ndarray
    source_keypoints: np.ndarray
    face_frames: np.ndarray
    num_examined: int
    num_without_person: int
    proportions: Proportions | None = None


def preprocess(
    models: Models,
    frames: DrivingFrames,
    files: Workspace,
    on_frame: Callable[[int, int], None],
    *,
    watch: Stopwatch,
    fit_to: np.ndarray | None = None,
) -> Conditioning:
    """Find the person and the pose in every frame that is needed; in replace mode the masks too. Kept in the workspace.

    fit_to: the reference picture `h w 3` whose proportions the skeletons take; None leaves them as they are.
    watch: counts the seconds of `PARTS`; none are spent on what the workspace has already.
    on_frame: called with (frames done, frames in all). Raises `NoPersonFound` when no frame shows anybody.
    """
    if not files.has_poses():
        files.save_poses(_estimate_poses(models, frames, on_frame, watch))
    saved = files.load_poses()
    needed = _needed_frames(frames.clip)
    num_without = len(needed) - int(saved.found[needed].sum())
    if num_without == len(needed):
        raise NoPersonFound(
            f"no person was found in any of the {len(needed)} frames looked at", field="driving_video", value=0, limit=1
        )
    if frames.mode == "replace" and not files.has_masks():
        with watch("mask"):
            _find_masks(models.masks, frames, saved.poses, needed, files)
    keypoints = _at_output_rate(saved.poses, frames.clip)
    return Conditioning(
        keypoints=keypoints,
        source_keypoints=saved.poses,
        face_frames=_frames_with_face(saved.poses, needed, frames.size),
        num_examined=len(needed),
        num_without_person=num_without,
        proportions=None if fit_to is None else _fit_proportions(models, keypoints[0], frames.size, fit_to),
    )


def _fit_proportions(models: Models, first: np.ndarray, size: Size, reference: np.ndarray) -> Proportions:
    box = detect_person(models.detector, reference)
    if box is None:
        raise NoPersonFound(
            "no person was found in the reference image, whose proportions were to be taken",
            field="reference_image",
            value=0,
            limit=1,
        )
    pose = estimate_pose(models.pose, reference, box)
    return fit_proportions(first, size, pose, (reference.shape[1], reference.shape[0]))


def _needed_frames(clip: Clip) -> list[int]:
    if clip.fps <= clip.source_fps:
        return sorted(set(clip.indices.tolist()))
    ends = np.concatenate([np.floor(clip.positions), np.ceil(clip.positions)]).astype(int).tolist()
    return sorted({min(end, clip.mezzanine.num_frames - 1) for end in ends})


def _at_output_rate(poses: np.ndarray, clip: Clip) -> np.ndarray:
    if clip.fps <= clip.source_fps:
        return poses[clip.indices]
    return interpolate(poses, clip.positions)


def _estimate_poses(
    models: Models, frames: DrivingFrames, on_frame: Callable[[int, int], None], watch: Stopwatch
) -> FoundPoses:
    needed = _needed_frames(frames.clip)
    poses = np.zeros((max(needed) + 1, NUM_KEYPOINTS, 3), np.float32)
    found = np.zeros(len(poses), bool)
    for done, (index, frame) in enumerate(zip(needed, frames.read(needed), strict=True), start=1):
        with watch("detect"):
            box = detect_person(models.detector, frame)
        with watch("pose"):
            poses[index] = estimate_pose(models.pose, frame, box)
        found[index] = box is not None
        on_frame(done, len(needed))
    return FoundPoses(poses=poses, found=found)


def _find_masks(
    source: MaskSource, frames: DrivingFrames, poses: np.ndarray, needed: Sequence[int], files: Workspace
) -> None:
    masks = source.person_masks(frames.read(needed), poses[list(needed)])
    files.save_masks(zip(needed, masks, strict=True), len(poses), frames.size)


def _frames_with_face(poses: np.ndarray, needed: Sequence[int], size: Size) -> np.ndarray:
    shown = np.full(len(poses), -1)
    for index in needed:
        x1, x2, y1, y2 = face_box(poses[index], *size)
        if x1 < x2 and y1 < y2:
            shown[index] = index
    held = np.maximum.accumulate(shown)
    first = int(shown[shown >= 0].min()) if (shown >= 0).any() else -1
    return np.where(held >= 0, held, first)
