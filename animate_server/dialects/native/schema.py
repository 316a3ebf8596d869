"""The schemas of /v1, for its documentation: every field of a job request with its limits, and what is answered.

Requests are checked by `RenderParams`, not by these models; a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.request import params as p
from animate_pipelines.request.person import MAX_PERSON
from animate_server.fields import show_schema
from animate_server.jobs import JobStatus
from animate_server.webhooks import CallStatus

_REFERENCE: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": p.MAX_REFERENCE_CHARS},
        {"type": "string", "pattern": "^data:"},
        {"type": "string", "pattern": "^upload:[A-Za-z0-9_-]{32}$"},
    ]
}
PREFLIGHT_ONLY = "only"  # what `preflight` is for a job of the kind preflight
_SIDE = rf"{p.MIN_RENDER_SIDE_PX} to {p.MAX_RENDER_SIDE_PX} px"
_OUTPUT_SIDE = rf"{p.MIN_OUTPUT_SIDE_PX} to {p.MAX_OUTPUT_SIDE_PX} px and even"


def _size(low: int, high: int) -> dict[str, Any]:
    side = {"type": "integer", "minimum": low, "maximum": high}
    pair = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    return {"anyOf": [{"type": "string", "pattern": r"^\d{2,4}x\d{2,4}$"}, pair, {"type": "null"}]}


class WebhookRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=p.MAX_REFERENCE_CHARS, description="http(s); redirects are failures.")
    secret: str | None = Field(
        None,
        max_length=100,
        description="`whsec_BASE64`: calls are then signed as Standard Webhooks has it (`webhook-signature`).",
    )


class WebhookField(BaseModel):
    """The one field of a request that is not about the render."""

    webhook: WebhookRequest


class JobRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reference_image: str = Field(
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="Who is to move. JPEG, PNG, WebP: http(s) URL, data URI, `upload:ID`; in a form the file.",
    )
    reference_kind: p.ReferenceKind = Field(
        "image",
        description="video: `reference_image` is a video of the character, of which that frame is taken whose pose is "
        "nearest to the driving video's first; the result's `reference_taken_at_s` says which.",
    )
    driving_video: str = Field(
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="How to move. MP4, MOV, Matroska, WebM: http(s) URL, data URI, `upload:ID`; in a form the file.",
    )
    keypoints: str | None = Field(
        None,
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="Your own keypoints of the driving video, in place of ours: JSON with format (coco_wholebody or "
        "openpose), width, height and one entry a frame in frames. Given as the other inputs are.",
    )
    mask_video: str | None = Field(
        None,
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="Your own masks, mode replace only: a video as long as the driving video, white on the person.",
    )
    neutral_reference: str | None = Field(
        None,
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="For `retarget`, with `neutral_driver`: an image of the same character in a neutral pose, such as "
        "an image editing model makes of `reference_image`. Limbs are measured in these two.",
    )
    neutral_driver: str | None = Field(
        None,
        min_length=1,
        json_schema_extra=_REFERENCE,
        description="For `retarget`, with `neutral_reference`: an image of the driving video's person, likewise.",
    )
    mode: p.Mode = Field(
        "animate",
        description="animate: the person in the image moves. replace: it takes the place of the person in the video.",
    )
    prompt: str = Field(
        p.DEFAULT_PROMPT, max_length=p.MAX_PROMPT_CHARS, description="The model was trained with the default."
    )
    negative_prompt: str = Field(
        p.DEFAULT_NEGATIVE_PROMPT,
        max_length=p.MAX_PROMPT_CHARS,
        description="Has an effect with guidance_scale above 1. The default is the official one.",
    )
    resolution: p.Resolution = Field(
        "720p", description="Class of the output's size; its aspect is the driving video's."
    )
    render_area: str | tuple[int, int] | None = Field(
        None,
        description=f"What is generated at: `WIDTHxHEIGHT` or [width, height], each {_SIDE}. Default: the bundle's.",
        json_schema_extra=_size(p.MIN_RENDER_SIDE_PX, p.MAX_RENDER_SIDE_PX),
    )
    aspect_ratio: Literal["source", "9:16", "1:1", "4:3", "3:4", "16:9"] = Field(
        "source", description="Of the output; with `resolution` it makes `output_size`."
    )
    output_size: str | tuple[int, int] | None = Field(
        None,
        description=f"Exactly how large the output is: `WIDTHxHEIGHT` or [width, height], each {_OUTPUT_SIDE}. "
        "Default: what `resolution` and the aspect give.",
        json_schema_extra=_size(p.MIN_OUTPUT_SIDE_PX, p.MAX_OUTPUT_SIDE_PX),
    )
    fit: p.Fit = Field(
        "pad", description="How a driving video of another aspect comes into it: set on black, or cut. Never stretched."
    )
    fps: Literal["source"] | int = Field(
        "source",
        description="Frames per second of the output; source: the driving video's rate, exactly.",
        json_schema_extra={
            "anyOf": [{"const": "source", "type": "string"}, {"type": "integer", "minimum": 1, "maximum": p.MAX_FPS}]
        },
    )
    seed: int | None = Field(None, ge=0, le=p.MAX_SEED, description="Default: drawn, and reported.")
    steps: int | None = Field(None, ge=1, le=p.MAX_STEPS, description="Denoising steps. Default: the bundle's.")
    shift: float | None = Field(
        None, ge=p.MIN_SHIFT, le=p.MAX_SHIFT, description="Timestep shift of the schedule. Default: the bundle's."
    )
    guidance_scale: float = Field(
        1.0, ge=1.0, le=p.MAX_GUIDANCE_SCALE, description="1 is off; above 1 takes twice the time."
    )
    turbo: bool = Field(
        False,
        description="Few steps with the bundle's LoRA. When it has none: refused, or, where the server is set so, "
        "rendered in full steps, which `result.turbo` and `result.warnings` say.",
    )
    keep_audio: bool = Field(True, description="Whether the output has the driving video's sound.")
    retarget: bool = Field(
        False, description="Give the driver the reference character's proportions first; mode animate only."
    )
    overlap: p.Overlap = Field(1, description="Frames carried from one segment into the next.")
    longest_s: float | None = Field(
        None,
        ge=0,
        le=p.MAX_SECONDS,
        description="Refuse a longer driving video. Default: the server's own limit.",
    )
    num_frames: int | None = Field(None, ge=1, le=10**6, description="Render only so many frames. Default: all.")
    start: float = Field(0.0, ge=0, le=p.MAX_SECONDS, description="Seconds of the driving video to leave out first.")
    duration: float | None = Field(
        None, ge=0, le=p.MAX_SECONDS, description="Seconds of the driving video to use. Default: to its end."
    )
    person: str | int = Field(
        "largest",
        description="Who is followed among several: `largest` or `center` over the whole clip, a number (from 1, "
        "in order of appearance and from left to right), or whoever stands at `X,Y@SECONDS` (fractions of the frame).",
        json_schema_extra={
            "anyOf": [
                {"enum": ["largest", "center"]},
                {"type": "integer", "minimum": 1, "maximum": MAX_PERSON},
                {"type": "string", "pattern": r"^\d*\.?\d+,\d*\.?\d+@\d*\.?\d+$"},
            ]
        },
    )
    max_gap_s: float = Field(
        p.DEFAULT_MAX_GAP_S,
        ge=0,
        le=p.LONGEST_MAX_GAP_S,
        description="So long that person may be out of sight; what is missing is put between the poses around it.",
    )
    smoothing: bool = Field(
        False, description="Steady the boxes of person and face from frame to frame; off: as the official code."
    )
    output_format: p.OutputFormat = Field("mp4", description="MP4 and MOV hold H.264, WebM VP9.")
    quality: int = Field(p.DEFAULT_QUALITY, ge=p.MIN_QUALITY, le=p.MAX_QUALITY, description="Of the encoding.")
    num_results: int = Field(
        1, ge=1, le=p.MAX_RESULTS, description="How many videos, with the seeds `seed`, `seed` + 1, ..."
    )
    preflight: Literal[p.Preflight, "only"] = Field(
        "warn",
        description="Whether image and video go together is looked at first. warn: and told in `result.preflight`; "
        "strict: and a pair with problems fails before anything is rendered; only: nothing is rendered, the artefact "
        "is a PNG of both under their skeletons, in mode replace also of what would be regenerated.",
    )
    mask_fit: p.MaskFit = Field(
        "box",
        description="How closely the regenerated part follows the person, in mode replace. box: the whole box around "
        "it, which the model was trained with; blocks: those of a coarse grid; tight: its outline, grown a little.",
    )
    align: bool = Field(False, description="Crop and pad the image to the video's framing before the render.")
    body_control: bool = Field(
        True, description="false: the body stays as the reference has it; only face and head follow. Mode animate."
    )
    expression: int = Field(
        p.AS_PERFORMED,
        ge=1,
        le=p.MAX_EXPRESSION,
        description="How far the face moves from the reference's: 1 half as far, 3 as performed, 5 half as far again.",
    )
    safety_check: bool = Field(
        False, description="The bundle's safety checker looks at image and output; the result's `safety` says whether."
    )
    webhook: WebhookRequest | None = Field(None, description="Who is told, by POST, when the job has ended.")


class ProgressView(BaseModel):
    stage: str = Field(description="check, preprocess, encode, render, finish")
    fraction: float = Field(ge=0, le=1, description="Of the whole job.")
    segment: int = Field(description="Segments finished.")
    num_segments: int
    step: int = Field(description="Denoising steps finished in this segment.")
    num_steps: int
    seconds_left: float | None = Field(description="An estimate, from the pace so far.")


class ArtefactView(BaseModel):
    url: str = Field(description="Needs no credentials; GET and HEAD, with Range.")
    media_type: str
    size_bytes: int
    sha256: str
    seed: int


class JobErrorView(BaseModel):
    code: str = Field(description="What to switch on; it never changes.")
    message: str
    field: str | None = None
    value: Any = None
    limit: Any = None


class JobView(BaseModel):
    id: str
    status: JobStatus
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When a finished job and its files are deleted.")
    attempts: int
    params: dict[str, Any] = Field(description="The request, defaults filled in; URLs without their query.")
    progress: ProgressView | None
    result: dict[str, Any] | None = Field(description="What was made: sizes, rate, frames, seed, warnings, timings.")
    error: JobErrorView | None
    artefact: ArtefactView | None = Field(description="The first of `artefacts`.")
    artefacts: list[ArtefactView] = Field(description="The finished videos: one for each of `num_results`.")
    url: str
    events_url: str
    report_url: str = Field(description="What was seen in the driving video; `.png` gives it as a picture.")


class WebhookAttemptView(BaseModel):
    at: datetime
    status_code: int | None = Field(description="Null when there was no answer.")
    response: str = Field(description="How the answer begins.")
    error: str


class WebhookView(BaseModel):
    id: str = Field(description="`webhook-id` of every attempt.")
    url: str = Field(description="Without its query.")
    status: CallStatus
    attempts: list[WebhookAttemptView]


class UploadView(BaseModel):
    id: str = Field(description="`upload:ID`, to be given as reference_image or driving_video.")
    url: str
    media_type: str
    size_bytes: int
    sha256: str
    expires_at: datetime


def _form() -> dict[str, Any]:
    schema = show_schema(JobRequest)
    for name in p.INPUTS:
        text = schema["properties"][name]
        file = {"type": "string", "format": "binary"}
        schema["properties"][name] = {"description": text["description"], "anyOf": [file, {"type": "string"}]}
    return schema


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": show_schema(JobRequest)},
            "multipart/form-data": {"schema": _form()},
        },
    }
}
