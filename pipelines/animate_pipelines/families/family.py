"""`Family`: one kind of checkpoint, loaded. Everything that knows its networks, shapes and prompts lies behind it.

A family is a package that the entry points of `animate_server.families` name. It has `TRAITS`, which need no torch, and
`load`. What is generic stays outside: the request, files and pieces, the segment loop, sound, the result.
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
        """Return what jobs are held to; None where memory is not planned."""

    @property
    def readers(self) -> Readers | None:
        """Return the networks that look at a driving video; None where the family needs none."""

    @property
    def masks(self) -> MaskSource | None:
        """Return what finds the person to replace; None where the family replaces nobody."""

    def perform(self, job: RenderJob) -> Performance:
        """Look at the job's inputs and plan the render.

        What the request cannot have is refused here, before any denoising, with the errors of its fault.
        """

    def begin(self, job: RenderJob, performance: Any) -> SegmentModel:
        """Return the model, shown what the whole job is conditioned on: prompt, reference, and the like.

        performance: what `perform` returned.
        """

    def loras(self, job: RenderJob) -> tuple[tuple[str, float], ...]:
        """Return path in the bundle and strength of each LoRA that the job is rendered with."""


class FamilyModule(Protocol):
    """What an entry point of `animate_server.families` names."""

    TRAITS: Traits

    def load(
        self, bundle: Path, manifest: Manifest, wanted: Execution, *, fit_memory: bool, ignore_memory: bool
    ) -> Family:
        """Load a bundle's networks; reads local files only.

        wanted: how to run them.
        fit_memory: whether residency may be changed to what the device's free memory allows.
        ignore_memory: whether to try what is predicted not to fit.
        Raises `BundleError` for what is missing or unreadable, `DeviceError` for what does not work on the device.
        """
