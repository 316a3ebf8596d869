"""A second family in a package of its own: a small random network that a prompt alone drives. See `FamilyModule`."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.job.performance import PerformanceNotes
from animate_pipelines.job.plan import RenderPlan, plan_render
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.loading.execution import Execution
from animate_pipelines.media.image import read_image
from animate_pipelines.media.resize import padding_resize
from animate_weights.manifest import Manifest
from animate_weights.traits import Traits

TRAITS = Traits(family="toy", tasks=("image-to-video",), refuses=("guidance_scale",), carried_frames=2)
NOTES = PerformanceNotes(warnings=("the family is a toy",))
RATE, CELL_PX = 8, 8


def load(bundle: Path, manifest: Manifest, wanted: Execution, *, fit_memory: bool, ignore_memory: bool) -> ToyFamily:
    """Return the family with the network that lies in the bundle."""
    return ToyFamily(execution=wanted, weight=torch.load(bundle / "weight.pt"))


@dataclass(frozen=True, kw_only=True)
class ToyPerformance:
    """So many frames, and what the prompt sounds like in each: a number."""

    plan: RenderPlan
    picture: np.ndarray
    beats: np.ndarray
    fps: Fraction
    sound: None = None
    notes: PerformanceNotes = NOTES

    @property
    def num_frames(self) -> int:
        return len(self.beats)

    def drive(self, segment: Segment) -> np.ndarray:
        return np.resize(self.beats, segment.stop)[segment.start :]

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class ToyFamily:
    """weight: `3 6 3 3 3`, of one convolution over latents and reference."""

    execution: Execution
    weight: torch.Tensor
    memory: None = None
    readers: None = None
    masks: None = None

    def perform(self, job: RenderJob) -> ToyPerformance:
        params, manifest = job.params, job.maker.manifest
        picture = read_image(job.inputs.reference_image, job.limits)
        num_frames = params.num_frames or manifest.segment_frames
        size = (picture.shape[1], picture.shape[0])
        plan = plan_render(manifest, params, size, num_frames, job.maker.recipe_defaults)
        job.tracker.enter("preprocess")
        seed = int.from_bytes(hashlib.sha256(params.prompt.encode()).digest()[:4], "big")
        return ToyPerformance(
            plan=plan,
            picture=padding_resize(picture, *plan.render_size),
            beats=np.random.default_rng(seed).normal(size=num_frames),
            fps=Fraction(RATE if params.fps == "source" else params.fps),
        )

    def begin(self, job: RenderJob, performance: ToyPerformance) -> ToyModel:
        picture = torch.from_numpy(performance.picture).permute(2, 0, 1)[None, :, None].float() / 127.5 - 1
        return ToyModel(self.weight, picture, performance.plan.recipe)

    def loras(self, job: RenderJob) -> tuple[tuple[str, float], ...]:
        return ()


class ToyModel:
    """Latents are pixels at an eighth of the sides, a frame each."""

    def __init__(self, weight: torch.Tensor, picture: torch.Tensor, recipe: Recipe) -> None:
        self._weight, self._reference = weight, F.avg_pool3d(picture, (1, CELL_PX, CELL_PX))

    def prepare(self, drive: np.ndarray, carried: torch.Tensor | None) -> ToyDenoiser:
        reference = self._reference.expand(-1, -1, len(drive), -1, -1)
        if carried is not None:
            reference = reference + F.avg_pool3d(carried, (1, CELL_PX, CELL_PX)).mean(dim=2, keepdim=True)
        beats = torch.from_numpy(drive).float().view(1, 1, -1, 1, 1)
        return ToyDenoiser(self._weight, reference, beats)

    def finish(self, latents: torch.Tensor, segment: Segment) -> torch.Tensor:
        return latents.tanh().repeat_interleave(CELL_PX, 3).repeat_interleave(CELL_PX, 4)[:, :, segment.overlap :]


class ToyDenoiser:
    def __init__(self, weight: torch.Tensor, reference: torch.Tensor, beats: torch.Tensor) -> None:
        self.noise_shape, self.device = tuple(reference.shape), reference.device
        self._weight, self._reference, self._beats = weight, reference, beats

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        time.sleep(0.05)  # so that a kill finds it at work
        return F.conv3d(torch.cat([latents, self._reference], dim=1), self._weight, padding=1) + self._beats

    def settle(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._reference[:, :, :1], latents[:, :, 1:]], dim=2)  # the first frame is known


def write_bundle(folder: Path) -> Path:
    """Write a bundle of this family: a manifest and random weights."""
    values: dict[str, Any] = {"name": "toy", "render_areas": ((64, 48),), "segment_frames": 5, "steps": 3, "shift": 3.0}
    manifest = Manifest(**values, family="toy", warning="the bundle 'toy' has random weights")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
    torch.save(torch.randn(3, 6, 3, 3, 3, generator=torch.Generator().manual_seed(5)) / 9, folder / "weight.pt")
    return folder
