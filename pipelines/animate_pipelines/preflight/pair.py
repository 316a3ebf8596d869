"""The preflight of a job: before anything is rendered, and mostly before a network sees all of the driving video."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from animate_pipelines.families.wan_animate.conditioning import DrivingFrames
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.perception.people import FoundPeople
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.align import align_picture
from animate_pipelines.preflight.crowd import see_followed
from animate_pipelines.preflight.findings import Cutting
from animate_pipelines.preflight.report import PreflightReport, check_pair, refuse_problems
from animate_pipelines.preflight.sampling import observe_clip, observe_image
from animate_pipelines.request.params import RenderParams


def check_media(
    readers: Readers,
    reference: np.ndarray,
    frames: DrivingFrames,
    files: Workspace,
    params: RenderParams,
    size: tuple[int, int],
    *,
    find: Callable[[], FoundPeople],
    alone: bool = False,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PreflightReport | None, np.ndarray]:
    """The report, and the reference picture, aligned where `params` want that.

    The report is None where they want none, or where the bundle has no networks to look with.
    size: (width, height) that the reference is aligned to. find: finds everybody in all of `frames`; asked where a few
    of them cannot tell who will be followed. What is seen of the video is kept in `files`.
    alone: nothing is rendered, so there is a report whatever `params.preflight` says, and it refuses nothing.
    Raises `PairRefused` where `params` are strict and there are problems.
    """
    wanted = "report" if alone else params.preflight
    blind = not readers.are_there and wanted == "warn"
    if not params.align and (blind or wanted == "off"):
        return None, reference
    if not files.has_survey():
        seen = observe_clip(readers, frames.clip, on_frame)
        if seen.people > 1 or params.person != "largest":
            seen = see_followed(seen, find(), frames)
        files.save_survey(seen)
    video, image = files.load_survey(), observe_image(readers, reference)
    if params.align:
        reference = align_picture(reference, image, video, size)
        image = observe_image(readers, reference)
    if wanted == "off":
        return None, reference
    report = check_pair(image, video, Cutting(cuts_s=video.cuts_s, duration_s=float(frames.clip.duration_s)))
    if wanted == "strict":
        refuse_problems(report)
    return report, reference
