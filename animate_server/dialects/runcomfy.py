"""RunComfy's Model API under /runcomfy/v1: submit, status, result, cancel, catalogue.

Their command line follows `result_url` as given, and downloads outputs only from hosts of its own domains: give this
server such a name beside its own (`ANIMATE_FILES_URLS`), or tell it `--no-download`. No id of a model like ours is
published; the ones here follow the naming of theirs, and say the mode by their end or leave it to the field `mode`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator

from animate_pipelines.errors import AnimateError, InvalidField
from animate_pipelines.request.choices import Resolution, Task
from animate_pipelines.request.params import (
    DEFAULT_PROMPT,
    MAX_FPS,
    MAX_PROMPT_CHARS,
    MAX_SEED,
    RenderParams,
    draw_seed,
)
from animate_server.addresses import check_length
from animate_server.dialect import Dialect
from animate_server.document import LOOKUP_ERRORS, SUBMIT_ERRORS, raises
from animate_server.errors import JobNotFound, NotAuthorized, UnsupportedField, http_headers, http_status
from animate_server.fields import read_fields, show_body, show_schema
from animate_server.jobs import Job, JobStatus
from animate_server.lookup import failure_of, find_job, result_url
from animate_server.ports import BodiesDep, CallerDep, FilesDep, JobsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.submission import submit_fields

router = APIRouter(prefix="/runcomfy/v1", tags=["runcomfy"])
CATEGORY = "video-to-video"
# Each with the mode its id says; None: the field `mode` says it.
_MODELS: Mapping[str, Task | None] = {
    "community/wan-2-2/animate": None,
    "community/wan-2-2/animate/move": "animate",
    "community/wan-2-2/animate/replace": "replace",
    "pruna/p-video/animate": "animate",
    "pruna/p-video/replace": "replace",
}
_STATUSES = {
    JobStatus.QUEUED: "in_queue",
    JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "cancelled",
}
# ComfyUI's node keys, "112_image", as their models have them, and the names of their other models
_ALIASES = (
    (re.compile(r"img_url|reference_image_url(_1)?|\d+_image"), "image_url"),
    (re.compile(r"reference_video_url(_1)?|\d+_video"), "video_url"),
)


class ModelRequest(BaseModel):
    """The fields of every model."""

    model_config = ConfigDict(extra="forbid")

    image_url: str = Field(
        min_length=1,
        description="Who: a URL, data URI or `upload:ID`. Also as `img_url`, `reference_image_url` or `NN_image`.",
    )
    video_url: str = Field(
        min_length=1, description="How: a URL, data URI or `upload:ID`. Also as `reference_video_url` or `NN_video`."
    )
    mode: Literal["animate", "replace"] | None = Field(
        None, description="Animate the image, or put its character in place of the person. Default: as the id ends."
    )
    prompt: str = Field("", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with.")
    resolution: Resolution = Field("720p", description="Class of the output's size.")
    fps: int | None = Field(None, ge=1, le=MAX_FPS, description="Default: the driving video's.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Default: drawn.")
    keep_audio: bool = Field(True, description="Whether the output has the driving video's sound.")
    watermark: bool = Field(False, description="Only false: this server draws no watermark.")

    @field_validator("resolution", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value  # their models have 720P too

    @field_validator("watermark")
    @classmethod
    def _unmarked(cls, value: bool) -> bool:
        if value:
            raise ValueError("must be false: this server draws no watermark")
        return value


class Submitted(BaseModel):
    request_id: str
    status_url: str
    result_url: str
    cancel_url: str


class Status(BaseModel):
    request_id: str
    status: Literal["in_queue", "in_progress", "completed", "failed", "cancelled"]
    queue_position: int | None = Field(None, description="While it is queued: how many requests are before it.")
    status_url: str
    result_url: str


class Output(BaseModel):
    video: str = Field(description="URL of the MP4; it needs no credentials.")
    seed: int
    warnings: list[str]


class Result(BaseModel):
    """Before the end, the current state without an output."""

    request_id: str
    status: Literal["in_queue", "in_progress", "succeeded", "failed", "cancelled"]
    output: Output | None
    created_at: datetime
    finished_at: datetime | None
    error: str | None


class Cancelled(BaseModel):
    request_id: str
    status: str
    outcome: Literal["cancelled", "not_cancellable"]


class Model(BaseModel):
    model_id: str
    name: str
    category: str
    kind: str
    description: str
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None


class Models(BaseModel):
    models: list[Model]
    total: int


class Categories(BaseModel):
    categories: list[str]


class ErrorView(BaseModel):
    error_code: int
    error_message: str
    detail: str | None


async def _find(request_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    missing = JobNotFound(f"Request {request_id} not found", field="request_id", value=request_id)
    return await find_job(request_id, jobs, caller, missing)


RequestedJob = Annotated[Job, Depends(_find)]


@router.post(
    "/models/{model_id:path}",
    response_model=Submitted,
    responses=raises(*SUBMIT_ERRORS, JobNotFound),
    openapi_extra=show_body(ModelRequest),
)
async def submit(
    model_id: str, request: Request, bodies: BodiesDep, jobs: JobsDep, caller: CallerDep
) -> dict[str, Any]:
    _check_model(model_id)
    with await bodies.read(request, caller) as body:
        if "model_id" in body.fields:
            raise UnsupportedField("{field} is not a field here: the path names the model", field="model_id")
        job = await submit_fields(body, body.fields | {"model_id": model_id}, jobs, caller, dialect)
    url = _url(job, caller)
    urls = {"status_url": f"{url}/status", "result_url": f"{url}/result", "cancel_url": f"{url}/cancel"}
    return {"request_id": job.id} | urls


@router.get("/requests/{request_id}/status", response_model=Status, responses=raises(*LOOKUP_ERRORS), summary="Status")
async def get_status(job: RequestedJob, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    url = _url(job, caller)
    shown: dict[str, Any] = {"request_id": job.id, "status": _STATUSES[job.status]}
    if job.status is JobStatus.QUEUED:
        shown["queue_position"] = await jobs.queue_position(job)
    return shown | {"status_url": f"{url}/status", "result_url": f"{url}/result"}


@router.get("/requests/{request_id}/result", response_model=Result, responses=raises(*LOOKUP_ERRORS), summary="Result")
async def get_result(job: RequestedJob, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    return render(job, files, caller)


@router.post(
    "/requests/{request_id}/cancel", response_model=Cancelled, responses=raises(*LOOKUP_ERRORS), summary="Cancel"
)
async def cancel(before: RequestedJob, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    """Cancel a request; one that runs is stopped soon after."""
    job = await jobs.cancel(before.id, caller)
    stopped = not before.status.is_final and job.status in (JobStatus.RUNNING, JobStatus.CANCELED)
    outcome = "cancelled" if stopped else "not_cancellable"
    return {"request_id": job.id, "status": _STATUSES[job.status], "outcome": outcome}


@router.get(
    "/models",
    response_model=Models,
    response_model_exclude_none=True,
    responses=raises(NotAuthorized, InvalidField),
    summary="Catalogue",
)
async def list_models(
    caller: CallerDep,
    search: Annotated[str, Query(max_length=100)] = "",
    category: Annotated[str, Query(max_length=100)] = "",
    kind: Annotated[str, Query(max_length=100)] = "",
    include_schema: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> dict[str, Any]:
    found = [
        model_id
        for model_id in _MODELS
        if search.lower() in model_id and category in ("", CATEGORY) and kind in ("", "model")
    ]
    shown = [_show_model(model_id, include_schema) for model_id in found[offset : offset + limit]]
    return {"models": shown, "total": len(found)}


@router.get("/models/categories", response_model=Categories, responses=raises(NotAuthorized), summary="Categories")
async def list_categories(caller: CallerDep) -> dict[str, Any]:
    return {"categories": [CATEGORY]}


@router.get(
    "/models/{model_id:path}",
    response_model=Model,
    response_model_exclude_none=True,
    responses=raises(*LOOKUP_ERRORS),
    summary="One model",
)
async def get_model(model_id: str, caller: CallerDep) -> dict[str, Any]:
    _check_model(model_id)
    return _show_model(model_id, True)


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of a model; `model_id` is the one of the path. Raises `InvalidField`, naming the field."""
    values = dict(fields)
    model_id = values.pop("model_id")
    request = read_fields(ModelRequest, _plainly_named(values))
    check_length(request.image_url, "image_url")
    check_length(request.video_url, "video_url")
    return RenderParams(
        reference_image=request.image_url,
        driving_video=request.video_url,
        mode=_mode(model_id, request.mode),
        prompt=request.prompt or DEFAULT_PROMPT,
        resolution=request.resolution,
        fps=request.fps or "source",
        seed=draw_seed() if request.seed is None else request.seed,
        keep_audio=request.keep_audio,
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    status = "succeeded" if job.status is JobStatus.SUCCEEDED else _STATUSES[job.status]
    output, failure = None, failure_of(job, dialect)
    if url := result_url(job, files, caller, dialect):
        output = {"video": url, "seed": job.params.seed, "warnings": job.warnings}
    return {
        "request_id": job.id,
        "status": status,
        "output": output,
        "created_at": datetime.fromtimestamp(job.created_at, UTC),
        "finished_at": None if job.finished_at is None else datetime.fromtimestamp(job.finished_at, UTC),
        "error": failure.message if failure else None,
    }


def render_error(error: AnimateError) -> Response:
    status = http_status(error)
    shown = {"error_code": 1000 * status + 1, "error_message": error.message, "detail": error.field}
    return JSONResponse(shown, status_code=status, headers=http_headers(error))


def _check_model(model_id: str) -> None:
    if model_id not in _MODELS:
        raise JobNotFound(f"Model {model_id} not found; there is {', '.join(_MODELS)}", field="model_id")


def _show_model(model_id: str, with_schema: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {"model_id": model_id, "name": model_id, "category": CATEGORY, "kind": "model"}
    shown["description"] = "Motion transfer: one image and one driving video in, one video out."
    if with_schema:
        shown |= {"input_schema": show_schema(ModelRequest), "output_schema": show_schema(Output)}
    return shown


def _mode(model_id: str, mode: Task | None) -> Task:
    """Return the mode that id and field say. Raises `InvalidField` where they differ."""
    fixed = _MODELS[model_id]
    if fixed is not None and mode not in (None, fixed):
        raise InvalidField(f"mode: {model_id} is {fixed}, not {mode}", field="mode", value=mode, limit=fixed)
    return fixed or mode or "animate"


def _plainly_named(fields: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in fields.items():
        plain = next((plain for pattern, plain in _ALIASES if pattern.fullmatch(name)), name)
        if plain in named:
            raise InvalidField(f"{name}: {plain} is given twice", field=name)
        named[plain] = value
    return named


def _url(job: Job, caller: Caller) -> str:
    return f"{caller.base_url}/runcomfy/v1/requests/{job.id}"


dialect = Dialect(
    name="runcomfy",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={", ".join(_MODELS): ModelRequest},
    names=lambda fields: {"reference_image": "image_url", "driving_video": "video_url"},
)
