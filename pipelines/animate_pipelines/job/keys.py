"""What tells a render's files from another's: its own in a workspace, anybody's in the preprocess cache."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from animate_pipelines.job.input_files import InputFiles, digests_of
from animate_pipelines.request.fields import fields_of
from animate_pipelines.request.params import INPUTS, RenderParams
from animate_pipelines.request.size import Size


def render_identity(
    params: RenderParams, inputs: InputFiles, bundle_hash: str, execution: dict[str, Any]
) -> dict[str, object]:
    """Return what must be equal for a render to go on from a workspace's files.

    execution: `Execution.to_json()`.
    """
    return {"params": params.to_json(), "bundle": bundle_hash, "recipe": execution} | digests_of(inputs)


def found_by(
    params: RenderParams, inputs: InputFiles, frame_size: Size, readers_hash: str, masks: str
) -> dict[str, object]:
    """Return all that decides what the networks find in the driving video: the fields that the table marks so.

    frame_size: (width, height) of the frames looked at.
    readers_hash: changes with the networks.
    masks: the name of what finds masks.
    """
    fields = {name for name, field in fields_of(type(params)).items() if field.finds}
    values = {name: value for name, value in params.to_json().items() if name in fields - set(INPUTS)}
    return values | {
        **{name: digest for name, digest in digests_of(inputs).items() if name in fields},
        "frame_size": list(frame_size),
        "networks": readers_hash,
        "masks": masks,
        "version": version("animate-server"),
    }
