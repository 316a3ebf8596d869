"""`Renderer`: what a worker renders with. The real one holds the loaded models; it alone imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from animate_pipelines.progress.progress import OnProgress
from animate_pipelines.request.availability import check_safety
from animate_pipelines.request.params import RenderParams
from animate_server.jobs import JobKind

if TYPE_CHECKING:
    from animate_pipelines.families.registry import Models
    from animate_pipelines.job.cache import PreprocessCache
    from animate_server.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderTask:
    """One result of a job, to be made.

    inputs: the files of those fields of `params.INPUTS` that were given.
    destination: the video to write; of a preflight the PNG.
    workspace: a folder for what is not finished. Under the same one a second task goes on where the first stopped.
    """

    kind: JobKind
    params: RenderParams
    inputs: Mapping[str, Path]
    destination: Path
    workspace: Path
    report: OnProgress


class Renderer(Protocol):
    """Loaded models."""

    @property
    def bundle(self) -> dict[str, Any]:
        """Return what is loaded: `Manifest.to_json()`."""

    def __call__(self, task: RenderTask) -> dict[str, Any]:
        """Write `task.destination`, and return `RenderResult.to_json()`; of a preflight its report.

        Raises the errors of `animate_pipelines.errors`.
        """


Load = Callable[[], Renderer]


class BundleRenderer:
    """Runs `render_video()` and `preflight()` on one device, with one bundle loaded."""

    def __init__(self, models: Models, bundle: dict[str, Any], settings: Settings, cache: PreprocessCache) -> None:
        self._models = models
        self._bundle = bundle
        self._settings = settings
        self._cache = cache

    @property
    def bundle(self) -> dict[str, Any]:
        return self._bundle

    def __call__(self, task: RenderTask) -> dict[str, Any]:
        return self._preflight(task) if task.kind == "preflight" else self._render(task)

    # What both import is imported already by `load_renderer`; a worker whose code cannot be imported never says that it
    # is ready.

    def _preflight(self, task: RenderTask) -> dict[str, Any]:
        from animate_pipelines.job.input_files import InputFiles
        from animate_pipelines.job.preflight import preflight

        return preflight(
            self._models.family.readers,
            self._models.manifest,
            task.params,
            InputFiles(**task.inputs),
            task.destination,
            workspace=task.workspace,
            masks=self._models.family.masks,
            report=task.report,
            limits=self._settings.media_limits,
        )

    def _render(self, task: RenderTask) -> dict[str, Any]:
        from animate_pipelines.job.input_files import InputFiles
        from animate_pipelines.render import render_video

        wanted = task.params
        check_safety(
            wanted.safety_check,
            bundle=self._bundle["name"],
            checker=self._bundle["safety_checker"],
            refuse=self._settings.when_no_safety_checker == "refuse",
        )
        params = wanted
        if self._settings.when_no_turbo_lora == "full_steps" and self._bundle["turbo_lora"] is None:
            params = with_full_steps(wanted)
        result = render_video(
            self._models,
            params,
            InputFiles(**task.inputs),
            task.destination,
            workspace=task.workspace,
            report=task.report,
            limits=self._settings.media_limits,
            cache=self._cache,
        )
        shown = result.to_json()
        if params.turbo != wanted.turbo:
            warning = f"turbo is not available with this bundle: rendered in {result.num_steps} full steps"
            shown["warnings"] = [warning, *shown["warnings"]]
        return shown


def with_full_steps(params: RenderParams) -> RenderParams:
    """Return the same request without turbo, and without the number of steps that was meant for turbo."""
    return dataclasses.replace(params, turbo=False, steps=None) if params.turbo else params


def load_renderer(settings: Settings, device: str) -> Renderer:
    """Find, read and load the bundle. Raises `BundleError`, `DeviceError`."""
    from animate_weights.bundles import find_bundle

    path = find_bundle(settings.bundle, settings.home)

    import animate_pipelines.render  # noqa: F401
    from animate_pipelines.families.registry import load_models
    from animate_pipelines.job.cache import PreprocessCache

    models = load_models(path, device=device, shortcuts=settings.shortcuts)
    cache = PreprocessCache(settings.preprocess_cache_dir, max_bytes=settings.preprocess_cache_bytes)
    return BundleRenderer(models, models.describe(), settings, cache)
