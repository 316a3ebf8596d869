"""`animate-server demo`: draws a pair, renders it in both modes and shows what came of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from animate_server.cli.console import progress_report
from animate_server.cli.outputs import check_folder

if TYPE_CHECKING:
    from animate_pipelines.families.registry import Models
    from animate_pipelines.request.choices import Task
    from animate_pipelines.result import RenderResult


def demo(
    output_dir: Annotated[Path, typer.Option(help="Where the pair, the videos and the contact sheets go.")] = Path(
        "demo"
    ),
    bundle: Annotated[str, typer.Option(help="Name or path of the bundle of weights. Also ANIMATE_BUNDLE.")] = "",
    seed: Annotated[int, typer.Option(help="Of the drawn pair and of the render.")] = 11,
) -> None:
    """Draw a reference image and a driving video, render them in both modes, and write contact sheets."""
    from animate_server.settings import load_settings
    from animate_weights.bundles import find_bundle

    settings = load_settings(bundle=bundle or None)
    folder = find_bundle(settings.bundle, settings.home)

    from animate_pipelines.families.registry import load_models
    from animate_server.supervisor import find_devices
    from animate_weights.puppet import demo_pair
    from animate_weights.puppet.files import write_pair

    check_folder(output_dir, option="--output-dir")
    image, video = write_pair(demo_pair(seed), output_dir)
    models = load_models(folder, device=find_devices(settings.devices)[0], shortcuts=settings.shortcuts)
    written = [image, video]
    for mode in ("animate", "replace"):
        written += _render(models, image, video, mode, seed)
    if models.manifest.warning:
        print(f"note: {models.manifest.warning}")
    for path in written:
        print(path)


def _render(models: Models, image: Path, video: Path, mode: Task, seed: int) -> list[Path]:
    """Render one mode, and return the video and its contact sheet."""
    from animate_pipelines.job.input_files import InputFiles
    from animate_pipelines.job.workspace import Workspace
    from animate_pipelines.render import render_video
    from animate_pipelines.request.params import RenderParams
    from animate_pipelines.sheets.contact_sheet import write_contact_sheet

    output = image.with_name(f"{mode}.mp4")
    workspace = image.with_name(f".{mode}.render")
    params = RenderParams(reference_image=str(image), driving_video=str(video), mode=mode, seed=seed, resolution="480p")
    began = time.monotonic()
    with progress_report(output.name) as report:
        result = render_video(
            models,
            params,
            InputFiles(reference_image=image, driving_video=video),
            output,
            workspace=workspace,
            report=report,
        )
    sheet = output.with_suffix(".png")
    caption = _caption(result, time.monotonic() - began, random_weights=bool(models.manifest.warning))
    files = Workspace(workspace)
    write_contact_sheet(files.people, files.mezzanine, image, output, sheet, caption=caption)
    shutil.rmtree(workspace)
    return [output, sheet]


def _caption(result: RenderResult, seconds: float, *, random_weights: bool) -> str:
    noise = ", random weights: skeleton and output mean nothing" if random_weights else ""
    size = f"{result.render_width}x{result.render_height}"
    made = f"{result.num_frames} frames generated at {size} in {seconds:.0f} s"
    return f"{result.mode}: {made}, bundle {result.bundle}{noise}"
