"""Eachlabs' interface under /eachlabs/v1: predictions, one blocking call, cancel, uploads, catalogue.

Their JavaScript client sends `X-API-Key` and a trailing slash, their documents a bearer and none; both are taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.errors import AnimateError, ContentRefused, InvalidField
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import redact
from animate_server.bodies import INLINE
from animate_server.dialect import Dialect, WebhookRules
from animate_server.dialects.eachlabs.models import ANIMATE_NAMES, MODELS, ModelView, show_model
from animate_server.document import BODY_ERRORS, LOOKUP_ERRORS, RAW_FILE, SUBMIT_ERRORS, UPLOAD_ERRORS, raises
from animate_server.errors import BodyInvalid, JobNotFound, NotAuthorized, TryLater, coarse_status, http_headers
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Failure, Job, JobStatus
from animate_server.lookup import failure_of, find_job, follow_to_end, result_url
from animate_server.ports import BodiesDep, CallerDep, CallsDep, FilesDep, JobsDep, UploadsDep
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.submission import submit_body
from animate_server.webhooks import Call, CallStatus, Webhook

router = APIRouter(prefix="/eachlabs/v1", tags=["eachlabs"])
_STATUSES = {
    JobStatus.QUEUED: "starting",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "success",
    JobStatus.FAILED: "error",
    JobStatus.CANCELED: "cancelled",
}
_CALLS = {CallStatus.DELIVERED: "SUCCESS", CallStatus.FAILED: "FAILED"}
_CREATED = "Prediction created successfully"


class PredictionRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = Field(max_length=100, description="The slug of one of /eachlabs/v1/models.")
    version: str = Field("0.0.1", max_length=50, description="Taken; there is one version of each model.")
    input: dict[str, Any] = Field(description="The fields of that model.")
    webhook_url: str | None = Field(
        None, max_length=2000, description="Called when the prediction has succeeded or failed."
    )
    webhook_secret: str | None = Field(None, max_length=2000, description="Sent with each call as X-Webhook-Secret.")


class Created(BaseModel):
    status: str
    message: str
    predictionID: str  # noqa: N815  theirs


class Finished(Created):
    output: str | dict[str, Any] | None = Field(description="URL of the MP4, or an object that says what failed.")
    error: str


class Metrics(BaseModel):
    """Seconds; this server bills nobody."""

    predict_time: float
    cost: float


class Urls(BaseModel):
    cancel: str
    get: str


class Prediction(BaseModel):
    id: str
    input: dict[str, Any] = Field(description="As it was sent; data is shown as `data:`.")
    status: str
    output: str | dict[str, Any] | None
    logs: str | None = Field(description="What the caller should know of the video.")
    metrics: Metrics
    urls: Urls


class Executions(BaseModel):
    executions: list[Prediction]


class WebhookAttempt(BaseModel):
    status: Literal["PENDING", "SUCCESS", "FAILED"]
    status_code: int | None
    response: str
    error_message: str
    created_at: datetime


class WebhookLog(BaseModel):
    execution_id: str
    webhook_url: str = Field(description="Without its query.")
    status: Literal["PENDING", "SUCCESS", "FAILED"]
    attempts: list[WebhookAttempt]


class WebhookLogs(BaseModel):
    webhooks: list[WebhookLog]


class PresignRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    content_type: str = Field(pattern="^(image|video)/[a-zA-Z0-9.+-]{1,60}$")
    file_type: str | None = Field(None, max_length=60, description="Taken; the bytes say what they are.")
    expires_in_seconds: int | None = Field(
        None, ge=60, le=31_536_000, description="Taken; how long an upload is kept is set here, see `expires_at`."
    )


class Presigned(BaseModel):
    id: str
    presigned_url: str = Field(description="PUT the bytes here, once; it needs no key.")
    public_url: str
    expires_at: datetime
    required_headers: dict[str, str]


class ErrorView(BaseModel):
    error: str
    details: str | None = None
    status: int | None = None


async def _find_by_id(job_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    missing = JobNotFound("Prediction not found", field="id", value=job_id)
    return await find_job(job_id, jobs, caller, missing)


async def _find(prediction_id: str, jobs: JobsDep, caller: CallerDep) -> Job:
    return await _find_by_id(prediction_id, jobs, caller)


PredictionJob = Annotated[Job, Depends(_find)]


@router.post("/prediction/", include_in_schema=False)
@router.post(
    "/prediction",
    response_model=Created,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(PredictionRequest),
    summary="Submit",
)
async def create_prediction(request: Request, bodies: BodiesDep, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    job = await submit_body(request, bodies, jobs, caller, dialect)
    return {"status": "success", "message": _CREATED, "predictionID": job.id}


@router.post("/prediction/run/", include_in_schema=False)
@router.post(
    "/prediction/run",
    response_model=Finished,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(PredictionRequest),
    summary="Submit and wait",
)
async def run_prediction(
    request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep
) -> dict[str, Any]:
    """Answer when the prediction has ended. A caller who hangs up has it canceled."""
    submitted = await submit_body(request, bodies, jobs, caller, dialect)
    job = await follow_to_end(request, jobs, caller, submitted)
    failure = failure_of(job, dialect)
    shown = {"status": _STATUSES[job.status], "message": "Prediction finished", "predictionID": job.id}
    return shown | {"output": _output(job, files, caller), "error": failure.message if failure else ""}


@router.get("/prediction/{prediction_id}/", include_in_schema=False)
@router.get(
    "/prediction/{prediction_id}", response_model=Prediction, responses=raises(*LOOKUP_ERRORS), summary="Look at one"
)
async def get_prediction(job: PredictionJob, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    return render(job, files, caller)


@router.post("/prediction/{prediction_id}/cancel/", include_in_schema=False)
@router.post(
    "/prediction/{prediction_id}/cancel",
    response_model=Created,
    responses=raises(*LOOKUP_ERRORS, InvalidField),
    summary="Cancel",
)
async def cancel_prediction(before: PredictionJob, jobs: JobsDep, caller: CallerDep) -> dict[str, Any]:
    job = await jobs.cancel(before.id, caller)
    if job.status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
        ended = _STATUSES[job.status]
        raise InvalidField(f"the prediction has ended with {ended}", field="predictionID", value=ended)
    return {"status": "cancelled", "message": "Prediction canceled successfully", "predictionID": job.id}


@router.get("/models", response_model=list[ModelView], responses=raises(NotAuthorized), summary="Catalogue")
async def list_models(caller: CallerDep) -> list[ModelView]:
    return [show_model(slug) for slug in MODELS]


@router.get(
    "/model",
    response_model=ModelView,
    responses=raises(*LOOKUP_ERRORS, InvalidField),
    summary="One model with its fields",
)
async def get_model(caller: CallerDep, slug: Annotated[str, Query(max_length=100)]) -> ModelView:
    if slug not in MODELS:
        raise JobNotFound(f"Model {slug} not found", field="slug", value=slug)
    return show_model(slug)


@router.post(
    "/upload/presign",
    response_model=Presigned,
    responses=raises(*BODY_ERRORS),
    openapi_extra=show_body(PresignRequest),
    summary="Ask for a place for a file",
)
async def presign_upload(request: Request, bodies: BodiesDep, uploads: UploadsDep, caller: CallerDep) -> dict[str, Any]:
    with await bodies.read(request, caller) as body:
        wanted = read_fields(PresignRequest, body.fields)
    signed = uploads.presign(caller)
    return {
        "id": signed.upload_id,
        "presigned_url": f"{caller.base_url}/eachlabs/v1/upload/put/{signed.token}",
        "public_url": uploads.url(signed.upload_id, caller),
        "expires_at": datetime.fromtimestamp(signed.expires_at, UTC),
        "required_headers": {"Content-Type": wanted.content_type},
    }


@router.put(
    "/upload/put/{token}",
    response_class=Response,
    responses=raises(*UPLOAD_ERRORS, JobNotFound),
    summary="Send the file",
    openapi_extra=RAW_FILE,
)
async def put_upload(token: str, request: Request, uploads: UploadsDep) -> Response:
    """Take a file. No key is needed: the URL is the permission, for one file."""
    await uploads.receive(request, token, "file")
    return Response()


@router.delete("/files/{file_id}", status_code=204, responses=raises(*LOOKUP_ERRORS), summary="Delete an uploaded file")
async def delete_file(file_id: str, uploads: UploadsDep, caller: CallerDep) -> Response:
    await uploads.delete(file_id, caller)
    return Response(status_code=204)


@router.get(
    "/executions", response_model=Executions, responses=raises(NotAuthorized), summary="Predictions, newest first"
)
async def list_executions(jobs: JobsDep, files: FilesDep, caller: CallerDep) -> dict[str, Any]:
    """List those of the newest hundred jobs of this key that came through this interface and have not expired."""
    newest = await jobs.list(caller, limit=100)
    predictions = [job for job in newest if job.dialect == dialect.name and job.status in _STATUSES]
    return {"executions": [render(job, files, caller) for job in predictions]}


@router.get("/webhooks", response_model=WebhookLogs, responses=raises(NotAuthorized), summary="Webhooks, newest first")
async def list_webhooks(calls: CallsDep, caller: CallerDep) -> dict[str, Any]:
    return {"webhooks": [_webhook(call) for call in await calls.list(caller, dialect=dialect.name)]}


@router.get(
    "/webhooks/{execution_id}",
    response_model=WebhookLog,
    responses=raises(*LOOKUP_ERRORS),
    summary="One webhook's attempts",
)
async def get_webhook(execution_id: str, jobs: JobsDep, calls: CallsDep, caller: CallerDep) -> dict[str, Any]:
    job = await _find_by_id(execution_id, jobs, caller)
    return _webhook(await calls.find(job.id, caller))


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of a prediction. Raises `InvalidField`, naming Eachlabs' field: "input.seed"."""
    request = read_fields(PredictionRequest, fields)
    if request.model not in MODELS:
        named = ", ".join(MODELS)
        raise InvalidField(f"model: must be one of {named}", field="model", value=request.model, limit=named)
    try:
        return MODELS[request.model].parse(request.input)
    except InvalidField as invalid:  # the path is of the whole request, the sentence of the model's own field
        path = f"input.{invalid.field}"
        raise type(invalid)(invalid.message, field=path, value=invalid.value, limit=invalid.limit) from None


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    url = f"{caller.base_url}/eachlabs/v1/prediction/{job.id}"
    spent_s = 0.0 if job.started_at is None or job.finished_at is None else job.finished_at - job.started_at
    return {
        "id": job.id,
        "input": _input(job),
        "status": "created" if job.waiting else _STATUSES[job.status],
        "output": _output(job, files, caller),
        "logs": "\n".join(job.warnings) or None,
        "metrics": {"predict_time": round(spent_s, 3), "cost": 0.0},
        "urls": {"cancel": f"{url}/cancel", "get": url},
    }


def find_webhooks(fields: Mapping[str, Any]) -> Sequence[Webhook]:
    url = fields.get("webhook_url")
    return [Webhook(url=url, secret=fields.get("webhook_secret") or "", field="webhook_url")] if url else []


def render_webhook(job: Job, files: Files, caller: Caller) -> dict[str, Any] | None:
    """Return the body of a call. They do not call about a prediction that was cancelled."""
    if job.status is JobStatus.CANCELED:
        return None
    shown = {"exec_id": job.id, "flow_id": None, "status": "succeeded", "error": ""}
    output: Any = _output(job, files, caller)
    if failure := failure_of(job, dialect):
        shown["status"] = "failed"
        output = [{"id": job.id, "status": "error", "output": output, "error": failure.message}]
    return shown | {"output": output}


def render_error(error: AnimateError) -> Response:
    status = coarse_status(error)
    shown: dict[str, Any] = {"error": error.message}
    if isinstance(error, NotAuthorized):
        shown = {"error": "Invalid or missing API key"}
    elif isinstance(error, TryLater):
        shown = {"status": 429, "error": "too many requests", "details": error.message}
    elif error.field == "model" and error.value is None:
        shown = {"error": "model field is required"}
    elif status == 400 and not isinstance(error, BodyInvalid):
        shown = {"error": "Invalid input for model", "details": error.message}
    return JSONResponse(shown, status_code=status, headers=http_headers(error))


def _output(job: Job, files: Files, caller: Caller) -> str | dict[str, Any] | None:
    failure = failure_of(job, dialect)
    return _failed(failure) if failure else result_url(job, files, caller, dialect)


def _failed(failure: Failure) -> dict[str, Any]:
    is_theirs = failure.fault == "request"
    category = "user_error" if is_theirs else "provider_error"
    if failure.code == ContentRefused.code:
        category = "content_policy"
    return {
        "error": failure.message,
        "error_code": failure.code,
        "error_message": failure.message,
        "classification": {"category": category},
        "retryable": not is_theirs,
        "success": False,
        "status": "ERROR",
    }


def _webhook(call: Call) -> dict[str, Any]:
    attempts = [
        {
            "status": "SUCCESS" if attempt.delivered else "FAILED",
            "status_code": attempt.status_code,
            "response": attempt.response,
            "error_message": attempt.error,
            "created_at": datetime.fromtimestamp(attempt.at, UTC),
        }
        for attempt in call.attempts
    ]
    shown = {"execution_id": call.job_id, "webhook_url": redact(call.url)}
    return shown | {"status": _CALLS.get(call.status, "PENDING"), "attempts": attempts}


def _input(job: Job) -> dict[str, Any]:
    """Return the input as it was sent, data by what it was; of a job of another interface what it came to."""
    sent = (job.request or {}).get("input")
    if job.dialect == dialect.name and isinstance(sent, dict):
        return {name: "data:" if str(value).startswith(INLINE) else value for name, value in sent.items()}
    params = job.params
    return {
        "image_url": redact(params.reference_image),
        "video_url": redact(params.driving_video or ""),
        "resolution": params.resolution,
        "seed": params.seed,
    }


def _names(fields: Mapping[str, Any]) -> Mapping[str, str]:
    """Return how the model that is asked for calls our fields; as most of theirs do for a job asked for elsewhere."""
    model = MODELS.get(str(fields.get("model")))
    return model.names if model else ANIMATE_NAMES


dialect = Dialect(
    name="eachlabs",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={"prediction": PredictionRequest} | {f"input of {slug}": model.schema for slug, model in MODELS.items()},
    ignored={
        "version": "there is one version of each model",
    },
    names=_names,
    webhooks=WebhookRules(
        find=find_webhooks,
        render=render_webhook,
        headers=lambda call, body, now: {"X-Webhook-Secret": call.secret} if call.secret else {},
        pauses_s=(10.0, 10.0),  # three attempts, as theirs
    ),
)
