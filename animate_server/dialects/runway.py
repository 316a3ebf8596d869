"""Runway's interface under /runway: Act-Two (`character_performance`), tasks, uploads, organization.

Their client reads a task by its `status`, sends a 409, 429 or 5xx again by itself, and posts an upload to whatever
`uploadUrl` says, without a key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.errors import AnimateError, ContentRefused, RequestError
from animate_pipelines.request.params import AS_PERFORMED, RenderParams, draw_seed
from animate_server.addresses import check_length
from animate_server.dialect import Dialect
from animate_server.document import BODY_ERRORS, FILE_FORM, LOOKUP_ERRORS, SUBMIT_ERRORS, UPLOAD_ERRORS, raises
from animate_server.errors import BodyInvalid, BodyTooLarge, JobNotFound, NotAuthorized, coarse_status, http_headers
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Failure, Job, JobStatus
from animate_server.lookup import count_jobs, failure_of, find_job, result_url
from animate_server.ports import BodiesDep, CallerDep, FilesDep, JobsDep, UploadsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.references import UPLOAD
from animate_server.submission import submit_body

router = APIRouter(prefix="/runway", tags=["runway"])
UPLOAD_SCHEME = "runway://"
_STATUSES = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.SUCCEEDED: "SUCCEEDED",
    JobStatus.FAILED: "FAILED",
}
_FREE = {"credits": 0}
_DAY_S = 24 * 3600.0


class Character(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["image", "video"] = Field(
        description="Of a video the frame nearest in pose to the reference's first is taken; `warnings` say which."
    )
    uri: str = Field(min_length=1, description="URL, data URI or upload URI.")


class Reference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["video"]
    uri: str = Field(min_length=1, description="URL, data URI or upload URI.")


class ContentModeration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    publicFigureThreshold: Literal["auto", "low"] = "auto"  # noqa: N815  theirs


class PerformanceRequest(BaseModel):
    """The fields of Act-Two."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Literal["act_two"]
    character: Character
    reference: Reference
    ratio: Literal["1280:720", "720:1280", "960:960", "1104:832", "832:1104", "1584:672"] | None = Field(
        None, description="Size of the result; a driving video of another aspect is fitted into it, never stretched."
    )
    seed: int | None = Field(None, ge=0, le=2**32 - 1, description="Default: drawn.")
    bodyControl: bool | None = Field(None, description="false: the body stays, face and head follow.")  # noqa: N815
    expressionIntensity: int | None = Field(  # noqa: N815
        None, ge=1, le=5, description="How far the face moves from the character's own; 3 is as performed."
    )
    contentModeration: ContentModeration | None = Field(  # noqa: N815
        None, description="auto, the default: image and output are checked; low: they are not."
    )


class Cost(BaseModel):
    """This server bills nobody."""

    credits: int


class Created(BaseModel):
    id: str
    estimatedCost: Cost  # noqa: N815


class Task(BaseModel):
    """Which fields there are depends on the status. From `seed` on they are ours, there once the task has succeeded."""

    id: str
    status: Literal["PENDING", "THROTTLED", "RUNNING", "SUCCEEDED", "FAILED"] = Field(
        description="THROTTLED: it waits for earlier tasks of the same key; PENDING: for a worker."
    )
    createdAt: datetime  # noqa: N815
    estimatedCost: Cost | None = None  # noqa: N815
    progress: float | None = Field(None, ge=0, le=1)
    output: list[str] | None = Field(None, description="URL of the MP4; it needs no credentials.")
    cost: Cost | None = None
    failure: str | None = None
    failureCode: str | None = None  # noqa: N815
    seed: int | None = None
    ratio: str | None = Field(None, description="What the video really has.")
    warnings: list[str] | None = None
    safety: Literal["checked", "not_checked", "off"] | None = None


class ModelTier(BaseModel):
    maxConcurrentGenerations: int | None  # noqa: N815
    maxDailyGenerations: int | None  # noqa: N815


class Tier(BaseModel):
    maxMonthlyCreditSpend: int  # noqa: N815
    models: dict[str, ModelTier]


class ModelUsage(BaseModel):
    dailyGenerations: int  # noqa: N815


class Usage(BaseModel):
    models: dict[str, ModelUsage]


class Organization(BaseModel):
    creditBalance: int  # noqa: N815
    tier: Tier
    usage: Usage


class UploadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    filename: str = Field(min_length=1, max_length=255)
    type: Literal["ephemeral"]


class UploadStarted(BaseModel):
    runwayUri: str  # noqa: N815
    uploadUrl: str  # noqa: N815
    fields: dict[str, str]


class Issue(BaseModel):
    code: str
    path: list[str | int]
    message: str


class ErrorView(BaseModel):
    error: str
    issues: list[Issue] | None = None
    docUrl: str | None = None  # noqa: N815


def _exists(job: Job) -> bool:
    """Return whether their client may see a task: not one that was deleted while it ran, canceled, or has expired."""
    return not job.cancel_requested and job.status in _STATUSES


async def _find(task_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    missing = JobNotFound(f"Task {task_id} not found", field="id", value=task_id)
    return await find_job(task_id, jobs, caller, missing, _exists)


TaskJob = Annotated[Job, Depends(_find)]


@router.post(
    "/v1/character_performance",
    response_model=Created,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(PerformanceRequest),
    summary="Submit",
)
async def create_performance(request: Request, bodies: BodiesDep, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    job = await submit_body(request, bodies, jobs, caller, dialect)
    return {"id": job.id, "estimatedCost": _FREE}


@router.get(
    "/v1/tasks/{task_id}",
    response_model=Task,
    response_model_exclude_none=True,
    responses=raises(*LOOKUP_ERRORS),
    summary="Look at a task",
)
async def get_task(job: TaskJob, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    return render(job, files, caller)


@router.delete(
    "/v1/tasks/{task_id}", status_code=204, responses=raises(*LOOKUP_ERRORS), summary="Cancel or delete a task"
)
async def delete_task(job: TaskJob, jobs: JobsDep, caller: CallerDep) -> Response:
    """Cancel or delete a task; from now on it does not exist."""
    await jobs.discard(job.id, caller)
    return Response(status_code=204)


@router.get(
    "/v1/organization", response_model=Organization, responses=raises(NotAuthorized), summary="Limits and usage"
)
async def get_organization(jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    today = await count_jobs(jobs, caller, since=time.time() - _DAY_S)
    limits = {"maxConcurrentGenerations": jobs.max_running, "maxDailyGenerations": None}
    return {
        "creditBalance": 0,
        "tier": {"maxMonthlyCreditSpend": 0, "models": {"act_two": limits}},
        "usage": {"models": {"act_two": {"dailyGenerations": today}}},
    }


@router.post(
    "/v1/uploads",
    response_model=UploadStarted,
    responses=raises(*BODY_ERRORS),
    openapi_extra=show_body(UploadRequest),
    summary="Ask for a place for a file",
)
async def start_upload(request: Request, bodies: BodiesDep, uploads: UploadsDep, caller: CallerDep) -> dict[str, Any]:
    with await bodies.read(request, caller) as body:
        read_fields(UploadRequest, body.fields)
    signed = uploads.presign(caller)
    url = f"{caller.base_url}/runway/uploads/{signed.token}"
    return {"runwayUri": UPLOAD_SCHEME + signed.upload_id, "uploadUrl": url, "fields": {}}


@router.post(
    "/uploads/{token}",
    status_code=204,
    responses=raises(*UPLOAD_ERRORS, JobNotFound),
    summary="Send the file",
    openapi_extra=FILE_FORM,
)
async def send_upload(token: str, request: Request, uploads: UploadsDep) -> Response:
    """Take a file. No key is needed: the URL is the permission, for one file."""
    await uploads.receive(request, token, "file")
    return Response(status_code=204)


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of Act-Two. Raises `InvalidField`, naming Runway's field by its path."""
    request = read_fields(PerformanceRequest, fields)
    check_length(request.character.uri, "character.uri")
    check_length(request.reference.uri, "reference.uri")
    return RenderParams(
        reference_image=_reference(request.character.uri),
        driving_video=_reference(request.reference.uri),
        reference_kind=request.character.type,
        output_size=_size(request.ratio),
        body_control=request.bodyControl is not False,
        expression=request.expressionIntensity or AS_PERFORMED,
        safety_check=request.contentModeration is None or request.contentModeration.publicFigureThreshold == "auto",
        seed=draw_seed() if request.seed is None else request.seed,
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    created = datetime.fromtimestamp(job.created_at, UTC).isoformat(timespec="milliseconds")
    status = "THROTTLED" if job.waiting else _STATUSES[job.status]
    shown: dict[str, Any] = {"id": job.id, "status": status, "createdAt": created}
    if url := result_url(job, files, caller, dialect):
        return shown | _succeeded(job, url)
    if failure := failure_of(job, dialect):
        return shown | {"failure": failure.message, "failureCode": _failure_code(failure), "cost": _FREE}
    if job.status is JobStatus.RUNNING:
        shown["progress"] = job.progress["fraction"] if job.progress else 0.0
    return shown | {"estimatedCost": _FREE}


def render_error(error: AnimateError) -> Response:
    status = coarse_status(error)
    shown: dict[str, Any] = {"error": error.message}
    if status == 400 and isinstance(error, RequestError) and not isinstance(error, BodyInvalid | BodyTooLarge):
        issue = {"code": error.code, "path": _path(error.field or ""), "message": error.message}
        shown = {"error": "Validation of body failed", "issues": [issue], "docUrl": "/docs"}
    return JSONResponse(shown, status_code=status, headers=http_headers(error))


def _succeeded(job: Job, url: str) -> dict[str, Any]:
    result = job.result or {}
    return {
        "output": [url],
        "cost": _FREE,
        "seed": job.params.seed,
        "ratio": f"{result['width']}:{result['height']}" if "width" in result else None,
        "warnings": job.warnings,
        "safety": result.get("safety"),
    }


def _reference(uri: str) -> str:
    return UPLOAD + uri.removeprefix(UPLOAD_SCHEME) if uri.startswith(UPLOAD_SCHEME) else uri


def _size(ratio: str | None) -> tuple[int, int] | None:
    if ratio is None:
        return None
    width, _, height = ratio.partition(":")
    return int(width), int(height)


def _failure_code(failure: Failure) -> str:
    if failure.code == ContentRefused.code:
        return "SAFETY.OUTPUT.VIDEO" if failure.field == "output" else "SAFETY.INPUT.IMAGE"
    return "ASSET.INVALID" if failure.fault == "request" else "INTERNAL"


def _path(field: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in field.split(".") if part]


dialect = Dialect(
    name="runway",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={"character_performance": PerformanceRequest},
    names=lambda fields: {"reference_image": "character.uri", "driving_video": "reference.uri"},
)
