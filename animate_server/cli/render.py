"""`animate-server render`: one render in this process, no server."""

from __future__ import annotations

import re
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from animate_pipelines.errors import AnimateError, InvalidField
from animate_server.cli.console import print_error, print_json, progress_report

if TYPE_CHECKING:
    from animate_pipelines.request.params import RenderParams
    from animate_pipelines.result import RenderResult
    from animate_server.settings import Settings


class Mode(StrEnum):
    ANIMATE = "animate"
    REPLACE = "replace"


def render(
    image: Annotated[Path, typer.Option(help="The reference image: who is on screen.")],
    video: Annotated[Path, typer.Option(help="The driving video: what happens.")],
    output: Annotated[Path, typer.Option(help="The MP4 to write.")],
    reference_kind: Annotated[
        str, typer.Option(help="video: --image is a video of the character, of which the best frame is taken.")
    ] = "image",
    mode: Annotated[Mode, typer.Option(help="Animate the image, or replace the person in the video.")] = Mode.ANIMATE,
    resolution: Annotated[str, typer.Option(help="Of the result: 480p, 580p, 720p or 1080p.")] = "720p",
    render_area: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT whose area the model generates at. [default: the bundle's]")
    ] = None,
    fps: Annotated[str, typer.Option(help="source, 24, 48 or any whole number up to 120.")] = "source",
    seed: Annotated[int | None, typer.Option(help="[default: drawn, and reported]")] = None,
    prompt: Annotated[str | None, typer.Option(help="What to say to the model beyond the two inputs.")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps. [default: the bundle's]")] = None,
    turbo: Annotated[bool, typer.Option("--turbo", help="Few steps, with the bundle's few-step LoRA.")] = False,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave out the driving video's sound.")] = False,
    retarget: Annotated[
        bool, typer.Option("--retarget", help="Give the driver the reference character's proportions first.")
    ] = False,
    neutral_reference: Annotated[
        Path | None, typer.Option(help="For --retarget: the reference image edited so that the pose is neutral.")
    ] = None,
    neutral_driver: Annotated[
        Path | None, typer.Option(help="With it: a frame of the driving video, edited likewise.")
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Crop and pad the image to the video's framing first.")
    ] = False,
    preflight: Annotated[
        str, typer.Option(help="Look whether the two go together: warn, strict (refuse a bad pair) or off.")
    ] = "warn",
    keypoints: Annotated[
        Path | None, typer.Option(help="Your own keypoints of the driving video: JSON, whole-body or OpenPose.")
    ] = None,
    mask_video: Annotated[
        Path | None, typer.Option(help="Your own masks for replace mode: a video, white on the person.")
    ] = None,
    mask_fit: Annotated[
        str, typer.Option(help="Of what is regenerated in replace mode: box, blocks or tight.")
    ] = "box",
    start: Annotated[float, typer.Option(help="Seconds of the driving video to leave out first.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(help="Seconds of the driving video to use. [default: to its end]")
    ] = None,
    person: Annotated[
        str, typer.Option(help="Who is followed: largest, center, a number, or X,Y@SECONDS (fractions of the frame).")
    ] = "largest",
    max_gap_s: Annotated[
        float, typer.Option("--max-gap", help="Seconds that person may be out of sight; they are bridged.")
    ] = 1.0,
    smoothing: Annotated[bool, typer.Option("--smoothing", help="Steady the boxes of person and face.")] = False,
    frames: Annotated[int | None, typer.Option(help="Render only this many frames.")] = None,
    overlap: Annotated[int, typer.Option(help="Frames carried from a segment into the next: 1 or 5.")] = 1,
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

    Stopped and started again with the same inputs, options and seed, it goes on after the last finished segment.
    """
    fields = {
        "mode": mode.value,
        "resolution": resolution,
        "render_area": read_area(render_area),
        "fps": fps if fps == "source" else _whole_number(fps, "fps"),
        "seed": seed,
        "prompt": prompt,
        "steps": steps,
        "turbo": turbo,
        "keep_audio": not no_audio,
        "retarget": retarget,
        "align": align,
        "preflight": _before_render(preflight),
        "mask_fit": mask_fit,
        "start": start,
        "duration": duration,
        "person": person,
        "max_gap_s": max_gap_s,
        "smoothing": smoothing,
        "keypoints": find_given(keypoints, "keypoints"),
        "mask_video": find_given(mask_video, "mask_video"),
        "neutral_reference": find_given(neutral_reference, "neutral_reference"),
        "neutral_driver": find_given(neutral_driver, "neutral_driver"),
        "num_frames": frames,
        "overlap": overlap,
        "reference_image": str(find_file(image, "image")),
        "reference_kind": reference_kind,
        "driving_video": str(find_file(video, "video")),
    }
    from animate_server.settings import load_settings

    try:
        params = _params(fields)
        settings = load_settings(bundle=bundle or None, devices=device, shortcuts=shortcuts)
        result = _render(params, output.absolute(), settings, ignore_memory=ignore_memory, as_json=as_json)
    except AnimateError as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None
    _print_result(result, as_json=as_json)


def _params(fields: dict[str, Any]) -> RenderParams:
    from animate_pipelines.request.params import RenderParams

    return RenderParams.from_json({name: value for name, value in fields.items() if value is not None})


def _render(
    params: RenderParams, output: Path, settings: Settings, *, ignore_memory: bool, as_json: bool
) -> RenderResult:
    from animate_weights.bundles import find_bundle

    folder = find_bundle(settings.bundle, settings.home)

    from animate_pipelines.families.registry import load_models
    from animate_pipelines.job.cache import PreprocessCache
    from animate_pipelines.job.input_files import InputFiles
    from animate_pipelines.render import render_video
    from animate_server.supervisor import find_devices

    media = InputFiles.of(params)
    workspace = output.with_name(f".{output.name}.render")
    output.parent.mkdir(parents=True, exist_ok=True)
    device = find_devices(settings.devices)[0]
    models = load_models(folder, device=device, shortcuts=settings.shortcuts, ignore_memory=ignore_memory)
    try:
        with progress_report(output.name, as_json=as_json) as report:
            result = render_video(
                models,
                params,
                media,
                output,
                workspace=workspace,
                report=report,
                limits=settings.media_limits,
                cache=PreprocessCache(settings.preprocess_cache_dir, max_bytes=settings.preprocess_cache_bytes),
            )
    except KeyboardInterrupt:
        print(f"stopped; the same command with --seed {params.seed} goes on from here", file=sys.stderr)
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
    for finding in (result.preflight or {}).get("findings", []):
        print(f"{finding['severity']}: {finding['message']}; {finding['fix']}")


def find_given(path: Path | None, field: str) -> str | None:
    """As `find_file`, of an input that may be left out."""
    return None if path is None else str(find_file(path, field))


def find_file(path: Path, option: str) -> Path:
    if not path.is_file():
        raise InvalidField(f"there is no file {path}", field=option, value=str(path))
    return path.absolute()


def _before_render(text: str) -> str:
    if text not in ("warn", "strict", "off"):
        raise InvalidField(f"preflight must be warn, strict or off, not {text!r}", field="preflight", value=text)
    return text


def read_area(text: str | None) -> list[int] | None:
    """[width, height] of WIDTHxHEIGHT. `InvalidField`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise InvalidField(
            f"render_area must be WIDTHxHEIGHT, not {text!r}", field="render_area", value=text, limit="such as 1280x720"
        )
    return [int(match[1]), int(match[2])]


def _whole_number(text: str, field: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text):
        raise InvalidField(f"{field} must be source or a whole number, not {text!r}", field=field, value=text)
    return int(text)
