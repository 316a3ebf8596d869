"""Renders held-out pairs with the pipeline's own stages, in memory: no codec between truth and answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from animate_benchmarks.puppet.clips import Mode, Pair, Size
from animate_benchmarks.puppet.shots import FPS, pictures
from animate_pipelines.conditioning import Conditioning, DrivingFrames
from animate_pipelines.encode import encode_constants
from animate_pipelines.media.clip import Clip
from animate_pipelines.models import Models
from animate_pipelines.params import DEFAULT_PROMPT, AnimateParams
from animate_pipelines.pictures import draw_segment
from animate_pipelines.preprocess.detector import detect_person
from animate_pipelines.preprocess.face import face_box
from animate_pipelines.preprocess.pose import estimate_pose
from animate_pipelines.preprocess.resize import padding_resize
from animate_pipelines.render import Schedule, render_segments
from animate_pipelines.segments import plan_segments
from animate_pipelines.state import first_state
from animate_pipelines.vae import to_frames
from animate_weights.puppet import Frame

OVERLAP = 1


class DrawnClip(Clip):
    """A driving video that is an array `t h w 3` instead of a file."""

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames
        self.size = frames.shape[2], frames.shape[1]
        self.fps = self.source_fps = Fraction(FPS)
        self.num_frames = len(frames)
        self.positions = np.arange(len(frames), dtype=np.float64)
        self.indices = np.arange(len(frames))

    def read_source(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        yield from self._frames[list(indices)]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One way to render a pair."""

    mode: Mode = "animate"
    prompt: str = DEFAULT_PROMPT
    turbo: bool = False
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What came out, and from what. `known`: `t h w`, 1 where replace mode keeps the driver's pixels."""

    frames: np.ndarray  # t h w 3 uint8
    keypoints: np.ndarray  # t 133 3, as read from the driving frames
    known: np.ndarray | None


def read_poses(models: Models, frames: DrivingFrames) -> Conditioning:
    """Detector and pose network on every frame, as `preprocess` does without its files."""
    count = frames.clip.num_frames
    poses = np.stack(
        [estimate_pose(models.pose, f, detect_person(models.detector, f)) for f in frames.read(range(count))]
    ).astype(np.float32)
    shown = np.full(count, -1)
    for index, pose in enumerate(poses):
        x1, x2, y1, y2 = face_box(pose, *frames.size)
        if x1 < x2 and y1 < y2:
            shown[index] = index
    held = np.maximum.accumulate(shown)
    first = int(shown[shown >= 0].min()) if (shown >= 0).any() else -1
    faces = np.where(held >= 0, held, first)
    return Conditioning(
        keypoints=poses, source_keypoints=poses, face_frames=faces, num_examined=count, num_without_person=0
    )


def find_people(models: Models, frames: DrivingFrames, conditioning: Conditioning) -> np.ndarray:
    """Masks `t h w` of all frames."""
    poses = conditioning.source_keypoints
    return np.stack(list(models.masks.person_masks(frames.read(range(len(poses))), poses)))


@torch.no_grad()
def render(models: Models, reference: np.ndarray, driving: np.ndarray, size: Size, take: Take) -> Rendered:
    """All frames of `driving` (`t h w 3`) with the person of `reference`, generated at `size`."""
    manifest = models.manifest
    params = AnimateParams(
        reference_image="drawn", driving_video="drawn", mode=take.mode, prompt=take.prompt, turbo=take.turbo
    )
    frames = DrivingFrames(DrawnClip(driving), take.mode, size)
    conditioning = read_poses(models, frames)
    segments = plan_segments(len(driving), manifest.segment_frames, OVERLAP)
    transformer = models.transformers.select(turbo=take.turbo)
    people = find_people(models, frames, conditioning) if take.mode == "replace" else None
    sources = {
        segment.index: draw_segment(
            frames,
            conditioning,
            segment,
            size=size,
            face_size_px=transformer.face_size_px,
            masks=people.__getitem__ if people is not None else None,
        )
        for segment in segments
    }
    steps = take.steps or (manifest.turbo_steps if take.turbo else manifest.steps)
    assert steps is not None
    rendered = render_segments(
        transformer,
        models.vae,
        encode_constants(models, transformer, padding_resize(reference, *size), params),
        segments,
        lambda segment: sources[segment.index],
        Schedule(num_steps=steps, shift=manifest.shift, guidance_scale=1.0, turbo=take.turbo),
        first_state(take.seed),
        overlap=OVERLAP,
        on_step=lambda segment, step: None,
    )
    parts = [(segment, to_frames(pixels)[: segment.num_new_frames]) for segment, pixels in rendered]
    known = None
    if take.mode == "replace":
        masks = [sources[s.index].masks for s, _ in parts]
        known = np.concatenate(
            [
                1 - m[s.overlap : s.overlap + s.num_new_frames]
                for (s, _), m in zip(parts, masks, strict=True)
                if m is not None
            ]
        )
    return Rendered(frames=np.concatenate([part for _, part in parts]), keypoints=conditioning.keypoints, known=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A held-out pair, filmed: its inputs and the truth."""

    pair: Pair
    reference: np.ndarray  # h w 3
    driving: np.ndarray  # t h w 3
    truth: list[Frame]


MIN_WRIST_TRAVEL = 0.15  # of the picture's height
_SEED = 90_001


def held_out_case(index: int, num_frames: int, size: Size, *, native: Size, mode: Mode = "animate") -> Case:
    """Pair number `index` of those in which both wrists move; never seen in training, whose seeds are others."""
    rng = np.random.default_rng([_SEED, index])
    while True:
        pair = Pair.random(rng, duration_s=num_frames / FPS)
        poses = pair.shot.poses(num_frames)
        truth = pair.answer(poses, size, mode)
        wrists = np.stack([frame.keypoints[[9, 10], :2] for frame in truth])
        travel = np.linalg.norm(wrists.max(axis=0) - wrists.min(axis=0), axis=-1)
        seen = np.stack([frame.keypoints[[9, 10], 2] for frame in truth]).mean()
        if travel.min() >= MIN_WRIST_TRAVEL * size[1] and seen > 0.7:
            break
    driving = pictures(pair.shot.draw(poses, native))
    return Case(pair=pair, reference=pair.reference(native), driving=driving, truth=truth)
