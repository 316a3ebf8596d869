"""The preflight of a job: before anything is rendered, and before any network sees all of the driving video."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from animate_pipelines.media.clip import Clip
from animate_pipelines.params import AnimateParams
from animate_pipelines.preflight.align import align_picture
from animate_pipelines.preflight.findings import Cutting
from animate_pipelines.preflight.report import PreflightReport, check_pair, refuse_problems
from animate_pipelines.preflight.survey import survey_clip, survey_image
from animate_pipelines.preprocess.eyes import Eyes

if TYPE_CHECKING:
    from animate_pipelines.workspace import Workspace


def check_media(
    eyes: Eyes,
    reference: np.ndarray,
    clip: Clip,
    files: Workspace,
    params: AnimateParams,
    size: tuple[int, int],
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PreflightReport | None, np.ndarray]:
    """The report, and the reference picture, aligned where `params` want that.

    The report is None where they want none, or where the bundle has no networks to look with.
    size: (width, height) that the reference is aligned to. What is seen of the video is kept in `files`. Raises
    `PairRefused` where `params` are strict and there are problems.
    """
    blind = not eyes.are_there and params.preflight == "warn"
    if not params.align and (blind or params.preflight == "off"):
        return None, reference
    if not files.has_survey():
        files.save_survey(survey_clip(eyes, clip, on_frame))
    video, image = files.load_survey(), survey_image(eyes, reference)
    if params.align:
        reference = align_picture(reference, image, video, size)
        image = survey_image(eyes, reference)
    if params.preflight == "off":
        return None, reference
    report = check_pair(image, video, Cutting(cuts_s=video.cuts_s, duration_s=float(clip.duration_s)))
    if params.preflight == "strict":
        refuse_problems(report)
    return report, reference
