"""`render_video`: the whole way from a request and its files to a video. Knows nothing of servers or settings."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import torch

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.families.registry import Models
from animate_pipelines.job.cache import PreprocessCache
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.performance import Performance
from animate_pipelines.job.pieces import Pieces
from animate_pipelines.job.render_job import RenderJob, open_job
from animate_pipelines.job.summary import metadata_of, summarize
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.memory.device import device_errors, forget_peak_memory
from animate_pipelines.progress.progress import OnProgress, silent
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult


@torch.no_grad()
def render_video(
    models: Models,
    params: RenderParams,
    inputs: InputFiles,
    destination: Path,
    *,
    workspace: Path,
    report: OnProgress = silent,
    limits: MediaLimits | None = None,
    cache: PreprocessCache | None = None,
) -> RenderResult:
    """Render one video into `destination`, which appears only when it is whole.

    workspace: a folder for the files in between. Called again with the same one, after a crash or a cancel, the render
        goes on after the last finished segment and gives the same frames; the caller removes it.
    report: called at every boundary, also between steps; an exception from it stops the render there.
    cache: keeps what the networks find in the driving video.
    Raises the errors of `animate_pipelines.errors`; those of the request's fault come before any denoising.

    A request for several results is rendered once for each of `params.takes()`.
    """
    forget_peak_memory(models.device)
    job = open_job(models, params, inputs, destination, workspace, report, limits or MediaLimits(), cache)
    with closing(models.family.perform(job)) as performance:
        pieces = Pieces(job=job, performance=performance)
        with device_errors():
            _render_pieces(models, job, performance, pieces)
        job.tracker.enter("finish")
        joined = pieces.join(metadata_of(job, performance))
        job.tracker.close()
        return summarize(job, performance, joined, models.family.loras(job))


def _render_pieces(models: Models, job: RenderJob, performance: Performance, pieces: Pieces) -> None:
    """Render and write the segments that are not on the disk yet."""
    segments = pieces.unfinished
    if not segments:
        return
    job.tracker.enter("encode")
    model, state = models.family.begin(job, performance), pieces.state(models.device)
    job.tracker.enter("render")
    carried = max(job.params.overlap, models.traits.carried_frames)
    steps = job.tracker.count_steps(performance.plan.recipe.num_steps, segments)
    rendered = render_segments(
        model, performance.drive, segments, performance.plan.recipe, state, carried_frames=carried, on_step=steps
    )
    with closing(rendered):
        for segment, pixels in rendered:
            pieces.add(segment, pixels, state)
