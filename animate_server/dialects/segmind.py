"""Segmind's interface under /segmind: p-video-animate, v1 (one blocking call) and v2 (submit, status, result).

Their client derives the v2 base from a base URL that ends in /v1, follows `status_url` and `response_url` blindly, and
shows `error` of a body as the detail; so every URL is absolute and every error has that one field.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.errors import AnimateError
from animate_pipelines.request.params import DEFAULT_PROMPT, MAX_PROMPT_CHARS, RenderParams, draw_seed
from animate_server.addresses import check_length
from animate_server.bodies import Body
from animate_server.dialect import Dialect
from animate_server.document import LOOKUP_ERRORS, SUBMIT_ERRORS, UPLOAD_ERRORS, Responses, raises
from animate_server.errors import BodyInvalid, JobNotFound, TryLater, coarse_status, http_headers
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Failure, Job, JobStatus
from animate_server.lookup import failure_of, find_job, follow_to_end, result_url
from animate_server.ports import BodiesDep, CallerDep, FilesDep, JobsDep, UploadsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.submission import submit_body

router = APIRouter(prefix="/segmind", tags=["segmind"])
SLUG = "p-video-animate"
RECORD_S = 3600.0  # a request is known for an hour after its end, as theirs; its file is kept like any other
_STATUSES = {
    JobStatus.QUEUED: "QUEUED",
    JobStatus.RUNNING: "PROCESSING",
    JobStatus.SUCCEEDED: "COMPLETED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELED: "FAILED",
}


class AnimateRequest(BaseModel):
    """The ten fields of p-video-animate."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str = Field(min_length=1, description="Who is to move: URL, data URI, or a URL from upload-asset.")
    video: str = Field(min_length=1, description="How to move: URL, data URI, or a URL from upload-asset.")
    resolution: Literal["720p", "1080p"] = "720p"
    target_fps: Literal["original", "24", "48"] = "original"
    seed: int = Field(42, ge=-1, le=999_999_999_999_999, description="-1 draws one.")
    save_audio: bool = Field(True, description="Whether the output has the driving video's sound.")
    ignore_audio: bool = Field(
        False, description="The output has no sound. It never steers the motion here; the result's `audio` says it."
    )
    instruction_prompt: str = Field(
        "", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with."
    )
    turbo: bool = Field(
        False, description="Few steps. Without a LoRA for it: refused, or, as the server is set, warned of."
    )
    disable_safety_checker: bool = Field(False, description="Whether image and output are not checked.")


class Metrics(BaseModel):
    """Times in seconds. This server bills nobody."""

    inference_time: float
    queue_time: float
    total_time: float
    cost: float
    remaining_credits: float
    retry_count: int


class Submitted(BaseModel):
    request_id: str
    status: str
    poll_url: str
    status_url: str
    response_url: str


class Status(BaseModel):
    status: str
    request_id: str
    metrics: Metrics | None = None
    error: str | None = None


class Result(Status):
    output: str | None = Field(description="URL of the MP4; it needs no credentials.")
    seed: int
    audio: str | None = Field(description="What became of the driving video's sound: copied, encoded or none.")
    safety: str | None = Field(description="checked, off, or not_checked: the bundle has no checker.")
    warnings: list[str] = Field(description="What the caller should know of the video; from `seed` on these are ours.")
    created_at: datetime


class ErrorView(BaseModel):
    error: str


class Assets(BaseModel):
    data_urls: list[str] = Field(min_length=1, max_length=8, description="Data URIs.")


class StoredAssets(BaseModel):
    file_urls: list[str]
    message: str


def _is_known(job: Job) -> bool:
    return job.status in _STATUSES and (job.finished_at is None or time.time() - job.finished_at < RECORD_S)


async def _find(request_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    missing = JobNotFound(f"Request {request_id} not found", field="request_id", value=request_id)
    return await find_job(request_id, jobs, caller, missing, _is_known)


RequestedJob = Annotated[Job, Depends(_find)]


def _ended(model: type[BaseModel]) -> Responses:
    """Say, as `raises` does, what a route answers that shows a request; a failed one is shown with 422."""
    return raises(*LOOKUP_ERRORS) | {
        422: {"model": model, "description": "It has failed; status is FAILED, error says why."}
    }


@router.post(
    f"/v2/{SLUG}",
    response_model=Submitted,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(AnimateRequest),
    summary="Submit",
)
async def submit(request: Request, bodies: BodiesDep, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    job = await submit_body(request, bodies, jobs, caller, dialect)
    url = f"{caller.base_url}/segmind/v2/requests/{job.id}"
    poll_url = f"{caller.base_url}/segmind/v1/requests/{job.id}"
    shown = {"request_id": job.id, "status": _STATUSES[job.status]}
    return shown | {"poll_url": poll_url, "status_url": f"{url}/status", "response_url": url}


@router.get(
    "/v2/requests/{request_id}/status",
    response_model=Status,
    responses=_ended(Status),
    summary="Status",
)
async def get_status(job: RequestedJob, files: FilesDep, caller: CallerDep) -> Response:
    shown = render(job, files, caller)
    kept = ("status", "request_id", "metrics") + (("error",) if shown["status"] == "FAILED" else ())
    return JSONResponse({name: shown[name] for name in kept}, status_code=_code(job))


@router.get(
    "/v1/requests/{request_id}",
    response_model=Result,
    responses=_ended(Result),
    summary="Result (poll_url)",
)
@router.get("/v2/requests/{request_id}", response_model=Result, responses=_ended(Result), summary="Result")
async def get_result(job: RequestedJob, files: FilesDep, caller: CallerDep) -> Response:
    return JSONResponse(render(job, files, caller), status_code=_code(job))


@router.post(
    f"/v1/{SLUG}",
    response_class=Response,
    responses=_ended(Result)
    | raises(*SUBMIT_ERRORS)
    | {200: {"content": {"video/mp4": {}}, "description": "The MP4 itself."}},
    openapi_extra=show_body(AnimateRequest),
    summary="Submit and wait",
)
async def run(request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep) -> Response:
    """Answer when the job has ended. A caller who hangs up has the job canceled."""
    submitted = await submit_body(request, bodies, jobs, caller, dialect)
    job = await follow_to_end(request, jobs, caller, submitted)
    headers = {
        "x-request-id": job.id,
        "x-generation-time": f"{_metrics(job)['inference_time']:.3f}",
        "x-seed-value": str(job.params.seed),
        "x-cost": "0",
        "x-remaining-credits": "0",
    }
    if job.artefact is None:
        return JSONResponse(render(job, files, caller), status_code=_code(job), headers=headers)
    return files.respond(job.artefact, headers)


@router.post(
    "/upload-asset",
    response_model=StoredAssets,
    responses=raises(*UPLOAD_ERRORS),
    openapi_extra=show_body(Assets),
    summary="Hand over files",
)
async def upload_asset(request: Request, bodies: BodiesDep, uploads: UploadsDep, caller: CallerDep) -> dict[str, Any]:
    with await bodies.read(request, caller) as body:
        _check_assets(body)
        stored = await uploads.save(body, caller)
    return {
        "file_urls": [uploads.url(upload.id, caller) for upload in stored],
        "message": f"{len(stored)} files uploaded",
    }


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of p-video-animate. Raises `InvalidField`, naming Segmind's field."""
    request = read_fields(AnimateRequest, fields)
    check_length(request.image, "image")
    check_length(request.video, "video")
    return RenderParams(
        reference_image=request.image,
        driving_video=request.video,
        prompt=request.instruction_prompt or DEFAULT_PROMPT,
        resolution=request.resolution,
        fps="source" if request.target_fps == "original" else int(request.target_fps),
        seed=draw_seed() if request.seed == -1 else request.seed,
        safety_check=not request.disable_safety_checker,
        keep_audio=request.save_audio and not request.ignore_audio,
        turbo=request.turbo,
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    failure = failure_of(job, dialect)
    if job.status is JobStatus.CANCELED:
        failure = Failure(code="canceled", template="The request was canceled")
    return {
        "status": _STATUSES[job.status],
        "request_id": job.id,
        "error": failure.message if failure else None,
        "metrics": _metrics(job),
        "output": result_url(job, files, caller, dialect),
        "seed": job.params.seed,
        "audio": (job.result or {}).get("audio"),
        "safety": (job.result or {}).get("safety"),
        "warnings": job.warnings,
        "created_at": datetime.fromtimestamp(job.created_at, UTC).isoformat(),
    }


def render_error(error: AnimateError) -> Response:
    headers = http_headers(error)
    if isinstance(error, TryLater):
        reset = datetime.fromtimestamp(time.time() + error.retry_after_s, UTC)
        headers["x-rate-limit-reset-at-utc"] = reset.isoformat(timespec="seconds")
    return JSONResponse({"error": error.message}, status_code=coarse_status(error), headers=headers)


def _code(job: Job) -> int:
    """Return the status of an answer about a job: 422 is theirs for one that ran and failed."""
    return 422 if _STATUSES[job.status] == "FAILED" else 200


def _metrics(job: Job) -> dict[str, Any]:
    end = time.time() if job.finished_at is None else job.finished_at
    start = end if job.started_at is None else job.started_at
    return {
        "inference_time": round(end - start, 3),
        "queue_time": round(start - job.created_at, 3),
        "total_time": round(end - job.created_at, 3),
        "cost": 0.0,
        "remaining_credits": 0.0,
        "retry_count": max(0, job.attempts - 1),
    }


def _check_assets(body: Body) -> None:
    urls = body.fields.get("data_urls")
    if set(body.fields) != {"data_urls"} or not isinstance(urls, list) or not urls or len(urls) != len(body.parts):
        raise BodyInvalid("data_urls must be a list of data URIs, and the only field", field="data_urls")


dialect = Dialect(
    name="segmind",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={SLUG: AnimateRequest},
    notes=(
        "403, 406, 502 and 504, which their page lists, are never sent: there are no credits to run out of and no "
        "gateway before the models, and what a safety checker refuses fails with 422.",
    ),
    names=lambda fields: {"reference_image": "image", "driving_video": "video"},
)
