"""A preflight asked for by itself: everything that can be said of a pair, and a picture of it; nothing is rendered."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from animate_pipelines.families.wan_animate.conditioning import DrivingFrames
from animate_pipelines.job.input_files import InputFiles, digests_of, driving_mezzanine, given_masks, probe_driving
from animate_pipelines.job.plan import plan_render
from animate_pipelines.job.reference import read_reference, settle_reference
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.perception.mask_preview import preview_masks
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.crowd import add_still, find_crowd
from animate_pipelines.preflight.pair import check_media
from animate_pipelines.progress.progress import OnProgress, silent
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.params import RenderParams
from animate_pipelines.sheets.mask_sheet import add_masks
from animate_pipelines.sheets.overlay import write_overlay
from animate_weights.manifest import Manifest


@torch.no_grad()
def preflight(
    readers: Readers,
    manifest: Manifest,
    params: RenderParams,
    media: InputFiles,
    destination: Path,
    *,
    workspace: Path,
    masks: MaskSource | None,
    report: OnProgress = silent,
    limits: MediaLimits | None = None,
) -> dict[str, Any]:
    """Look at a pair and render nothing. Writes the PNG `destination`: both under their skeletons, and the findings.

    Where several people are seen, or `person` names one, the PNG also shows them numbered, as a job numbers them, and
    what is said of the video is said of the one who is followed.
    masks: what finds the person to replace; in replace mode the PNG then also shows what would be regenerated.
    `PreflightReport.to_json()`, the plan that a render would have and `MaskPreview.to_json()`. Raises as `animate` does
    for what cannot be read.
    """
    limits = limits or MediaLimits()
    tracker = ProgressTracker(report)
    tracker.enter("check")
    files = Workspace.claim(workspace, {"params": params.to_json()} | digests_of(media))
    given = read_reference(media.reference_image, params.reference_kind, files, limits)
    source = probe_driving(media, params, limits)
    mezzanine = driving_mezzanine(media, source, files, params, limits, tracker)
    with Clip(mezzanine, fps=params.fps, max_frames=params.num_frames) as clip:
        plan = plan_render(manifest, params, clip.size, clip.num_frames)
        tracker.enter("preprocess")
        character = settle_reference(given, readers, clip, on_look=lambda: tracker.advance(0, 1))
        checked, reference = check_media(
            readers,
            character.picture,
            DrivingFrames(clip, "animate", plan.render_size),
            files,
            params,
            plan.render_size,
            alone=True,
            find=partial(find_crowd, readers, clip, files, params.person, tracker.advance),
            on_frame=tracker.advance,
        )
        assert checked is not None
        write_overlay(checked, reference, clip, destination)
        found = checked.to_json() | {
            "plan": plan.to_json(clip.num_frames),
            "reference_taken_at_s": character.taken_at_s,
        }
        crowd = files.load_people() if files.has_people() else None
        if crowd is not None and crowd.num_people:
            found["people"] = [asdict(who) for who in add_still(crowd, clip, destination)]
            found["following"] = crowd.chosen
        if params.mode == "replace" and masks is not None:
            frames = DrivingFrames(clip, params.mode, plan.render_size)
            own_masks = given_masks(media.mask_video, files, params, limits, frames)
            preview = preview_masks(masks, frames, checked.video, params.mask_fit, own_masks)
            add_masks(preview, destination)
            found["masks"] = preview.to_json()
    tracker.close()
    return found
