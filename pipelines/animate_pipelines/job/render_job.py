"""`RenderJob`: one render, with everything about it but the networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from animate_pipelines.job.cache import PreprocessCache
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.keys import render_identity
from animate_pipelines.job.plan import RenderPlan
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.loading.execution import Execution
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.progress.progress import OnProgress
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.availability import check_family, check_turbo
from animate_pipelines.request.params import RenderParams
from animate_pipelines.request.size import Size
from animate_weights.manifest import Manifest
from animate_weights.traits import Traits


class Memory(Protocol):
    """The memory of the device."""

    def check(self, size: Size, num_frames: int, *, field: str) -> None:
        """Raise `AreaTooLarge` on `field` for segments of that size and length that do not fit."""


class Checker(Protocol):
    """A check of pictures that a request may want."""

    def check(self, pictures: np.ndarray, *, field: str) -> None:
        """Raise `ContentRefused` where pictures do not pass.

        pictures: `n h w 3` uint8.
        field: the field of the request that they belong to.
        """


class Maker(Protocol):
    """The loaded bundle, without its networks."""

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the bundle."""

    @property
    def traits(self) -> Traits:
        """Return the traits of its family."""

    @property
    def bundle_hash(self) -> str:
        """Return a hash that changes with the bundle."""

    @property
    def execution(self) -> Execution:
        """Return how this process runs the networks."""

    @property
    def recipe_defaults(self) -> dict[str, Any]:
        """Return the fields of `Recipe` that this process takes where the request is silent."""

    @property
    def safety(self) -> Checker | None:
        """Return the check of pictures; None when the bundle has no checker."""

    @property
    def memory(self) -> Memory | None:
        """Return the memory of the device; None where nothing is planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderJob:
    """The work of a family.

    maker: the bundle that renders.
    workspace: for the files in between.
    cache: keeps what the networks find in the driving video; None keeps nothing.
    """

    params: RenderParams
    inputs: InputFiles
    destination: Path
    maker: Maker
    workspace: Workspace
    limits: MediaLimits
    tracker: ProgressTracker
    cache: PreprocessCache | None = None

    def check_memory(self, plan: RenderPlan) -> None:
        """Raise `AreaTooLarge` for a plan whose segments do not fit the device."""
        if self.maker.memory is not None:
            field = "render_area" if self.params.render_area else "resolution"
            self.maker.memory.check(plan.render_size, self.maker.manifest.segment_frames, field=field)

    def check_safety(self, pictures: np.ndarray, *, field: str) -> None:
        """Raise `ContentRefused` where pictures do not pass the check.

        pictures: `n h w 3` uint8.
        field: the field of the request that they belong to.
        """
        if self.params.safety_check and self.maker.safety is not None:
            self.maker.safety.check(pictures, field=field)

    @property
    def safety_outcome(self) -> str:
        """Return "off", "checked", or "not_checked" where the job wants a check and the bundle has no checker."""
        if not self.params.safety_check:
            return "off"
        return "not_checked" if self.maker.safety is None else "checked"


def open_job(
    maker: Maker,
    params: RenderParams,
    inputs: InputFiles,
    destination: Path,
    workspace: Path,
    report: OnProgress,
    limits: MediaLimits,
    cache: PreprocessCache | None,
) -> RenderJob:
    """Return a job whose workspace is claimed; see `render_video` for the arguments.

    Raises `InvalidField` for a request that the bundle cannot render.
    """
    traits, name = maker.traits, maker.manifest.name
    check_family(params, bundle=name, family=traits.family, tasks=traits.tasks, refuses=traits.refuses)
    check_turbo(params.turbo, bundle=name, lora=maker.manifest.turbo_lora)
    tracker = ProgressTracker(report)
    tracker.enter("check")
    identity = render_identity(params, inputs, maker.bundle_hash, maker.execution.to_json())
    return RenderJob(
        params=params,
        inputs=inputs,
        destination=destination,
        maker=maker,
        workspace=Workspace.claim(workspace, identity),
        limits=limits,
        tracker=tracker,
        cache=cache,
    )
