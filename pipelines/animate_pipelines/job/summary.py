"""Summarises a finished render: its `RenderResult`, and the tags of the video file."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from animate_pipelines.job.performance import Performance
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.media.join import Joined
from animate_pipelines.memory.device import peak_memory_bytes
from animate_pipelines.result import RenderResult


def metadata_of(job: RenderJob, performance: Performance) -> dict[str, str]:
    """Return the tags of the video file."""
    return {
        "comment": "AI-generated video",
        "seed": str(job.params.seed),
        "recipe": json.dumps(_recipe(job, performance), sort_keys=True),
        "bundle": f"{job.maker.manifest.name} {job.maker.bundle_hash}",
        "animate_server": version("animate-server"),
    }


def summarize(
    job: RenderJob,
    performance: Performance,
    joined: Joined,
    loras: tuple[tuple[str, float], ...],
) -> RenderResult:
    """Return the result of a job whose video lies at its destination.

    joined: what became of the sound.
    loras: path in the bundle and strength of each LoRA that was merged in.
    """
    plan, params = performance.plan, job.params
    sound = (joined.warning,) if joined.warning else ()
    notes = asdict(performance.notes) | {"warnings": (*_warnings(job), *performance.notes.warnings, *sound)}
    return RenderResult(
        path=job.destination,
        mode=params.mode,
        width=plan.output_size[0],
        height=plan.output_size[1],
        render_width=plan.render_size[0],
        render_height=plan.render_size[1],
        fps=f"{performance.fps.numerator}/{performance.fps.denominator}",
        num_frames=performance.num_frames,
        duration_s=float(performance.num_frames / performance.fps),
        num_segments=len(plan.segments),
        num_steps=plan.recipe.num_steps,
        seed=params.seed,
        turbo=plan.recipe.few_steps,
        audio=joined.audio,
        loras=loras,
        safety=job.safety_outcome,
        seconds={stage: round(seconds, 3) for stage, seconds in job.tracker.seconds.items()},
        peak_memory_bytes=peak_memory_bytes(torch.device(job.maker.execution.device)),
        bundle=job.maker.manifest.name,
        bundle_hash=job.maker.bundle_hash,
        recipe=_recipe(job, performance),
        version=version("animate-server"),
        **notes,
    )


def _recipe(job: RenderJob, performance: Performance) -> dict[str, Any]:
    """Return the execution of the networks and the recipe of this job: both decide speed and last digits."""
    return job.maker.execution.to_json() | performance.plan.recipe.to_json()


def _warnings(job: RenderJob) -> list[str]:
    """Return the warnings of the bundle and the server, which stand before the performance's."""
    warnings = [job.maker.manifest.warning] if job.maker.manifest.warning else []
    if job.safety_outcome == "not_checked":
        warnings.append("not checked for safety: the bundle has no safety checker")
    if job.workspace.discarded:
        warnings.append("finished segments of another request or release lay there: the render began anew")
    return warnings
