"""From a job's files to its performance: reads them, follows the person, and checks the pair."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from animate_pipelines.families.wan_animate.conditioning import Conditioning, condition
from animate_pipelines.families.wan_animate.driver import PARTS, Driver
from animate_pipelines.families.wan_animate.held_body import hold_body
from animate_pipelines.families.wan_animate.performance import SkeletonPerformance
from animate_pipelines.families.wan_animate.pictures import SegmentPainter
from animate_pipelines.families.wan_animate.target_body import NeutralPictures, read_neutral, read_target_body
from animate_pipelines.job.driving_video import driving_mezzanine, probe_driving
from animate_pipelines.job.legibility import judge_inputs
from animate_pipelines.job.plan import plan_render
from animate_pipelines.job.reference import Reference, read_reference, settle_reference
from animate_pipelines.job.render_job import RenderJob
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.image import Picture
from animate_pipelines.media.input_limits import check_sizes
from animate_pipelines.media.mezzanine import Mezzanine
from animate_pipelines.media.resize import inner_box, padding_resize
from animate_pipelines.media.sound import Sound, settle_sound
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.observation import require_pose
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.legibility import Legibility, refuse_foreign, saying_what_is_read
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.size import Size


def perform(
    job: RenderJob, readers: Readers, masks: MaskSource, readers_hash: str, *, face_size_px: int
) -> SkeletonPerformance:
    """Read the driving video and the reference of `job`, and plan its render.

    masks: finds the person to replace where the job brings no masks of its own.
    readers_hash: changes with these networks.
    face_size_px: side of the face crops that the transformer reads.

    The detection report lies beside the job's destination afterwards, also where nobody was found.
    """
    params, limits = job.params, job.limits
    check_sizes(job.inputs.files, params)
    missing: list[str] = []
    reference_media = read_reference(
        job.inputs.reference_image, params.reference_kind, job.workspace, limits, missing.append
    )
    neutral = read_neutral(job.inputs.neutral_reference, job.inputs.neutral_driver, limits, missing.append)
    source, clip = _open_film(job)
    try:
        legibility = judge_inputs(job.maker.manifest, reference_media, clip)
        refuse_foreign(legibility, params)
        driver = _open_driver(job, readers, masks, readers_hash, clip, legibility)
        with saying_what_is_read(legibility):
            character = _settle(driver, reference_media)
            report, reference = driver.check(character)
            boxed = padding_resize(reference, *driver.plan.render_size)
            conditioning = _condition(driver, boxed, neutral)
        return SkeletonPerformance(
            clip=clip,
            plan=driver.plan,
            reference=boxed,
            painter=_painter(driver, conditioning, face_size_px),
            sound=_sound(job, source),
            notes=driver.notes(source, character, conditioning, report, missing),
        )
    except BaseException:
        clip.close()
        raise


def _open_film(job: RenderJob) -> tuple[VideoInfo, Clip]:
    """Return the driving video as it came, and its frames as they are used."""
    params, limits = job.params, job.limits
    source = probe_driving(job.inputs, params, limits)
    mezzanine = driving_mezzanine(job.inputs, source, job.workspace, params, limits, job.tracker)
    return source, Clip(mezzanine, fps=params.fps, max_frames=params.num_frames)


def _open_driver(
    job: RenderJob, readers: Readers, masks: MaskSource, readers_hash: str, clip: Clip, legibility: Legibility
) -> Driver:
    """Plan the render, and return the driving video for its preprocessing.

    Raises `InvalidField` for a plan that the bundle or the device's memory does not allow.
    """
    plan = plan_render(job.maker.manifest, job.params, clip.size, clip.num_frames, job.maker.recipe_defaults)
    job.check_memory(plan)
    job.tracker.enter("preprocess")
    return Driver(
        job=job,
        readers=readers,
        masks=masks,
        readers_hash=readers_hash,
        clip=clip,
        plan=plan,
        legibility=legibility,
        watch=Stopwatch(PARTS),
    )


def _settle(driver: Driver, reference_media: Picture | Mezzanine) -> Reference:
    """Return the reference picture, which has passed the safety check."""
    job = driver.job
    with driver.watch("preflight"):
        reference = settle_reference(
            reference_media, driver.readers, driver.clip, on_look=lambda: job.tracker.advance(0, 1)
        )
    job.check_safety(reference.picture[None], field="reference_image")
    return reference


def _sound(job: RenderJob, source: VideoInfo) -> Sound | None:
    if not job.params.keep_audio:
        return None
    return settle_sound(job.inputs.driver, source, job.params.output_format, job.limits)


def _condition(driver: Driver, reference: np.ndarray, neutral: NeutralPictures | None) -> Conditioning:
    """Return the driving performance, fitted to the reference as the job wants it.

    reference: letter-boxed to the render size.
    """
    params, size = driver.job.params, driver.frames.size
    body = read_target_body(driver.readers, reference, size, neutral) if params.retarget else None
    conditioning = condition(
        driver.people,
        driver.clip,
        size,
        smoothing=params.smoothing,
        interpolating=params.mode == "animate",
        fit_to=body,
    )
    return conditioning if params.body_control else _hold_body(driver.readers, conditioning, reference, size)


def _painter(driver: Driver, conditioning: Conditioning, face_size_px: int) -> SegmentPainter:
    params = driver.job.params
    return SegmentPainter(
        frames=driver.frames,
        conditioning=conditioning,
        size=driver.plan.render_size,
        face_size_px=face_size_px,
        masks=driver.mask_file.read if params.mode == "replace" else None,
        mask_fit=params.mask_fit,
    )


def _hold_body(readers: Readers, conditioning: Conditioning, reference: np.ndarray, size: Size) -> Conditioning:
    """Return the performance with the body of the reference.

    reference: letter-boxed to the render size.
    size: of the driving frames, in which skeletons are drawn.
    """
    left, top, width, height = inner_box(size, (reference.shape[1], reference.shape[0]))
    picture = reference[top : top + height, left : left + width]
    pose = require_pose(readers, picture, field="reference_image")
    return replace(conditioning, keypoints=hold_body(conditioning.keypoints, size, pose, (width, height)))
