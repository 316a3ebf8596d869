"""`animate-server render`: renders in this process, no server."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animate_pipelines.errors import AnimateError
from animate_pipelines.job.workspace import find_seed
from animate_server.cli.console import print_error, print_findings, print_json, print_reads, progress_report
from animate_server.cli.options import read_options, takes_fields
from animate_server.cli.outputs import VIDEO_SUFFIXES, check_output, format_of

if TYPE_CHECKING:
    from animate_pipelines.families.registry import Models
    from animate_pipelines.request.params import RenderParams
    from animate_pipelines.result import RenderResult
    from animate_server.settings import Settings


@takes_fields()
def render(
    output: Annotated[
        Path, typer.Option(help="The video to write, .mp4, .webm or .mov; of several X-1.mp4, X-2.mp4, ...")
    ],
    fields: dict[str, Any],
    bundle: Annotated[str, typer.Option(help="Name or path of the bundle of weights. Also ANIMATE_BUNDLE.")] = "",
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, ... [default: the first GPU, or the CPU]")] = None,
    ignore_memory: Annotated[
        bool, typer.Option("--ignore-memory", help="Try also what is predicted not to fit the GPU's memory.")
    ] = False,
    shortcuts: Annotated[
        str | None,
        typer.Option(help="Approximations for speed: fp8-linears, 8-bit-attention, density-0.2, half-first-step, ..."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Lines of JSON on stdout, for machines.")] = False,
) -> None:
    """Render a driving video with a reference image's character, in this process.

    Stopped and started again with the same inputs and options, it goes on after the last finished segment.
    """
    from animate_server.settings import load_settings
    from animate_server.supervisor import find_devices

    try:
        output = check_output(output, VIDEO_SUFFIXES)
        params = _read_params(fields, output)
        settings = load_settings(bundle=bundle or None, devices=device, shortcuts=shortcuts)
        models = _load(settings, params, find_devices(settings.devices)[0], ignore_memory=ignore_memory)
        for take, destination in zip(params.takes(), _destinations(output, params.num_results), strict=True):
            _print_result(_render(models, take, destination, settings, as_json=as_json), as_json=as_json)
    except AnimateError as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None


def _read_params(fields: dict[str, Any], output: Path) -> RenderParams:
    """Return the request; without a seed it gets that of a stopped render of the same options, where there is one."""
    from animate_pipelines.request.params import MAX_SEED, RenderParams

    values = read_options(fields)
    values["output_format"] = format_of(output, values.get("output_format"))
    params = RenderParams.from_json(values)
    if "seed" in values:
        return params
    for number, destination in enumerate(_destinations(output, params.num_results)):
        seed = find_seed(_workspace(destination), params)
        if seed is not None:
            print(f"going on with seed {seed} of the render that was stopped", file=sys.stderr)
            return replace(params, seed=(seed - number) % (MAX_SEED + 1))
    return params


def _destinations(output: Path, number: int) -> list[Path]:
    """Return where each result goes: the output itself, or numbered files beside it."""
    if number == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{take}") for take in range(1, number + 1)]


def _load(settings: Settings, params: RenderParams, device: str, *, ignore_memory: bool) -> Models:
    """Load the bundle, once it is known to do what is wanted."""
    from animate_pipelines.families.registry import find_family, load_models
    from animate_pipelines.request.availability import check_family
    from animate_weights.bundles import find_bundle
    from animate_weights.manifest import read_manifest

    folder = find_bundle(settings.bundle, settings.home)
    manifest = read_manifest(folder)
    print_reads(manifest)
    traits = find_family(manifest.family).TRAITS
    check_family(params, bundle=manifest.name, family=traits.family, tasks=traits.tasks, refuses=traits.refuses)
    return load_models(folder, device=device, shortcuts=settings.shortcuts, ignore_memory=ignore_memory)


def _workspace(output: Path) -> Path:
    return output.with_name(f".{output.name}.render")


def _render(models: Models, params: RenderParams, output: Path, settings: Settings, *, as_json: bool) -> RenderResult:
    from animate_pipelines.job.cache import PreprocessCache
    from animate_pipelines.job.input_files import InputFiles
    from animate_pipelines.render import render_video

    workspace = _workspace(output)
    try:
        with progress_report(output.name, as_json=as_json) as report:
            result = render_video(
                models,
                params,
                InputFiles.of(params),
                output,
                workspace=workspace,
                report=report,
                limits=settings.media_limits,
                cache=PreprocessCache(settings.preprocess_cache_dir, max_bytes=settings.preprocess_cache_bytes),
            )
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise
    except AnimateError as error:
        if error.fault == "request":  # a rerun would fail as this one did
            shutil.rmtree(workspace, ignore_errors=True)
        raise
    shutil.rmtree(workspace)
    return result


def _print_result(result: RenderResult, *, as_json: bool) -> None:
    if as_json:
        print_json({"status": "succeeded", "output": str(result.path), "result": result.to_json()})
        return
    print(
        f"{result.path}: {result.width}x{result.height}, {result.num_frames} frames at {result.fps} fps, "
        f"{result.duration_s:.2f} s, audio {result.audio}, seed {result.seed}"
    )
    for warning in result.warnings:
        print(f"note: {warning}")
    print_findings(result.preflight or {})
