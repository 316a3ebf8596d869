"""`animate-server doctor`: whether this machine can render, and what with."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from animate_pipelines.errors import InvalidField
from animate_server.cli.console import EXIT_FAILED, print_error, print_json
from animate_server.cli.options import read_size

if TYPE_CHECKING:
    import torch

    from animate_server.settings import Settings

State = Literal["ok", "note", "bad"]
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "decord", "imageio-ffmpeg", "fastapi")
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_MIN_FREE_BYTES = 10 * 1024**3
_CONCLUSIONS = {
    True: "nothing keeps this machine from rendering; notes are worth knowing",
    False: "what is bad keeps renders from working: see docs/troubleshooting.md",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at. `bad` keeps renders from working; `note` is worth knowing."""

    subject: str
    state: State
    detail: str


def doctor(
    bundle: Annotated[str, typer.Option(help="Name or path of the bundle to look at. Also ANIMATE_BUNDLE.")] = "",
    render_area: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT to plan the memory for. [default: the bundle's areas]")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Length of the video to plan for.")] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.")] = False,
) -> None:
    """Look at packages, FFmpeg, devices, attention backends, disk and the bundle. Exits with 1 when one is bad."""
    from animate_server.settings import load_settings

    try:
        area = None if render_area is None else read_size(render_area, "render_area")
        findings = list(_examine(load_settings(bundle=bundle or None), area, frames))
    except InvalidField as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None
    healthy = all(finding.state != "bad" for finding in findings)
    if as_json:
        rows = [{"subject": f.subject, "state": f.state, "detail": f.detail} for f in findings]
        print_json({"healthy": healthy, "findings": rows})
    else:
        for finding in findings:
            print(f"{finding.state:4}  {finding.subject:16}  {finding.detail}")
        print(_CONCLUSIONS[healthy])
    raise typer.Exit(0 if healthy else EXIT_FAILED)


def _examine(settings: Settings, area: list[int] | None, num_frames: int) -> Iterator[Finding]:
    yield Finding(
        subject="animate-server",
        state="ok",
        detail=f"{version('animate-server')}, Python {platform.python_version()}, {platform.machine()}",
    )
    yield from _packages()
    yield _ffmpeg()
    yield from _devices()
    yield _disk(settings.home)
    yield _bundle(settings)
    yield from _memory(settings, area, num_frames)


def _packages() -> Iterator[Finding]:
    found = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, number in found.items() if not number]
    listed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    yield Finding(subject="packages", state="ok", detail=listed)
    for name in missing:
        yield Finding(subject=name, state="bad", detail="not installed: pip install animate-server[cpu] or [cuda]")
    runtimes = {name: number for name in _RUNTIMES if (number := _version(name))}
    detail = ", ".join(f"{name} {number}" for name, number in runtimes.items())
    if len(runtimes) == 1:
        yield Finding(subject="onnxruntime", state="ok", detail=f"{detail}: runs the detector and the pose network")
    else:
        fix = "install the extra `cpu` or `cuda`, not both"
        yield Finding(subject="onnxruntime", state="bad", detail=f"{detail or 'not installed'}: {fix}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _ffmpeg() -> Finding:
    import imageio_ffmpeg

    try:
        shown = subprocess.run(
            [imageio_ffmpeg.get_ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return Finding(subject="FFmpeg", state="bad", detail=str(error))
    release = shown.splitlines()[0].removeprefix("ffmpeg version ").split(" Copyright")[0]
    return Finding(subject="FFmpeg", state="ok", detail=f"{release}, bundled: reads and writes all media")


def _devices() -> Iterator[Finding]:
    import torch

    from animate_kernels.dispatch import choose
    from animate_server.supervisor import find_devices

    devices = find_devices(["auto"])
    for name in devices:
        yield Finding(subject=name, state="ok", detail=_describe_device(torch.device(name)))
    choice = choose(torch.device(devices[0]))
    if devices[0] == "cpu":  # what is made for GPUs alone is no news here
        yield Finding(subject="kernels", state="ok", detail="PyTorch's own; the faster ones need a GPU")
        return
    for finding in choice.findings:
        state: State = "ok" if finding.usable else "note"
        detail = "works" if finding.usable else f"not used, slower without it: {finding.reason}"
        yield Finding(subject=f"kernel {finding.name}", state=state, detail=detail)
    yield Finding(subject="attention", state="ok", detail=f"by {choice.backend.name}, unless a shortcut names another")


def _describe_device(device: torch.device) -> str:
    import psutil
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)}, {_gib(free)} of {_gib(total)} GiB free"
    memory = psutil.virtual_memory()
    unused, whole = _gib(memory.available), _gib(memory.total)
    return f"{psutil.cpu_count()} cores, {unused} of {whole} GiB free: for the bundled models"


def _disk(home: Path) -> Finding:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    state: State = "ok" if free >= _MIN_FREE_BYTES else "note"
    return Finding(subject="disk", state=state, detail=f"{_gib(free)} GiB free under {home}")


def _bundle(settings: Settings) -> Finding:
    from animate_pipelines.errors import BundleError
    from animate_weights.bundles import find_bundle
    from animate_weights.manifest import REAL_WEIGHTS, fingerprint, read_manifest, say_reads

    try:
        folder = find_bundle(settings.bundle, settings.home)
        manifest = read_manifest(folder)
    except BundleError as error:
        return Finding(subject=f"bundle {settings.bundle}", state="bad", detail=error.message)
    areas = " or ".join(f"{width}x{height}" for width, height in manifest.render_areas)
    turbo = f"{manifest.turbo_steps} with --turbo" if manifest.turbo_lora else "no --turbo"
    detail = (
        f"renders {areas} px, {manifest.segment_frames} frames at a time, in {manifest.steps} steps ({turbo}); "
        f"{say_reads(manifest.name, manifest.reads)}; fingerprint {fingerprint(folder)}"
    )
    if manifest.reads == "people" and not manifest.warning:
        return Finding(subject=f"bundle {manifest.name}", state="ok", detail=detail)
    notes = [note for note in (manifest.warning, REAL_WEIGHTS) if note]
    return Finding(subject=f"bundle {manifest.name}", state="note", detail="; ".join([detail, *notes]))


def _memory(settings: Settings, area: list[int] | None, num_frames: int) -> Iterator[Finding]:
    """Yield, for that area or each of the bundle's, the predicted need and how each GPU would share its memory."""
    import torch

    from animate_pipelines.diffusion.segments import plan_segments
    from animate_pipelines.errors import BundleError
    from animate_pipelines.loading.execution import default_execution
    from animate_pipelines.loading.residency import describe_plan
    from animate_pipelines.loading.sizes import SegmentSize, area_segments, read_sizes
    from animate_server.supervisor import find_devices
    from animate_weights.bundles import find_bundle
    from animate_weights.manifest import read_manifest

    try:
        folder = find_bundle(settings.bundle, settings.home)
        manifest = read_manifest(folder)
        sizes = read_sizes(folder, manifest)
    except BundleError as error:
        yield Finding(subject="memory", state="bad", detail=error.message)
        return
    segments = area_segments(manifest)
    if area is not None:
        segments = [SegmentSize(width=area[0], height=area[1], num_frames=manifest.segment_frames)]
    count = len(plan_segments(num_frames, manifest.segment_frames, overlap=1))
    length = f"{num_frames} frames are {count} such pieces, one after the other in the same memory"
    for device in find_devices(["auto"]):
        free = torch.cuda.mem_get_info(device)[0] if torch.device(device).type == "cuda" else None
        for segment in segments:
            subject = f"memory {segment.width}x{segment.height}"
            plan = describe_plan(sizes, default_execution(device), segment, free)
            detail = f"{device}: {plan}; {length}" if plan else f"{device}: too small"
            yield Finding(subject=subject, state="ok" if plan else "note", detail=detail)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.0f}"
