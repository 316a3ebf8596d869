"""`animate`: the whole way from a reference image and a driving video to an MP4.

Knows nothing of jobs, settings or HTTP.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from animate_pipelines.diffusion.loop import Schedule, render_segments
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.diffusion.vae import to_frames
from animate_pipelines.families.models import Models
from animate_pipelines.families.wan_animate.conditioning import (
    PARTS,
    Conditioning,
    DrivingFrames,
    Following,
    find_driver,
    pose_in,
    preprocess,
)
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.held_body import hold_body
from animate_pipelines.families.wan_animate.pictures import draw_segment
from animate_pipelines.families.wan_animate.target_body import read_neutral, read_target_body
from animate_pipelines.job.cache import PreprocessCache, cache_key
from animate_pipelines.job.input_files import InputFiles, driving_mezzanine, given_masks, probe_driving
from animate_pipelines.job.keys import found_by, render_identity
from animate_pipelines.job.plan import RenderPlan, plan_render
from animate_pipelines.job.reference import read_reference, settle_reference
from animate_pipelines.job.summary import account_for, mask_source, metadata_of
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.loading.residency import SegmentSize
from animate_pipelines.loading.safety import sample
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.join import join_pieces
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.resize import inner_box, padding_resize
from animate_pipelines.media.writer import VideoWriter
from animate_pipelines.memory.device import device_errors, forget_peak_memory
from animate_pipelines.perception.describe import report_people
from animate_pipelines.perception.detection_report import ReportFiles
from animate_pipelines.perception.keypoint_track import read_track
from animate_pipelines.perception.mask_preview import masks_used
from animate_pipelines.preflight.pair import check_media
from animate_pipelines.progress.progress import OnProgress, silent
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.availability import check_turbo
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult
from animate_pipelines.sheets.mask_sheet import SHEET_PX, draw_masks
from animate_pipelines.sheets.timeline import draw_timeline


@torch.no_grad()
def render_video(
    models: Models,
    params: RenderParams,
    media: InputFiles,
    destination: Path,
    *,
    workspace: Path,
    report: OnProgress = silent,
    limits: MediaLimits | None = None,
    cache: PreprocessCache | None = None,
) -> RenderResult:
    """Render `params` into the video `destination`, which appears only when it is whole.

    One video: of several results, each of `params.takes()` is a render of its own.

    workspace: a folder for the files in between. Called again with the same one, after a crash or a cancel, the render
        goes on after the last finished segment and gives the same frames; the caller removes it.
    Beside `destination` lies the detection report (`ReportFiles`), also where nobody was found to take the motion from.

    report: called at every boundary, also between steps; what it raises stops the render there.
    cache: where to look for, and leave, what the networks find in the driving video.
    Raises the errors of `animate_pipelines.errors`; those of the request's fault come before any denoising.
    """
    limits = limits or MediaLimits()
    forget_peak_memory(models.device)
    check_turbo(params.turbo, bundle=models.manifest.name, lora=models.manifest.turbo_lora)
    tracker = ProgressTracker(report)
    tracker.enter("check")
    files = Workspace.claim(workspace, render_identity(models, params, media))
    given = read_reference(media.reference_image, params.reference_kind, files, limits)
    neutral = read_neutral(media.neutral_reference, media.neutral_driver, limits)
    source = probe_driving(media, params, limits)
    mezzanine = driving_mezzanine(media, source, files, params, limits, tracker)
    with Clip(mezzanine, fps=params.fps, max_frames=params.num_frames) as clip:
        plan = plan_render(models.manifest, params, clip.size, clip.num_frames)
        _check_memory(models, params, plan)
        frames = DrivingFrames(clip, params.mode, plan.render_size)
        tracker.enter("preprocess")
        watch, key = Stopwatch(PARTS), cache_key(found_by(models, params, media, frames))
        with watch("preflight"):
            character = settle_reference(given, models.readers, clip, on_look=lambda: tracker.advance(0, 1))
        if params.safety_check and models.safety is not None:
            models.safety.check(character.picture[None], field="reference_image")
        cached = cache is not None and not files.found_files() and cache.restore(key, files.folder)
        following = Following.asked(params, frames)
        track = None if media.keypoints is None else read_track(media.keypoints, mezzanine.num_frames)
        find = partial(find_driver, models, frames, files, following, track, watch, tracker.advance)
        try:
            with watch("preflight"):
                checked, reference = check_media(
                    models.readers, character.picture, frames, files, params, plan.render_size, find=find
                )
            boxed = padding_resize(reference, *plan.render_size)
            conditioning = preprocess(
                models,
                frames,
                files,
                tracker.advance,
                watch=watch,
                following=following,
                track=track,
                masks=given_masks(media.mask_video, files, params, limits, frames),
                fit_to=read_target_body(models, boxed, frames.size, neutral) if params.retarget else None,
            )
        finally:
            _write_report(files, frames, params, mask_source(models, params), destination)
        if cache is not None:
            cache.keep(key, files.found_files())
        if not params.body_control:
            conditioning = _hold_body(models, conditioning, boxed, frames.size)
        writer = VideoWriter(
            files.folder,
            render_size=plan.picture_box[2:],
            output_size=plan.output_size,
            fps=clip.fps,
            quality=params.quality,
            limits=limits,
        )
        with device_errors():
            _render(models, params, boxed, frames, conditioning, plan, files, writer, tracker)
        tracker.enter("finish")
        audio = join_pieces(
            [writer.path(segment.index) for segment in plan.segments],
            destination,
            audio_source=media.driving_video if params.keep_audio else None,
            source_info=source,
            num_frames=clip.num_frames,
            fps=clip.fps,
            metadata=metadata_of(models, params),
            output_format=params.output_format,
            quality=params.quality,
            limits=limits,
        )
        tracker.close()
        return account_for(
            models,
            params,
            destination,
            source,
            character,
            clip,
            conditioning,
            plan,
            audio,
            tracker,
            watch,
            checked,
            cached=cached,
        )


def _check_memory(models: Models, params: RenderParams, plan: RenderPlan) -> None:
    if models.memory is not None:
        width, height = plan.render_size
        segment = SegmentSize(width=width, height=height, num_frames=models.manifest.segment_frames)
        models.memory.check(segment, field="render_area" if params.render_area else "resolution")


def _write_report(
    files: Workspace, frames: DrivingFrames, params: RenderParams, source: str | None, destination: Path
) -> None:
    """The report on what was seen, beside the video; nothing where nobody has looked yet.

    source: what found the masks, in replace mode.
    """
    if not files.has_people():
        return
    people, there = files.load_people(), ReportFiles.beside(destination)
    looked_at, masks = people.frames.tolist(), None
    if source is not None and files.has_masks():
        masks = files.masked(looked_at)
        used = masks_used(files.load_masks, frames, looked_at, params.mask_fit, source)
        draw_masks(used, SHEET_PX).save(there.masks, optimize=True)
    report = report_people(people, frames.size, frames.clip.source_fps, masks)
    there.report.write_text(json.dumps(report.to_json()))
    draw_timeline(report).save(there.timeline, optimize=True)


def _render(
    models: Models,
    params: RenderParams,
    reference: np.ndarray,
    frames: DrivingFrames,
    conditioning: Conditioning,
    plan: RenderPlan,
    files: Workspace,
    writer: VideoWriter,
    tracker: ProgressTracker,
) -> None:
    """Render and write the segments that are not on the disk yet."""
    first = files.count_done()
    if first == len(plan.segments):
        return
    tracker.enter("encode")
    transformer = models.transformers.select(turbo=params.turbo, relight=params.mode == "replace")
    constants = encode_constants(models, transformer, reference, params)
    state = files.load_state(first - 1, models.device) if first else first_state(params.seed)
    tracker.enter("render")
    rendered = render_segments(
        transformer,
        models.vae,
        constants,
        plan.segments[first:],
        partial(
            draw_segment,
            frames,
            conditioning,
            size=plan.render_size,
            face_size_px=transformer.face_size_px,
            masks=partial(files.load_masks, width=frames.size[0]) if params.mode == "replace" else None,
            mask_fit=params.mask_fit,
        ),
        Schedule(
            num_steps=plan.num_steps,
            shift=plan.shift,
            guidance_scale=params.guidance_scale,
            turbo=params.turbo,
            full_solver=models.recipe.full_solver,
            half_first_step=models.recipe.half_first_step,
        ),
        state,
        overlap=params.overlap,
        on_step=lambda segment, step: tracker.advance_step(
            segment=segment.index,
            num_segments=len(plan.segments),
            step=step,
            num_steps=plan.num_steps,
            first_segment=first,
        ),
    )
    left, top, width, height = plan.picture_box
    with closing(rendered):
        for segment, pixels in rendered:
            shown = pixels[:, :, : segment.num_new_frames, top : top + height, left : left + width]
            pictures = to_frames(shown)
            if params.safety_check and models.safety is not None:
                models.safety.check(sample(pictures), field="output")
            writer.write_segment(segment.index, pictures)
            files.save_state(segment.index, state)


def _hold_body(
    models: Models, conditioning: Conditioning, reference: np.ndarray, size: tuple[int, int]
) -> Conditioning:
    """`reference` is letter-boxed to the render size, skeletons are drawn at the driving frames' `size`."""
    left, top, width, height = inner_box(size, (reference.shape[1], reference.shape[0]))
    shown = reference[top : top + height, left : left + width]
    held = hold_body(conditioning.keypoints, size, pose_in(models, shown), (width, height))
    return replace(conditioning, keypoints=held)
