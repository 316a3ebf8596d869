"""`Renderer`: what a worker renders with. The real one holds the loaded models; it alone imports torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from animate_pipelines.progress.progress import OnProgress
from animate_pipelines.request.availability import check_safety
from animate_pipelines.request.params import RenderParams

if TYPE_CHECKING:
    from animate_pipelines.families.registry import Models
    from animate_pipelines.job.cache import PreprocessCache
    from animate_server.settings import Settings


class Renderer(Protocol):
    """Loaded models. Called again with the same workspace, it goes on after the last finished segment."""

    @property
    def bundle(self) -> dict[str, Any]:
        """What is loaded: `Manifest.to_json()`."""

    def __call__(
        self,
        params: RenderParams,
        *,
        inputs: Mapping[str, Path],
        destination: Path,
        workspace: Path,
        report: OnProgress,
    ) -> dict[str, Any]:
        """Write `destination`; `RenderResult.to_json()`. Raises the errors of `animate_pipelines.errors`.

        inputs: the files of those fields of `params.INPUTS` that were given. For `params` that want preflight only,
        the PNG of that, and its report.
        """


Load = Callable[[], Renderer]


class BundleRenderer:
    """`render_video()` on one device, with one bundle loaded."""

    def __init__(self, models: Models, bundle: dict[str, Any], settings: Settings, cache: PreprocessCache) -> None:
        self._models = models
        self._bundle = bundle
        self._settings = settings
        self._cache = cache

    @property
    def bundle(self) -> dict[str, Any]:
        return self._bundle

    def __call__(
        self,
        params: RenderParams,
        *,
        inputs: Mapping[str, Path],
        destination: Path,
        workspace: Path,
        report: OnProgress,
    ) -> dict[str, Any]:
        # Already imported by `load_renderer`; a worker whose code cannot be imported never says that it is ready.
        from animate_pipelines.job.input_files import InputFiles
        from animate_pipelines.job.preflight import preflight
        from animate_pipelines.render import render_video

        media = InputFiles(**inputs)
        if params.preflight == "only":
            return preflight(
                self._models.family.readers,
                self._models.manifest,
                params,
                media,
                destination,
                workspace=workspace,
                masks=self._models.family.masks,
                report=report,
                limits=self._settings.media_limits,
            )
        check_safety(
            params.safety_check,
            bundle=self._bundle["name"],
            checker=self._bundle["safety_checker"],
            refuse=self._settings.unchecked == "refuse",
        )
        allowed = params
        if self._settings.turbo_without_lora == "full_steps" and self._bundle["turbo_lora"] is None:
            allowed = with_full_steps(params)
        result = render_video(
            self._models,
            allowed,
            media,
            destination,
            workspace=workspace,
            report=report,
            limits=self._settings.media_limits,
            cache=self._cache,
        )
        shown = result.to_json()
        if allowed.turbo != params.turbo:
            said = f"turbo is not available with this bundle: rendered in {result.num_steps} full steps"
            shown["warnings"] = [said, *shown["warnings"]]
        return shown


def with_full_steps(params: RenderParams) -> RenderParams:
    """The same request without turbo; the number of steps that was meant for turbo goes with it."""
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
