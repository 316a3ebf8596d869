"""Rendering of held-out pairs with the pipeline's own stages, in memory: no codec between truth and answer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from animate_benchmarks.puppet.clips import Mode, Pair, Size
from animate_benchmarks.puppet.shots import FPS, pictures
from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.segments import plan_segments
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.diffusion.vae import to_frames
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.conditioning import condition
from animate_pipelines.families.wan_animate.driver import PARTS
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.family import WanAnimate
from animate_pipelines.families.wan_animate.masking import find_masks
from animate_pipelines.families.wan_animate.pictures import SegmentPainter
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.job.plan import settle_recipe
from animate_pipelines.media.clip import Clip, Indices
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.following import Following, check_followed, find_driver
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.params import DEFAULT_MAX_GAP_S, DEFAULT_PROMPT, RenderParams
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

    def read_source(self, indices: Sequence[int] | Indices) -> Iterator[np.ndarray]:
        yield from self._frames[np.asarray(indices, int)]

    def close(self) -> None:
        """Do nothing, as nothing is open."""


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
    """The frames of a render.

    known: `t h w`, 1 where replace mode keeps the driver's pixels.
    """

    frames: np.ndarray  # t h w 3 uint8
    known: np.ndarray | None


@torch.no_grad()
def render(models: Models, reference: np.ndarray, driving: np.ndarray, size: Size, take: Take) -> Rendered:
    """Render all frames of a driving video with the person of a reference image.

    models: the bundle's networks.
    reference: `h w 3`.
    driving: `t h w 3`.
    size: (width, height) of the result.
    take: how to render.
    """
    manifest = models.manifest
    segments = plan_segments(len(driving), manifest.segment_frames, OVERLAP)
    params = RenderParams(
        reference_image="drawn", driving_video="drawn", mode=take.mode, prompt=take.prompt, turbo=take.turbo
    )
    frames = DrivingFrames(DrawnClip(driving), take.mode, size)
    family = models.family
    assert isinstance(family, WanAnimate)
    transformer = family.transformers.select(turbo=take.turbo, relight=take.mode == "replace")
    people = find_driver(family.readers, frames, Following(), None, Stopwatch(PARTS), lambda done, total: None)
    check_followed(people, frames, DEFAULT_MAX_GAP_S)
    with tempfile.TemporaryDirectory() as folder:
        masks = MaskFile(Path(folder, "masks.npy"), frames.size[0])
        if take.mode == "replace":
            find_masks(family.masks, people, frames, masks)
        painter = SegmentPainter(
            frames=frames,
            conditioning=condition(people, frames.clip, frames.size, smoothing=False),
            size=size,
            face_size_px=transformer.face_size_px,
            masks=masks.read if take.mode == "replace" else None,
        )
        sources = {segment: painter.draw(segment) for segment in segments}
    recipe = settle_recipe(manifest, replace(params, steps=take.steps), models.recipe_defaults)
    constants = encode_constants(family.encoders, family.readers, transformer, padding_resize(reference, *size), params)
    rendered = render_segments(
        AnimateSegmentModel(transformer, family.vae, constants, recipe),
        sources.__getitem__,
        segments,
        recipe,
        first_state(take.seed),
        carried_frames=OVERLAP,
    )
    shown = np.concatenate([to_frames(pixels)[: segment.num_new_frames] for segment, pixels in rendered])
    kept = ((s, sources[s].masks) for s in segments)
    known = [1 - mask[s.overlap :][: s.num_new_frames] for s, mask in kept if mask is not None]
    return Rendered(frames=shown, known=np.concatenate(known) if known else None)


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
    """Draw pair number `index` of those in which both wrists move; training never has its seed."""
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
