"""By what a render knows the files it may go on from: its own in a workspace, anybody's in the preprocess cache."""

from __future__ import annotations

from importlib.metadata import version

from animate_pipelines.families.models import Models
from animate_pipelines.families.wan_animate.conditioning import DrivingFrames
from animate_pipelines.job.input_files import InputFiles, digests_of
from animate_pipelines.request.params import RenderParams

# Fields that change nothing about what is found in the driving video. Sizes count as the frames' size.
_NOT_LOOKED_AT = {"reference_image", "prompt", "negative_prompt", "resolution", "render_area", "seed", "steps", "shift"}
_NOT_LOOKED_AT |= {
    "guidance_scale",
    "turbo",
    "keep_audio",
    "retarget",
    "neutral_reference",
    "neutral_driver",
    "overlap",
    "output_format",
    "quality",
    "num_results",
    "preflight",
    "align",
    "mask_fit",
    "body_control",
    "expression",
    "safety_check",
    "reference_kind",
    "longest_s",
}


def render_identity(models: Models, params: RenderParams, media: InputFiles) -> dict[str, object]:
    return {
        "params": params.to_json(),
        "bundle": models.bundle_hash,
        "recipe": models.recipe.to_json(),
    } | digests_of(media)


def found_by(models: Models, params: RenderParams, media: InputFiles, frames: DrivingFrames) -> dict[str, object]:
    """All that decides what the networks find in the driving video. A new field counts until it is said not to."""
    fields = {name: value for name, value in params.to_json().items() if name not in _NOT_LOOKED_AT}
    digests = {name: digest for name, digest in digests_of(media).items() if name not in _NOT_LOOKED_AT}
    return fields | {
        **digests,
        "frame_size": list(frames.size),
        "networks": models.readers_hash,
        "masks": models.masks.name,
        "version": version("animate-server"),
    }
