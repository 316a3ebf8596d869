"""A job of the kind preflight: the report on a pair, and a picture of it; nothing is rendered."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from animate_pipelines.errors import InvalidField
from animate_pipelines.job.driving_video import driving_mezzanine, probe_driving
from animate_pipelines.job.given_masks import given_masks
from animate_pipelines.job.input_files import InputFiles, digests_of
from animate_pipelines.job.legibility import judge_inputs
from animate_pipelines.job.plan import RenderPlan, plan_render
from animate_pipelines.job.reference import Reference, read_reference, settle_reference
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.conversions import describe_conversions
from animate_pipelines.media.input_limits import check_sizes
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.perception.describe import people_seen
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.following import Following, find_driver
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.mask_preview import preview_masks
from animate_pipelines.perception.masks import MaskSource
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.legibility import Legibility, saying_what_is_read
from animate_pipelines.preflight.pair import check_image
from animate_pipelines.preflight.sampling import observe_clip, observe_followed
from animate_pipelines.progress.progress import OnProgress, silent
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.params import RenderParams
from animate_pipelines.sheets.mask_sheet import add_masks
from animate_pipelines.sheets.overlay import write_overlay
from animate_pipelines.sheets.people_still import add_still
from animate_weights.manifest import Manifest


@torch.no_grad()
def preflight(
    readers: Readers | None,
    manifest: Manifest,
    params: RenderParams,
    inputs: InputFiles,
    destination: Path,
    *,
    workspace: Path,
    masks: MaskSource | None,
    report: OnProgress = silent,
    limits: MediaLimits | None = None,
) -> dict[str, Any]:
    """Check a pair without rendering, and write the PNG `destination`: both under their skeletons, and the findings.

    readers: None where the bundle's family reads no driving video.
    masks: find the person to replace; with them the PNG also shows the pixels that `replace` would regenerate.
    Returns `PreflightReport.to_json()`, the plan that a render would have, and `MaskPreview.to_json()`.
    Raises as `render_video` does for unreadable inputs.

    The networks read a few frames of the video, or all of them where several people are visible or `person` names one.
    The PNG then also shows everybody numbered, as a render numbers them, and the report is on the person to follow.
    """
    if readers is None:
        raise InvalidField(
            f"{manifest.name} looks at no driving video: there is nothing to compare", field="mode", value=params.mode
        )
    tracker = ProgressTracker(report)
    tracker.enter("check")
    job = _Preflight(
        readers=readers,
        masks=masks,
        params=params,
        inputs=inputs,
        destination=destination,
        files=Workspace.claim(workspace, {"params": params.to_json()} | digests_of(inputs)),
        limits=limits or MediaLimits(),
        tracker=tracker,
    )
    return job.run(manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preflight:
    """One job of the kind preflight; see `preflight`."""

    readers: Readers
    masks: MaskSource | None
    params: RenderParams
    inputs: InputFiles
    destination: Path
    files: Workspace
    limits: MediaLimits
    tracker: ProgressTracker

    def run(self, manifest: Manifest) -> dict[str, Any]:
        """Read the inputs, and return the report on them."""
        params, tracker = self.params, self.tracker
        check_sizes(self.inputs.files, params)
        warnings: list[str] = []
        reference_media = read_reference(
            self.inputs.reference_image, params.reference_kind, self.files, self.limits, warnings.append
        )
        source = probe_driving(self.inputs, params, self.limits)
        warnings += describe_conversions(source, wants_sound=params.keep_audio)
        mezzanine = driving_mezzanine(self.inputs, source, self.files, params, self.limits, tracker)
        with Clip(mezzanine, fps=params.fps, max_frames=params.num_frames) as clip:
            plan = plan_render(manifest, params, clip.size, clip.num_frames)
            tracker.enter("preprocess")
            legibility = judge_inputs(manifest, reference_media, clip)
            with saying_what_is_read(legibility):
                reference = settle_reference(reference_media, self.readers, clip, on_look=lambda: tracker.advance(0, 1))
                result = self._check(reference, clip, plan, legibility)
        tracker.close()
        return result | {"warnings": warnings}

    def _check(self, reference: Reference, clip: Clip, plan: RenderPlan, legibility: Legibility) -> dict[str, Any]:
        """Draw the pair, and return the report on it."""
        frames = DrivingFrames(clip, "animate", plan.render_size)
        video, people = self._observe(frames)
        report, aligned = check_image(
            self.readers, reference.picture, video, frames, self.params, plan.render_size, legibility
        )
        write_overlay(report, aligned, clip, self.destination)
        result = report.to_json() | {
            "plan": plan.to_json(clip.num_frames),
            "reference_taken_at_s": reference.taken_at_s,
        }
        if people is not None and people.num_people and legibility.is_judged:
            add_still(people, clip.read_source, self.destination)
            result["people"] = [asdict(person) for person in people_seen(people, clip.size)]
            result["following"] = people.chosen
        if self.params.mode == "replace" and self.masks is not None:
            result["masks"] = self._preview(self.masks, clip, plan, video)
        return result

    def _observe(self, frames: DrivingFrames) -> tuple[Observations, FoundPeople | None]:
        """Return the observations of the video, and everybody in it where all of it had to be read for that."""
        on_frame = self.tracker.advance
        video = observe_clip(self.readers, frames.clip, on_frame)
        if video.people <= 1 and self.params.person == "largest":
            return video, None
        following = replace(Following.of(self.params, frames), smoothing=False)
        people = find_driver(self.readers, frames, following, None, Stopwatch(("detect", "pose")), on_frame)
        followed = observe_followed(people, frames)
        # The person to follow may be in none of the sampled frames; heads count people better than boxes.
        return (replace(followed, people=video.people, cuts_s=video.cuts_s) if len(followed.poses) else video), people

    def _preview(self, masks: MaskSource, clip: Clip, plan: RenderPlan, video: Observations) -> dict[str, Any]:
        """Draw the pixels that would be regenerated below the picture in `destination`, and return their shares."""
        frames = DrivingFrames(clip, self.params.mode, plan.render_size)
        own = given_masks(self.inputs.mask_video, self.files, self.params, self.limits, frames)
        preview = preview_masks(masks, frames, video, self.params.mask_fit, own)
        add_masks(preview, self.destination)
        return preview.to_json()
