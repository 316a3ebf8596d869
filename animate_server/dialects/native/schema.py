"""The schemas of /v1, for its documentation: every field of a job request with its limits, and what is answered.

Requests are checked by `RenderParams`; the model of a request is made from its table of fields.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from animate_pipelines.request.fields import MAX_FILE_CHARS, Kind, defaults_of, fields_of
from animate_pipelines.request.fields import Field as RequestField
from animate_pipelines.request.params import INPUTS, RenderParams
from animate_pipelines.request.person import MAX_PERSON
from animate_server.fields import show_schema
from animate_server.jobs import JobStatus
from animate_server.webhooks import CallStatus

_FILE: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "uri", "pattern": "^https?://", "maxLength": MAX_FILE_CHARS},
        {"type": "string", "pattern": "^data:"},
        {"type": "string", "pattern": "^upload:[A-Za-z0-9_-]{32}$"},
    ]
}
_PERSON: dict[str, Any] = {
    "anyOf": [
        {"enum": ["largest", "center"]},
        {"type": "integer", "minimum": 1, "maximum": MAX_PERSON},
        {"type": "string", "pattern": r"^\d*\.?\d+,\d*\.?\d+@\d*\.?\d+$"},
    ]
}
PREFLIGHT_ONLY = "only"  # what `preflight` is for a job of the kind preflight
ASPECTS = {"9:16": (9, 16), "1:1": (1, 1), "4:3": (4, 3), "3:4": (3, 4), "16:9": (16, 9)}


class WebhookRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=MAX_FILE_CHARS, description="http(s); redirects are failures.")
    secret: str | None = Field(
        None,
        max_length=100,
        description="`whsec_BASE64`: calls are then signed as Standard Webhooks has it (`webhook-signature`).",
    )


class WebhookField(BaseModel):
    """The one field of a request that is not about the render."""

    webhook: WebhookRequest


class _HttpFields(BaseModel):
    """The fields of a request that only HTTP has."""

    model_config = ConfigDict(extra="forbid")

    aspect_ratio: Literal["source", "9:16", "1:1", "4:3", "3:4", "16:9"] = Field(
        "source", description="Of the output; with `resolution` it makes `output_size`."
    )
    webhook: WebhookRequest | None = Field(None, description="Who is told, by POST, when the job has ended.")


def job_request(params: type) -> type[BaseModel]:
    """Return the model of a request's body, made from the table of fields."""
    table, defaults = fields_of(params), defaults_of(params)
    table["preflight"] = _with_only(table["preflight"])
    entries = {name: _entry(field, defaults.get(name)) for name, field in table.items()}
    return create_model("JobRequest", __base__=_HttpFields, __doc__=None, **cast(dict[str, Any], entries))


def _with_only(field: RequestField) -> RequestField:
    """Return the field `preflight` as HTTP has it, where it may also say the kind of the job."""
    said = "only: nothing is rendered, and the artefact is a PNG of both under their skeletons."
    return replace(field, choices=(*field.choices, PREFLIGHT_ONLY), help=f"{field.help} {said}")


def _entry(field: RequestField, default: Any) -> tuple[Any, Any]:
    """Return annotation and `pydantic.Field` of one field; where the default is drawn it may be null."""
    annotation, limits, extra = _SHAPES[field.kind](field)
    required = field.kind == "file" and not field.optional
    if default is None and not required:
        annotation = annotation | None
    given = ... if required else default
    return annotation, Field(given, description=field.help, json_schema_extra=extra, **limits)


def _bounded(kind: type) -> Callable[[RequestField], tuple[Any, dict[str, Any], Any]]:
    return lambda field: (kind, {"ge": kind(field.low), "le": kind(field.high)}, None)


def _size(field: RequestField) -> tuple[Any, dict[str, Any], Any]:
    side = {"type": "integer", "minimum": field.low, "maximum": field.high}
    pair = {"type": "array", "items": side, "minItems": 2, "maxItems": 2}
    extra = {"anyOf": [{"type": "string", "pattern": r"^\d{2,4}x\d{2,4}$"}, pair, {"type": "null"}]}
    return str | tuple[int, int], {}, extra


def _rate(field: RequestField) -> tuple[Any, dict[str, Any], Any]:
    number = {"type": "integer", "minimum": field.low, "maximum": field.high}
    return Literal["source"] | int, {}, {"anyOf": [{"const": "source", "type": "string"}, number]}


# Annotation, limits, and what the schema says beyond them.
_SHAPES: Mapping[Kind, Callable[[RequestField], tuple[Any, dict[str, Any], Any]]] = {
    "file": lambda field: (str, {"min_length": 1}, _FILE),
    "text": lambda field: (str, {"max_length": field.high}, None),
    "choice": lambda field: (Literal[field.choices], {}, None),
    "switch": lambda field: (bool, {}, None),
    "whole": _bounded(int),
    "number": _bounded(float),
    "size": _size,
    "rate": _rate,
    "person": lambda field: (str | int, {}, _PERSON),
}
JobRequest = job_request(RenderParams)


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
    for name in INPUTS:
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
