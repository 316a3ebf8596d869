"""OpenAI's videos interface under /v1/videos: create, look, list, download, delete.

Theirs makes a video from text; ours needs two inputs, so `driving_video` stands beside `input_reference`, sent through
the client's `extra_body`. Their client sends every create as a form, with objects spelled `input_reference[image_url]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.errors import AnimateError, ContentRefused, InvalidField
from animate_pipelines.media.stills import STILL_TYPES
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
from animate_server.errors import JobNotFound, NotAuthorized, TryLater, coarse_status, http_headers
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Job, JobStatus
from animate_server.lookup import failure_of, find_job, iterate_jobs
from animate_server.ports import BodiesDep, CallerDep, FilesDep, JobsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.ports.jobs import Jobs
from animate_server.submission import submit_body

router = APIRouter(prefix="/v1/videos", tags=["openai"])
MAX_PAGE = 100
_MODELS: Mapping[str, Task] = {"wan2.2-animate": "animate", "wan2.2-replace": "replace"}
_SIZES: Mapping[int, Resolution] = {480: "480p", 580: "580p", 720: "720p", 1024: "1080p", 1080: "1080p"}
_STATUSES = {
    JobStatus.QUEUED: "queued",
    JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
}
_CONTENT = {
    "content": {media_type: {} for media_type in ("video/mp4", *STILL_TYPES.values())},
    "description": "The MP4 itself, or a picture of it.",
}


class InputReference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image_url: str | None = Field(None, description="URL or data URI.")
    file_id: str | None = Field(None, description="`upload:ID`.")


class CreateRequest(BaseModel):
    """OpenAI's fields, and below them what this server adds."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field("", max_length=MAX_PROMPT_CHARS, description="Empty: what the model was trained with.")
    input_reference: str | InputReference = Field(
        description="The reference image: a file, a URL, a data URI, `upload:ID`, or an object naming one of them."
    )
    model: Literal["wan2.2-animate", "wan2.2-replace"] = Field(
        "wan2.2-animate", description="Animate the image, or put its character in place of the person in the video."
    )
    size: str | None = Field(
        None,
        pattern=r"^\d{3,4}x\d{3,4}$",
        description="Its shorter side names the size class: 480, 580, 720 (the default), 1024 or 1080. The aspect is "
        "the driving video's; the finished video's `size` is what it really is.",
    )
    seconds: float | None = Field(
        None, gt=0, le=600, description="Render only so much from the start. Needs `fps`. Default: all."
    )
    driving_video: str = Field(min_length=1, description="How to move: a file, URL, data URI or `upload:ID`.")
    fps: int | None = Field(None, ge=1, le=MAX_FPS, description="Default: the driving video's.")
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Default: drawn.")
    keep_audio: bool = Field(True, description="Whether the output has the driving video's sound.")
    turbo: bool = Field(
        False, description="Few steps. Without a LoRA for it: refused, or, as the server is set, warned of."
    )


class VideoError(BaseModel):
    code: str
    message: str
    param: str | None


class Video(BaseModel):
    """`size` and `seconds` are null until they are known; `seed` and `warnings` are ours."""

    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None
    expires_at: int | None = Field(description="When a finished video and its files are deleted.")
    prompt: str
    seconds: str | None
    size: str | None
    error: VideoError | None
    seed: int
    warnings: list[str]


class VideoList(BaseModel):
    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: Literal["video.deleted"]
    deleted: bool


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorView(BaseModel):
    error: ErrorBody


def _exists(job: Job) -> bool:
    """Return whether their client may see a job: not a preflight, nor a video that was deleted, canceled or expired."""
    return not job.cancel_requested and job.status in _STATUSES and job.kind == "render"


async def _find(video_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    missing = JobNotFound(f"Video {video_id} not found", field="video_id", value=video_id)
    return await find_job(video_id, jobs, caller, missing, _exists)


VideoJob = Annotated[Job, Depends(_find)]


@router.post(
    "",
    response_model=Video,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(CreateRequest, "application/json", "multipart/form-data"),
    summary="Submit",
)
async def create_video(
    request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep
) -> dict[str, Any]:
    return render(await submit_body(request, bodies, jobs, caller, dialect), files, caller)


@router.get("", response_model=VideoList, responses=raises(*LOOKUP_ERRORS, InvalidField), summary="List")
async def list_videos(
    jobs: JobsDep,
    files: FilesDep,
    caller: CallerDep,
    after: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    page = await _page(jobs, caller, after, limit + 1, order == "asc")
    data = [render(job, files, caller) for job in page[:limit]]
    ids = [video["id"] for video in data] or [None]
    return {"object": "list", "data": data, "first_id": ids[0], "last_id": ids[-1], "has_more": len(page) > limit}


@router.get("/{video_id}", response_model=Video, responses=raises(*LOOKUP_ERRORS), summary="Look at a video")
async def get_video(job: VideoJob, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    return render(job, files, caller)


@router.get(
    "/{video_id}/content",
    response_class=Response,
    responses=raises(*LOOKUP_ERRORS, InvalidField) | {200: _CONTENT},
    summary="Download",
)
async def get_content(
    job: VideoJob,
    files: FilesDep,
    variant: Annotated[
        Literal["video", "thumbnail", "spritesheet"],
        Query(description="thumbnail: its middle as WebP; spritesheet: 16 frames, 4 by 4, as JPEG."),
    ] = "video",
) -> Response:
    if job.artefact is None or job.result is None:
        state = _STATUSES[job.status]
        raise InvalidField(f"the video is {state} and has no content", field="video_id", value=job.id)
    if variant == "video":
        return files.respond(job.artefact, {})
    return await files.still(job.artefact, variant, num_frames=job.result["num_frames"])


@router.delete("/{video_id}", response_model=Deleted, responses=raises(*LOOKUP_ERRORS), summary="Delete")
async def delete_video(job: VideoJob, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    """Delete a video, and stop a render that is under way; from now on the video does not exist."""
    await jobs.discard(job.id, caller)
    return {"id": job.id, "object": "video.deleted", "deleted": True}


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of a create. Raises `InvalidField`, naming OpenAI's field."""
    request = read_fields(CreateRequest, _nested(fields))
    reference = _reference(request.input_reference)
    check_length(reference, "input_reference")
    check_length(request.driving_video, "driving_video")
    return RenderParams(
        reference_image=reference,
        driving_video=request.driving_video,
        mode=_MODELS[request.model],
        prompt=request.prompt or DEFAULT_PROMPT,
        resolution=_resolution(request.size),
        fps=request.fps or "source",
        seed=draw_seed() if request.seed is None else request.seed,
        turbo=request.turbo,
        keep_audio=request.keep_audio,
        num_frames=_num_frames(request),
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    result = job.result or {}
    failure = failure_of(job, dialect)
    return {
        "id": job.id,
        "object": "video",
        "model": next(name for name, mode in _MODELS.items() if mode == job.params.mode),
        "status": _STATUSES[job.status],
        "progress": _progress(job),
        "created_at": int(job.created_at),
        "completed_at": _whole(job.finished_at if job.status is JobStatus.SUCCEEDED else None),
        "expires_at": _whole(job.expires_at),
        "prompt": job.params.prompt,
        "seconds": f"{result['duration_s']:g}" if "duration_s" in result else None,
        "size": f"{result['width']}x{result['height']}" if "width" in result else None,
        "error": failure
        and {
            "code": "moderation_blocked" if failure.code == ContentRefused.code else failure.code,
            "message": failure.message,
            "param": failure.field,
        },
        "seed": job.params.seed,
        "warnings": job.warnings,
    }


def render_error(error: AnimateError) -> Response:
    status = coarse_status(error)  # their client would send a 409 again
    kind, code = "invalid_request_error", error.code
    if isinstance(error, NotAuthorized):
        code = "invalid_api_key"
    elif isinstance(error, TryLater):
        kind, code = "rate_limit_error", "rate_limit_exceeded"
    elif status >= 500:
        kind = "server_error"
    shown = {"message": error.message, "type": kind, "param": error.field, "code": code}
    return JSONResponse({"error": shown}, status_code=status, headers=http_headers(error))


async def _page(jobs: Jobs, caller: Caller, after: str | None, limit: int, oldest_first: bool) -> list[Job]:
    page: list[Job] = []
    async for job in iterate_jobs(jobs, caller, after=after, oldest_first=oldest_first):
        if _exists(job):
            page.append(job)
        if len(page) == limit:
            break
    return page


def _nested(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with `input_reference[image_url]` of a form as the object it spells."""
    flat, head = dict(fields), "input_reference["
    inner = {name[len(head) : -1]: flat.pop(name) for name in fields if name.startswith(head) and name.endswith("]")}
    return flat | {"input_reference": inner} if inner else flat


def _reference(given: str | InputReference) -> str:
    if isinstance(given, str):
        return given
    if (given.image_url is None) == (given.file_id is None):
        raise InvalidField("input_reference: give either image_url or file_id", field="input_reference")
    return given.image_url or given.file_id or ""


def _resolution(size: str | None) -> Resolution:
    if size is None:
        return "720p"
    shorter = min(int(side) for side in size.split("x"))
    if shorter not in _SIZES:
        sides = ", ".join(map(str, _SIZES))
        raise InvalidField(f"size: the shorter side must be one of {sides}, not {shorter}", field="size", value=size)
    return _SIZES[shorter]


def _num_frames(request: CreateRequest) -> int | None:
    if request.seconds is None:
        return None
    if request.fps is None:
        raise InvalidField(
            "seconds: the driving video says how long the video is; give fps too to cut it, or leave seconds out",
            field="seconds",
            value=request.seconds,
        )
    return max(1, round(request.seconds * request.fps))


def _progress(job: Job) -> int:
    if job.status is JobStatus.SUCCEEDED:
        return 100
    return min(99, int(100 * job.progress["fraction"])) if job.progress else 0


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


dialect = Dialect(
    name="openai",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={"POST /v1/videos": CreateRequest},
    names=lambda fields: {"reference_image": "input_reference", "resolution": "size"},
)
