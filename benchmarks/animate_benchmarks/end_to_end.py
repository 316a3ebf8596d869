"""Measures one whole job by stage, and its generation beside diffusers' pipeline on the same weights, frames and steps.

    python -m animate_benchmarks.end_to_end [--bundle tiny] [--device cpu] [--frames 49] [--steps 4] [--repeats 5]

Both sides generate from the same pictures in the same process, in turns. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import WanAnimatePipeline
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.families.wan_animate.conditioning import condition
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.family import WanAnimate
from animate_pipelines.families.wan_animate.pictures import SegmentPainter
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.plan import RenderPlan, plan_render
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import read_mezzanine
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult
from animate_weights.bundles import find_bundle
from animate_weights.puppet import demo_pair
from animate_weights.puppet.files import write_pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job ready to generate: its plan and every segment's pictures, drawn beforehand for both sides."""

    params: RenderParams
    plan: RenderPlan
    reference: np.ndarray
    pictures: tuple[SegmentFrames, ...]


def main() -> None:
    options = _options()
    models = load_models(find_bundle(options.bundle, options.home), device=options.device)
    with tempfile.TemporaryDirectory() as folder:
        image, video = write_pair(demo_pair(7, num_frames=options.frames), Path(folder), sound=False)
        media = InputFiles(reference_image=image, driving_video=video)
        params = RenderParams(
            reference_image="drawn", driving_video="drawn", resolution="480p", steps=options.steps, seed=0
        )
        stages = [_whole_job(models, params, media, Path(folder)) for _ in range(options.repeats)]
        job = _prepare(models, params, media, Path(folder))
    oracle = WanAnimatePipeline.from_pretrained(models.bundle, local_files_only=True).to(models.device)
    oracle.set_progress_bar_config(disable=True)
    ours, theirs = _interleave(lambda: _generate(models, job), lambda: _generate_with(oracle, job), options.repeats)
    _print(options, models, job, stages, ours, theirs, _floor_s(models, job))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--home", type=Path, default=Path("~/.cache/animate-server").expanduser())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _whole_job(models: Models, params: RenderParams, media: InputFiles, folder: Path) -> RenderResult:
    """Run one job without a cache. Its workspace stays, for `_prepare`."""
    workspace = folder / "workspace"
    for file in workspace.glob("*"):
        file.unlink()
    return render_video(models, params, media, folder / "out.mp4", workspace=workspace)


def _prepare(models: Models, params: RenderParams, media: InputFiles, folder: Path) -> Job:
    files = Workspace(folder / "workspace")
    with Clip(read_mezzanine(files.mezzanine, MediaLimits())) as clip:
        plan = plan_render(models.manifest, params, clip.size, clip.num_frames)
        frames = DrivingFrames(clip, params.mode, plan.render_size)
        painter = SegmentPainter(
            frames=frames,
            conditioning=condition(FoundPeople.load(files.people), clip, frames.size, smoothing=False),
            size=plan.render_size,
            face_size_px=_family(models).transformers.face_size_px,
        )
        pictures = tuple(painter.draw(segment) for segment in plan.segments)
    reference = padding_resize(np.asarray(Image.open(media.reference_image)), *plan.render_size)
    return Job(params=params, plan=plan, reference=reference, pictures=pictures)


def _family(models: Models) -> WanAnimate:
    assert isinstance(models.family, WanAnimate)
    return models.family


@torch.no_grad()
def _generate(models: Models, job: Job) -> None:
    family = _family(models)
    transformer = family.transformers.select(turbo=False)
    constants = encode_constants(family.encoders, family.readers, transformer, job.reference, job.params)
    for _ in render_segments(
        AnimateSegmentModel(transformer, family.vae, constants, job.plan.recipe),
        lambda segment: job.pictures[segment.index],
        job.plan.segments,
        job.plan.recipe,
        first_state(job.params.seed),
        carried_frames=job.params.overlap,
    ):
        pass


def _generate_with(oracle: WanAnimatePipeline, job: Job) -> None:
    overlap = job.params.overlap
    width, height = job.plan.render_size
    pose = [frame for part in job.pictures for frame in part.pose[overlap if part is not job.pictures[0] else 0 :]]
    face = [frame for part in job.pictures for frame in part.face[overlap if part is not job.pictures[0] else 0 :]]
    oracle(
        mode="animate",
        image=Image.fromarray(job.reference),
        pose_video=[Image.fromarray(frame) for frame in pose],
        face_video=[Image.fromarray(frame) for frame in face],
        prompt=job.params.prompt,
        height=height,
        width=width,
        segment_frame_length=job.plan.segments[0].stop,
        num_inference_steps=job.plan.recipe.num_steps,
        prev_segment_conditioning_frames=overlap,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(job.params.seed),
        output_type="np",
    )


def _interleave(ours: Callable[[], None], theirs: Callable[[], None], repeats: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each run of both sides in turns, after one of each to warm up."""
    ours()
    theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(repeats)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _floor_s(models: Models, job: Job) -> float:
    """Return the seconds of our operations alone at the rate of one large matrix product on this device."""
    with FlopCounterMode(display=False) as counter:
        _generate(models, job)
    side = 2048 if models.device.type == "cpu" else 8192
    matrix = torch.randn(side, side, device=models.device, dtype=getattr(torch, models.execution.dtype))
    rate = max(2 * side**3 / _seconds(lambda: (matrix @ matrix, None)[1]) for _ in range(5))
    return counter.get_total_flops() / rate


def _print(
    options: argparse.Namespace,
    models: Models,
    job: Job,
    stages: list[RenderResult],
    ours: list[float],
    theirs: list[float],
    floor_s: float,
) -> None:
    by_stage = {
        stage: statistics.median(result.seconds.get(stage, 0.0) for result in stages) for stage in stages[0].seconds
    }
    width, height = job.plan.render_size
    device = torch.cuda.get_device_name() if models.device.type == "cuda" else f"{platform.machine()} CPU"
    where = f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {models.execution.dtype}"
    length = f"{stages[0].num_frames} frames in {len(job.pictures)} segments"
    what = f"bundle {models.manifest.name}, {width}x{height}, {length}"
    print(f"{where}\n{what}, {job.plan.recipe.num_steps} steps; medians of {options.repeats}\n")
    print("a whole job, by stage                        s")
    for stage, seconds in by_stage.items():
        print(f"  {stage:38} {seconds:8.3f}")
    ratio = statistics.median(other / own for own, other in zip(ours, theirs, strict=True))
    print("generation alone, interleaved                s")
    print(f"  {'ours':38} {statistics.median(ours):8.3f}")
    print(f"  {'diffusers WanAnimatePipeline':38} {statistics.median(theirs):8.3f}")
    print(f"  {'floor: our operations at matmul rate':38} {floor_s:8.3f}")
    print(f"diffusers / ours: {ratio:.2f} (median of {options.repeats} pairs)")
    summary: dict[str, Any] = {
        "where": where,
        "what": what,
        "steps": job.plan.recipe.num_steps,
        "stages_s": by_stage,
        "ours_s": statistics.median(ours),
        "diffusers_s": statistics.median(theirs),
        "floor_s": floor_s,
        "ratio": ratio,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
