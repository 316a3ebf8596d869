"""Holds an image and a driving video to the limits of a request, and crops the image where the request wants that."""

from __future__ import annotations

import numpy as np

from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.align import align_picture
from animate_pipelines.preflight.findings import Cutting
from animate_pipelines.preflight.legibility import Legibility
from animate_pipelines.preflight.report import PreflightReport, check_pair, refuse_problems
from animate_pipelines.preflight.sampling import observe_followed, observe_image
from animate_pipelines.request.params import RenderParams
from animate_pipelines.request.size import Size


def check_followed_pair(
    readers: Readers,
    reference: np.ndarray,
    people: FoundPeople,
    frames: DrivingFrames,
    params: RenderParams,
    size: Size,
    legibility: Legibility,
) -> tuple[PreflightReport | None, np.ndarray]:
    """Check an image against a driving video that has been read already.

    people: found in `frames`.
    size: (width, height) that the reference is aligned to.
    legibility: whether the networks read the pair.
    Returns the report, None where `params` want none or the bundle has no networks for it, and the reference picture,
    aligned where `params` want that.
    Raises `PairRefused` where `params` are strict and there are problems.
    """
    blind = not readers.are_there and params.preflight == "warn"
    if not params.align and (blind or params.preflight == "off"):
        return None, reference
    video = observe_followed(people, frames)
    report, reference = check_image(readers, reference, video, frames, params, size, legibility)
    if params.preflight == "strict":
        refuse_problems(report)
    return None if params.preflight == "off" else report, reference


def check_image(
    readers: Readers,
    reference: np.ndarray,
    video: Observations,
    frames: DrivingFrames,
    params: RenderParams,
    size: Size,
    legibility: Legibility,
) -> tuple[PreflightReport, np.ndarray]:
    """Return the report on the image and a video's observations, and the image, aligned where `params` want that."""
    image = observe_image(readers, reference)
    if params.align:
        reference = align_picture(reference, image, video, size)
        image = observe_image(readers, reference)
    cutting = Cutting(cuts_s=video.cuts_s, duration_s=float(frames.clip.duration_s))
    return check_pair(image, video, cutting, legibility), reference
