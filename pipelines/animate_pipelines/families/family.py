"""`Family`: one kind of checkpoint, loaded. Everything that knows its networks, shapes and prompts lies behind it.

A family is a package that the entry points of `animate_server.families` name. It has `TRAITS`, which need no torch, and
`load`. The generic parts stay outside: the request, files and pieces, the segment loop, sound, the result.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from animate_pipelines.diffusion.loop import SegmentModel
from animate_pipelines.job.performance import Performance
from animate_pipelines.job.render_job import Memory, RenderJob
from animate_pipelines.loading.execution import Execution
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.readers import Readers
from animate_weights.manifest import Manifest
from animate_weights.traits import Traits


class Family(Protocol):
    """A loaded bundle of one family."""

    @property
    def execution(self) -> Execution:
        """Return how this process runs the networks."""

    @property
    def memory(self) -> Memory | None:
        """Return the memory that jobs are held to; None where memory is not planned."""

    @property
    def readers(self) -> Readers | None:
        """Return the networks that read a driving video; None where the family needs none."""

    @property
    def masks(self) -> MaskSource | None:
        """Return the source of the masks of the person to replace; None where the family replaces nobody."""

    def perform(self, job: RenderJob) -> Performance:
        """Read the job's inputs and plan the render.

        Raises the errors of the request's fault here, before any denoising.
        """

    def begin(self, job: RenderJob, performance: Any) -> SegmentModel:
        """Return the model with the conditions of the whole job: prompt, reference, and the like.

        performance: the result of `perform`.
        """

    def loras(self, job: RenderJob) -> tuple[tuple[str, float], ...]:
        """Return path in the bundle and strength of each LoRA that the job is rendered with."""


class FamilyModule(Protocol):
    """The module that an entry point of `animate_server.families` names."""

    TRAITS: Traits

    def load(
        self, bundle: Path, manifest: Manifest, execution: Execution, *, fit_memory: bool, ignore_memory: bool
    ) -> Family:
        """Load a bundle's networks. Reads local files only.

        execution: how to run them.
        fit_memory: whether residency may be changed to fit the device's free memory.
        ignore_memory: whether to try although the prediction does not fit.
        Raises `BundleError` for missing or unreadable files, `DeviceError` for an execution that fails on the device.
        """
