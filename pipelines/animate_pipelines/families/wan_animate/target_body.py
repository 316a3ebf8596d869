"""Reads the body that retargeting goes by, from the reference picture and from neutral pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animate_pipelines.families.wan_animate.retarget import NeutralPoses, TargetBody
from animate_pipelines.media.image import OnNote, read_image
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.observation import require_pose
from animate_pipelines.perception.readers import Readers
from animate_pipelines.request.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class NeutralPictures:
    """The reference's character and the driving video's person in a neutral pose: `h w 3`, of any size."""

    reference: np.ndarray
    driver: np.ndarray


def read_neutral(
    reference: Path | None, driver: Path | None, limits: MediaLimits, on_note: OnNote
) -> NeutralPictures | None:
    """Read the neutral pictures, if any.

    on_note: called with what is missing of them.
    Raises as `read_image` does, on `neutral_reference` and `neutral_driver`.
    """
    if reference is None or driver is None:
        return None
    return NeutralPictures(
        reference=read_image(reference, limits, field="neutral_reference", on_note=on_note),
        driver=read_image(driver, limits, field="neutral_driver", on_note=on_note),
    )


def read_target_body(
    readers: Readers, reference: np.ndarray, size: Size, neutral: NeutralPictures | None
) -> TargetBody:
    """Read the body of the reference picture.

    reference: `h w 3`, of the render size.
    size: of the driving frames.
    neutral: letter-boxed to the size of the picture whose person they show in another pose.
    Raises `NoPersonFound` on the field of the picture without anybody.
    """
    height, width = reference.shape[:2]
    poses = None
    if neutral is not None:
        driver = padding_resize(neutral.driver, *size)
        character = padding_resize(neutral.reference, width, height)
        poses = NeutralPoses(
            driver=require_pose(readers, driver, field="neutral_driver"),
            reference=require_pose(readers, character, field="neutral_reference"),
        )
    return TargetBody(
        pose=require_pose(readers, reference, field="reference_image"), size=(width, height), neutral=poses
    )
