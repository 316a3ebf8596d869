"""Our own interface under /v1: everything the server can do, named as it is named inside."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field

from animate_pipelines.errors import AnimateError, InvalidField
from animate_pipelines.media.size import output_size
from animate_pipelines.request.fields import fields_of
from animate_pipelines.request.params import INPUTS, RenderParams
from animate_server.addresses import redact
from animate_server.dialect import Dialect, WebhookRules
from animate_server.dialects.native.schema import (
    ASPECTS,
    BODY,
    PREFLIGHT_ONLY,
    JobRequest,
    JobView,
    UploadView,
    WebhookField,
    WebhookView,
)
from animate_server.document import LOOKUP_ERRORS, RAW_FILE_OR_FORM, SUBMIT_ERRORS, UPLOAD_ERRORS, raises
from animate_server.errors import JobNotFound, JobUnfinished, KeyReused, http_headers, http_status
from animate_server.fields import read_fields
from animate_server.jobs import Artefact, Job, JobKind, JobStatus
from animate_server.ports import BodiesDep, CallerDep, CallsDep, FilesDep, JobsDep, UploadsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.ports.jobs import JobOptions
from animate_server.ports.uploads import Upload, Uploads
from animate_server.references import UPLOAD
from animate_server.webhooks import Call, Webhook

router = APIRouter(prefix="/v1", tags=["native"])
MAX_PAGE = 100
KEEP_ALIVE_S = 15.0  # proxies cut connections that are silent for longer, commonly 30 or 60 s
_TEXTS = frozenset(
    name for name, field in fields_of(RenderParams).items() if field.kind in ("file", "text", "choice", "person")
)


class JobList(BaseModel):
    jobs: list[JobView]
    next: str | None = Field(description="Give this as `after` for the next page; null on the last.")


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str | None = None
    value: Any = None
    limit: Any = None


class ErrorView(BaseModel):
    error: ErrorBody


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    responses=raises(*SUBMIT_ERRORS, JobNotFound, KeyReused),
    openapi_extra=BODY,
    summary="Submit a job",
)
async def create_job(
    request: Request,
    response: Response,
    bodies: BodiesDep,
    jobs: JobsDep,
    files: FilesDep,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(min_length=1, max_length=200, description="The same key and body give the same job for 24 hours."),
    ] = None,
) -> dict[str, Any]:
    """Answer at once. URLs are fetched and media decoded in the job; what is wrong with them fails the job."""
    with await bodies.read(request, caller) as body:
        fields = _typed(body.fields) if body.is_form else body.fields
        params, webhooks = parse(fields), tuple(find_webhooks(fields))
        options = JobOptions(kind=read_kind(fields), idempotency_key=idempotency_key, webhooks=webhooks)
        job = await jobs.submit(params, body, caller, dialect=dialect.name, options=options)
    response.headers["Location"] = f"{caller.base_url}/v1/jobs/{job.id}"
    return render(job, files, caller)


@router.post(
    "/preflight",
    response_model=JobView,
    responses=raises(*SUBMIT_ERRORS, JobNotFound)
    | {202: {"model": JobView, "description": "Not there yet: look at `url`."}},
    openapi_extra=BODY,
    summary="Look at a pair without rendering it",
)
async def create_preflight(
    request: Request,
    response: Response,
    bodies: BodiesDep,
    jobs: JobsDep,
    files: FilesDep,
    caller: CallerDep,
    wait_s: Annotated[float, Query(ge=0, le=60, description="How long to wait for the answer.")] = 30.0,
) -> dict[str, Any]:
    """Take the body of a job, and answer with `result`: score, findings that name a fix, suggested start, and an
    estimate of time and memory from this installation's history. The artefact is a PNG of both under their skeletons,
    in mode replace also of the masks. Where several people are seen, or `person` is given, it shows them numbered too,
    and `result.people` lists them.

    A free worker looks at it, ahead of all renders that wait.
    """
    with await bodies.read(request, caller) as body:
        fields = _typed(body.fields) if body.is_form else body.fields
        if "preflight" in fields:
            raise InvalidField("preflight cannot be set here", field="preflight", value=fields["preflight"])
        options = JobOptions(kind="preflight")
        job = await jobs.submit(parse(fields), body, caller, dialect=dialect.name, options=options)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait_s):
            async for current in jobs.watch(job.id, caller, beat_s=KEEP_ALIVE_S):
                job = current
    response.status_code = 200 if job.status.is_final else 202
    response.headers["Location"] = f"{caller.base_url}/v1/jobs/{job.id}"
    return render(job, files, caller)


@router.get(
    "/jobs", response_model=JobList, responses=raises(*LOOKUP_ERRORS, InvalidField), summary="List jobs, newest first"
)
async def list_jobs(
    jobs: JobsDep,
    files: FilesDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    after: Annotated[str | None, Query(max_length=64, description="Only jobs older than this one.")] = None,
    status: JobStatus | None = None,
) -> dict[str, Any]:
    following = await jobs.list(caller, limit=limit + 1, after=after, status=status)
    page = following[:limit]
    return {
        "jobs": [render(job, files, caller) for job in page],
        "next": page[-1].id if len(following) > limit else None,
    }


@router.get("/jobs/{job_id}", response_model=JobView, responses=raises(*LOOKUP_ERRORS), summary="Look at a job")
async def get_job(job_id: str, jobs: JobsDep, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    return render(await jobs.get(job_id, caller), files, caller)


@router.delete(
    "/jobs/{job_id}",
    response_model=JobView,
    responses=raises(*LOOKUP_ERRORS) | {204: {"description": "The finished job and its files are gone."}},
    summary="Cancel a live job, remove a finished one",
)
async def delete_job(job_id: str, jobs: JobsDep, files: FilesDep, caller: CallerDep) -> Any:
    before = await jobs.get(job_id, caller)
    if before.status.is_final:
        await jobs.remove(job_id, caller)
        return Response(status_code=204)
    return render(await jobs.cancel(job_id, caller), files, caller)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses=raises(*LOOKUP_ERRORS)
    | {200: {"content": {"text/event-stream": {}}, "description": "`job` events, each a whole job."}},
    summary="Follow a job as server-sent events",
)
async def follow_job(job_id: str, jobs: JobsDep, files: FilesDep, caller: CallerDep) -> StreamingResponse:
    """Send one event now and one at each change; the stream ends when the job has ended."""
    await jobs.get(job_id, caller)  # an unknown job is a 404, not an empty stream

    async def events() -> AsyncIterator[str]:
        last = ""
        async for job in jobs.watch(job_id, caller, beat_s=KEEP_ALIVE_S):
            shown = JobView.model_validate(render(job, files, caller)).model_dump_json()
            yield f"event: job\ndata: {shown}\n\n" if shown != last else ": still here\n\n"
            last = shown

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


@router.get(
    "/jobs/{job_id}/artefact",
    status_code=307,
    response_class=RedirectResponse,
    responses=raises(*LOOKUP_ERRORS, JobUnfinished),
    summary="The finished video",
)
async def get_artefact(job_id: str, jobs: JobsDep, files: FilesDep, caller: CallerDep) -> RedirectResponse:
    """Redirect to the file, which is read without credentials, with HEAD and Range."""
    job = await jobs.get(job_id, caller)
    if job.artefact is None:
        raise JobUnfinished(f"job {job_id} is {job.status} and has no artefact", field="status", value=job.status.value)
    return RedirectResponse(files.url(job.artefact, caller, dialect=dialect.name), status_code=307)


@router.get(
    "/jobs/{job_id}/webhook",
    response_model=WebhookView,
    responses=raises(*LOOKUP_ERRORS),
    summary="What became of a job's webhook",
)
async def get_webhook(job_id: str, calls: CallsDep, caller: CallerDep) -> dict[str, Any]:
    return _webhook(await calls.find(job_id, caller))


@router.post(
    "/jobs/{job_id}/webhook",
    response_model=WebhookView,
    responses=raises(*LOOKUP_ERRORS, JobUnfinished),
    summary="Call a job's webhook again, now",
)
async def resend_webhook(job_id: str, calls: CallsDep, caller: CallerDep) -> dict[str, Any]:
    """Send the same body under the same `webhook-id`, with as many retries as at first."""
    call = await calls.find(job_id, caller)
    return _webhook(await calls.resend(call.id, caller))


@router.get(
    "/jobs/{job_id}/report",
    response_class=Response,
    responses=raises(*LOOKUP_ERRORS)
    | {200: {"content": {"application/json": {}}, "description": "See `DetectionReport`."}},
    summary="What was seen in the driving video",
)
async def get_report(job_id: str, files: FilesDep, caller: CallerDep) -> Response:
    """Show person, face, hands and mask frame by frame; there when the job has ended, also when it has failed."""
    return await files.report(job_id, "report.json", caller)


@router.get(
    "/jobs/{job_id}/report.png",
    response_class=Response,
    responses=raises(*LOOKUP_ERRORS)
    | {200: {"content": {"image/png": {}}, "description": "The report as a timeline."}},
    summary="What was seen in the driving video, as a picture",
)
async def get_timeline(job_id: str, files: FilesDep, caller: CallerDep) -> Response:
    return await files.report(job_id, "timeline.png", caller)


@router.get(
    "/jobs/{job_id}/masks.png",
    response_class=Response,
    responses=raises(*LOOKUP_ERRORS)
    | {200: {"content": {"image/png": {}}, "description": "The masks over eight frames."}},
    summary="What was regenerated, as a picture",
)
async def get_masks(job_id: str, files: FilesDep, caller: CallerDep) -> Response:
    """Show the masks of a job in mode replace that has ended. Before a job, preflight's picture shows the same."""
    return await files.report(job_id, "masks.png", caller)


@router.post(
    "/uploads",
    status_code=201,
    response_model=UploadView,
    responses=raises(*UPLOAD_ERRORS),
    summary="Hand over a file",
    openapi_extra=RAW_FILE_OR_FORM,
)
async def create_upload(request: Request, bodies: BodiesDep, uploads: UploadsDep, caller: CallerDep) -> dict[str, Any]:
    """Take the raw bytes as the body, or a form with one `file`. JPEG, PNG, WebP, MP4, MOV, Matroska or WebM."""
    with await bodies.read_file(request, "file", caller) as body:
        (upload,) = await uploads.save(body, caller)
    return _upload(upload, uploads, caller)


def read_kind(fields: Mapping[str, Any]) -> JobKind:
    """Return the kind of job that a request asks for: `preflight: "only"` renders nothing."""
    return "preflight" if fields.get("preflight") == PREFLIGHT_ONLY else "render"


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Read all fields of `RenderParams`, sizes also as "WxH", and `aspect_ratio`. Raises `InvalidField`."""
    values = {name: value for name, value in fields.items() if name != "webhook"}
    if read_kind(values) == "preflight":
        del values["preflight"]  # it says the job's kind, see `read_kind`
    for name in (name for name, field in fields_of(RenderParams).items() if field.kind == "size"):
        if isinstance(size := values.get(name), str):
            width, _, height = size.lower().partition("x")
            values[name] = [int(width), int(height)] if _is_number(width) and _is_number(height) else size
    aspect = values.pop("aspect_ratio", "source")
    if "seed" in values and values["seed"] is None:
        del values["seed"]
    return _shaped(RenderParams.from_json(values), aspect)


def _shaped(params: RenderParams, aspect: Any) -> RenderParams:
    if aspect == "source":
        return params
    if aspect not in ASPECTS or params.output_size is not None:
        choices = "source, " + ", ".join(ASPECTS)
        why = (
            f"must be one of {choices}, not {aspect!r}"
            if params.output_size is None
            else "and output_size exclude each other"
        )
        raise InvalidField(f"aspect_ratio {why}", field="aspect_ratio", value=str(aspect)[:20], limit=choices)
    return replace(params, output_size=output_size(params.resolution, *ASPECTS[aspect]))


def find_webhooks(fields: Mapping[str, Any]) -> Sequence[Webhook]:
    """Return whom to call. Raises `InvalidField` for a secret that cannot sign."""
    if fields.get("webhook") is None:
        return []
    webhook = read_fields(WebhookField, fields).webhook
    if webhook.secret is not None:
        read_webhook_secret(webhook.secret)
    return [Webhook(url=webhook.url, secret=webhook.secret or "", field="webhook.url")]


def render_webhook(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    shown = JobView.model_validate(render(job, files, caller)).model_dump(mode="json")
    return {"type": f"job.{job.status}", "timestamp": shown["finished_at"], "data": shown}


def sign_webhook(call: Call, body: str, now: float) -> dict[str, str]:
    """Return Standard Webhooks' headers; the signature is left out for a webhook without a secret."""
    named = {"webhook-id": call.id, "webhook-timestamp": str(int(now))}
    if not call.secret:
        return named
    text = f"{call.id}.{int(now)}.{body}"
    digest = hmac.new(read_webhook_secret(call.secret), text.encode(), hashlib.sha256).digest()
    return named | {"webhook-signature": "v1," + base64.b64encode(digest).decode()}


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    url = f"{caller.base_url}/v1/jobs/{job.id}"
    artefacts = [_artefact(artefact, files, caller) for artefact in job.artefacts]
    return {
        "id": job.id,
        "status": job.status,
        "cancel_requested": job.cancel_requested,
        "created_at": _time(job.created_at),
        "started_at": _time(job.started_at),
        "finished_at": _time(job.finished_at),
        "expires_at": _time(job.expires_at),
        "attempts": job.attempts,
        "params": _shown(job),
        "progress": job.progress,
        "result": job.result,
        "error": job.error.to_json() if job.error else None,
        "artefact": next(iter(artefacts), None),
        "artefacts": artefacts,
        "url": url,
        "events_url": f"{url}/events",
        "report_url": f"{url}/report",
    }


def render_error(error: AnimateError) -> Response:
    return JSONResponse({"error": error.to_json()}, status_code=http_status(error), headers=http_headers(error))


def read_webhook_secret(secret: str) -> bytes:
    """Return the key that `whsec_BASE64` spells. Raises `InvalidField`, without repeating it."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:
        limit = "whsec_ and the base64 of 24 to 64 bytes"
        raise InvalidField(f"webhook.secret must be {limit}", field="webhook.secret", limit=limit)
    return key


def _webhook(call: Call) -> dict[str, Any]:
    attempts = [
        {"at": _time(made.at), "status_code": made.status_code, "response": made.response, "error": made.error}
        for made in call.attempts
    ]
    return {"id": call.id, "url": redact(call.url), "status": call.status, "attempts": attempts}


def _artefact(artefact: Artefact, files: Files, caller: Caller) -> dict[str, Any]:
    return {
        "url": files.url(artefact, caller, dialect=dialect.name),
        "media_type": artefact.media_type,
        "size_bytes": artefact.size_bytes,
        "sha256": artefact.sha256,
        "seed": artefact.seed,
    }


def _upload(upload: Upload, uploads: Uploads, caller: Caller) -> dict[str, Any]:
    return {
        "id": UPLOAD + upload.id,
        "url": uploads.url(upload.id, caller),
        "media_type": upload.media_type,
        "size_bytes": upload.size_bytes,
        "sha256": upload.sha256,
        "expires_at": _time(upload.expires_at),
    }


def _shown(job: Job) -> dict[str, Any]:
    """Return the params as they were asked for, without the query strings of URLs, where presigned secrets are."""
    values = job.params.to_json()
    if job.kind == "preflight":
        values["preflight"] = PREFLIGHT_ONLY
    return values | {name: redact(values[name]) for name in INPUTS if values[name] is not None}


def _typed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return form fields, which are text, with those that are not text in JSON read as JSON where they can be."""
    typed: dict[str, Any] = {}
    for name, text in fields.items():
        typed[name] = text
        if name not in _TEXTS and isinstance(text, str):
            try:
                typed[name] = json.loads(text)
            except ValueError:
                continue
    return typed


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


dialect = Dialect(
    name="native",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={"POST /v1/jobs": JobRequest},
    hosted=False,
    webhooks=WebhookRules(
        find=find_webhooks,
        render=render_webhook,
        headers=sign_webhook,
        # the schedule that Standard Webhooks recommends: ten attempts in three days
        pauses_s=(5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0),
    ),
)
