"""The account of a finished render: its `RenderResult`, the warnings in it, and what the video file says of itself."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from animate_pipelines.families.models import Models
from animate_pipelines.families.wan_animate.conditioning import Conditioning
from animate_pipelines.job.plan import RenderPlan
from animate_pipelines.job.reference import Reference
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.join import AudioTreatment
from animate_pipelines.media.probe import VideoInfo
from animate_pipelines.memory.device import peak_memory_bytes
from animate_pipelines.perception.given import MaskVideo
from animate_pipelines.preflight.report import PreflightReport
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult


def metadata_of(models: Models, params: RenderParams) -> dict[str, str]:
    """What the video file says of itself."""
    return {
        "comment": "AI-generated video",
        "seed": str(params.seed),
        "recipe": json.dumps(models.recipe.to_json(), sort_keys=True),
        "bundle": f"{models.manifest.name} {models.bundle_hash}",
        "animate_server": version("animate-server"),
    }


def account_for(
    models: Models,
    params: RenderParams,
    destination: Path,
    source: VideoInfo,
    character: Reference,
    clip: Clip,
    conditioning: Conditioning,
    plan: RenderPlan,
    audio: AudioTreatment,
    tracker: ProgressTracker,
    watch: Stopwatch,
    checked: PreflightReport | None,
    *,
    cached: bool,
) -> RenderResult:
    """The result of a render whose video lies at `destination`."""
    return RenderResult(
        path=destination,
        mode=params.mode,
        width=plan.output_size[0],
        height=plan.output_size[1],
        render_width=plan.render_size[0],
        render_height=plan.render_size[1],
        fps=f"{clip.fps.numerator}/{clip.fps.denominator}",
        num_frames=clip.num_frames,
        duration_s=float(clip.duration_s),
        num_segments=len(plan.segments),
        num_steps=plan.num_steps,
        seed=params.seed,
        turbo=params.turbo,
        audio=audio,
        loras=models.transformers.loras(turbo=params.turbo, relight=params.mode == "replace"),
        mask_source=mask_source(models, params),
        reference_taken_at_s=character.taken_at_s,
        repeated_frames=clip.repeats,
        frames_without_person=conditioning.people.num_without,
        safety=_safety(models, params),
        warnings=_warnings(models, params, source, character, clip, conditioning, plan),
        seconds={stage: round(seconds, 3) for stage, seconds in tracker.seconds.items()},
        preprocess_seconds={part: round(seconds, 3) for part, seconds in watch.seconds.items()},
        preprocess_cached=cached,
        preflight=None if checked is None else checked.to_json(),
        peak_memory_bytes=peak_memory_bytes(models.device),
        bundle=models.manifest.name,
        bundle_hash=models.bundle_hash,
        recipe=models.recipe.to_json(),
        version=version("animate-server"),
    )


def _safety(models: Models, params: RenderParams) -> str:
    if not params.safety_check:
        return "off"
    return "not_checked" if models.safety is None else "checked"


def _warnings(
    models: Models,
    params: RenderParams,
    source: VideoInfo,
    character: Reference,
    clip: Clip,
    conditioning: Conditioning,
    plan: RenderPlan,
) -> tuple[str, ...]:
    (width, height), (out_width, out_height) = plan.render_size, plan.output_size
    areas = [area[0] * area[1] for area in models.manifest.render_areas]
    asked = params.render_area
    fitted = {"pad": "set on black", "crop": "cut"}[params.fit]
    people = conditioning.people
    said = {
        models.manifest.warning: True,
        "not checked for safety: the bundle has no safety checker": _safety(models, params) == "not_checked",
        f"the reference is the frame at {character.taken_at_s} s of the character's video": (
            character.taken_at_s is not None
        ),
        f"the driving video has {source.num_audios} audio streams: the default one was taken": (
            source.num_audios > 1 and params.keep_audio
        ),
        f"the driving video was {fitted} from {source.width}x{source.height} to {clip.size[0]}x{clip.size[1]}": (
            clip.size != (source.width, source.height)
        ),
        f"generated at {width}x{height} and scaled to {out_width}x{out_height}": plan.scale > 1.05,
        f"the bundle is not made for an area of {asked}": asked is not None and asked[0] * asked[1] not in areas,
        f"the person was not found in {people.num_without} of {len(people.frames)} frames": people.num_without > 0,
        f"{people.num_people} people were found; number {people.chosen} is followed": people.num_people > 1,
        "no frame shows a face: the expression is not followed": bool((conditioning.face_frames < 0).all()),
        f"{clip.repeats} frames repeat the face and background of the frame before": clip.repeats > 0,
    }
    return tuple(sentence for sentence, applies in said.items() if sentence and applies)


def mask_source(models: Models, params: RenderParams) -> str | None:
    """The name of what finds the person to replace; None in animate mode."""
    if params.mode != "replace":
        return None
    return models.masks.name if params.mask_video is None else MaskVideo.name
