"""RunningHub's interface under /runninghub: character-motion-transfer (v2), and the older task calls.

Everything is answered with HTTP 200. v2 says what is wrong in `errorCode` and `errorMessage`, which must both be empty
while all is well; the older calls say it in `code` and `msg`. An error here has all four, so it fits either caller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from animate_pipelines.errors import (
    AnimateError,
    ContentRefused,
    FetchError,
    InvalidField,
    MediaError,
    MediaTooLarge,
    RequestError,
)
from animate_pipelines.params import AnimateParams
from animate_server.addresses import check_length, redact
from animate_server.dialects import (
    Caller,
    CallerDep,
    Desk,
    DeskDep,
    Dialect,
    WebhookRules,
    find_job,
    submit_body,
    submit_fields,
)
from animate_server.document import FILE_FORM
from animate_server.errors import (
    BodyTooLarge,
    JobNotFound,
    NotAuthorized,
    QueueFull,
    TooManyRequests,
    WrongMethod,
    http_headers,
)
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Job, JobStatus
from animate_server.webhooks import CallStatus, Webhook

router = APIRouter(prefix="/runninghub", tags=["runninghub"])
IMAGE, VIDEO = "299##image", "275##video"
_NODE = "299"
_COUNTED = 1000
_CALLS = {
    CallStatus.WAITING: "WAITING",
    CallStatus.PENDING: "PENDING",
    CallStatus.DELIVERED: "SUCCESS",
    CallStatus.FAILED: "FAILED",
}
_UPLOADED = re.compile(r"(?:openapi|api)/([A-Za-z0-9_-]{32})(?:\.[a-z0-9]{2,5})?")
_STATUSES = {
    JobStatus.QUEUED: "QUEUED",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.SUCCEEDED: "SUCCESS",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELED: "CANCEL",
}
# errorCode of v2, code of the older calls
_CODES: tuple[tuple[type[AnimateError], int, int], ...] = (
    (NotAuthorized, 1002, 802),
    (QueueFull, 1520, 421),
    (TooManyRequests, 1003, 421),
    (JobNotFound, 1004, 807),
    (BodyTooLarge, 1008, 809),
    (MediaTooLarge, 1008, 809),
    (WrongMethod, 1009, 500),
    (FetchError, 1001, 301),
    (MediaError, 1013, 301),
    (RequestError, 1007, 301),
)


class ErrorView(BaseModel):
    """With HTTP 200, in both the newer and the older calls' words."""

    errorCode: str  # noqa: N815  theirs
    errorMessage: str  # noqa: N815
    code: int
    msg: str
    data: None
    taskId: str  # noqa: N815
    status: str
    results: None


class TransferRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: str = Field(alias="299##image", min_length=1, description="Who: a file name, URL or data URI.")
    video: str = Field(alias="275##video", min_length=1, description="How: a file name, URL or data URI.")
    webhook: str | None = Field(
        None, alias="webhookUrl", max_length=2000, description="Called when the task has ended."
    )


class TaskRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_id: str = Field(alias="taskId", min_length=1, max_length=64)


class RetryRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    webhookId: str = Field(min_length=1, max_length=64)  # noqa: N815  theirs
    webhookUrl: str | None = Field(None, max_length=2000)  # noqa: N815


class NodeInfo(BaseModel):
    model_config = ConfigDict(extra="forbid")

    nodeId: str  # noqa: N815  theirs
    fieldName: str  # noqa: N815
    fieldValue: str  # noqa: N815


class CreateRequest(BaseModel):
    """The older way to submit: values for the nodes of a workflow, here always 299 (image) and 275 (video)."""

    model_config = ConfigDict(extra="forbid")

    workflowId: str = Field(max_length=64)  # noqa: N815
    nodeInfoList: list[NodeInfo] = Field(max_length=16)  # noqa: N815
    webhookUrl: str | None = Field(None, max_length=2000)  # noqa: N815
    instanceType: str | None = Field(None, max_length=64)  # noqa: N815
    usePersonalQueue: bool | str | None = None  # noqa: N815


@router.post(
    "/openapi/v2/rhart-video/wan2.2/character-motion-transfer",
    openapi_extra=show_body(TransferRequest),
    summary="Submit",
)
async def submit(request: Request, desk: DeskDep, caller: CallerDep) -> dict[str, Any]:
    job = await submit_body(request, desk, caller, dialect)
    return render(job, desk, caller) | {"clientId": "", "promptTips": ""}


@router.post("/openapi/v2/query", openapi_extra=show_body(TaskRequest), summary="Look at a task")
async def query(request: Request, desk: DeskDep, caller: CallerDep) -> dict[str, Any]:
    with await desk.read(request, caller) as body:
        asked = read_fields(TaskRequest, body.fields)
    return render(await _find(asked.task_id, desk, caller), desk, caller)


@router.post("/openapi/v2/media/upload/binary", openapi_extra=FILE_FORM, summary="Hand over a file")
async def upload_binary(request: Request, desk: DeskDep, caller: CallerDep) -> dict[str, Any]:
    with await desk.read_file(request, "file", caller) as body:
        (upload,) = await desk.upload(body, caller)
    name = f"openapi/{upload.id}"
    url = desk.upload_url(upload.id, caller)
    kind = upload.media_type.partition("/")[0]
    data = {"type": kind, "download_url": url, "fileName": name, "filename": name, "size": str(upload.size_bytes)}
    return {"code": 0, "message": "success", "data": data}


@router.post("/task/openapi/create", openapi_extra=show_body(CreateRequest), summary="Submit (older call)")
async def create_task(request: Request, desk: DeskDep) -> dict[str, Any]:
    body, caller = await desk.read_with_key(request)
    with body:
        asked = read_fields(CreateRequest, body.fields)
        fields = {f"{node.nodeId}##{node.fieldName}": node.fieldValue for node in asked.nodeInfoList}
        if len(fields) != len(asked.nodeInfoList):
            raise InvalidField("nodeInfoList: a field of a node is given twice", field="nodeInfoList")
        job = await submit_fields(desk, caller, dialect, body, fields | {"webhookUrl": asked.webhookUrl})
    data = {"netWssUrl": None, "taskId": job.id, "clientId": "", "taskStatus": _older(job), "promptTips": ""}
    return _said(data)


@router.post("/task/openapi/status", openapi_extra=show_body(TaskRequest), summary="Status (older call)")
async def get_status(request: Request, desk: DeskDep) -> dict[str, Any]:
    job, _ = await _named(request, desk)
    return _said(_older(job))


@router.post("/task/openapi/outputs", openapi_extra=show_body(TaskRequest), summary="Outputs (older call)")
async def get_outputs(request: Request, desk: DeskDep) -> dict[str, Any]:
    """Code 813 while the task is queued, 804 while it runs, 805 when it failed or was canceled."""
    job, caller = await _named(request, desk)
    return _outputs(job, desk, caller)


@router.post("/task/openapi/cancel", openapi_extra=show_body(TaskRequest), summary="Cancel")
async def cancel(request: Request, desk: DeskDep) -> dict[str, Any]:
    """Code 807 for a task that has ended."""
    job, caller = await _named(request, desk)
    if job.status.is_final:
        raise JobNotFound(f"task {job.id} has ended with {_STATUSES[job.status]}", field="taskId", value=job.id)
    await desk.cancel(job.id, caller)
    return _said(None)


@router.post("/task/openapi/upload", openapi_extra=FILE_FORM, summary="Hand over a file (older call)")
async def upload(request: Request, desk: DeskDep) -> dict[str, Any]:
    body, caller = await desk.read_with_key(request)
    with body:
        body.fields.pop("fileType", None)
        if list(body.fields) != ["file"] or len(body.parts) != 1:
            raise InvalidField("the form must hold one file, named 'file'", field="file")
        (stored,) = await desk.upload(body, caller)
    suffix = {"jpeg": "jpg", "x-matroska": "mkv"}
    kind = stored.media_type.partition("/")[2]
    return _said({"fileName": f"api/{stored.id}.{suffix.get(kind, kind)}", "fileType": stored.media_type})


@router.post("/task/openapi/getWebhookDetail", openapi_extra=show_body(TaskRequest), summary="A task's webhook")
async def get_webhook(request: Request, desk: DeskDep) -> dict[str, Any]:
    """Code 807 for a task that has none. `userApiKey` is empty: no key is kept here."""
    job, caller = await _named(request, desk)
    call = await desk.find_call(job.id, caller)
    last = call.attempts[-1] if call.attempts else None
    shown = {"id": call.id, "userApiKey": "", "taskId": job.id, "webhookUrl": redact(call.url), "eventData": call.body}
    answered = {"callbackStatus": _CALLS[call.status], "callbackResponse": last and (last.response or last.error)}
    times = {"createTime": _milliseconds(call.created_at), "updateTime": _milliseconds(call.updated_at)}
    return _said(shown | answered | {"retryCount": max(0, len(call.attempts) - 1)} | times)


@router.post("/task/openapi/retryWebhook", openapi_extra=show_body(RetryRequest), summary="Call a webhook again")
async def retry_webhook(request: Request, desk: DeskDep) -> dict[str, Any]:
    body, caller = await desk.read_with_key(request)
    with body:
        asked = read_fields(RetryRequest, body.fields)
    elsewhere = Webhook(url=asked.webhookUrl, field="webhookUrl") if asked.webhookUrl else None
    await desk.resend(asked.webhookId, caller, elsewhere)
    return _said(None)


@router.post("/uc/openapi/accountStatus", summary="The account")
async def get_account(request: Request, desk: DeskDep) -> dict[str, Any]:
    body, caller = await desk.read_with_key(request)
    with body:
        live = [await desk.list(caller, limit=_COUNTED, status=s) for s in (JobStatus.QUEUED, JobStatus.RUNNING)]
    account = {"remainCoins": "0", "currentTaskCounts": str(sum(map(len, live))), "remainMoney": None}
    return _said(account | {"currency": None, "apiType": "NORMAL"})


def parse(fields: Mapping[str, Any]) -> AnimateParams:
    """Raises `InvalidField`, naming the node's field: "299##image"."""
    asked = read_fields(TransferRequest, fields)
    check_length(asked.image, IMAGE)
    check_length(asked.video, VIDEO)
    return AnimateParams(reference_image=_reference(asked.image), driving_video=_reference(asked.video), mode="replace")


def render(job: Job, desk: Desk, caller: Caller) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "taskId": job.id,
        "status": _STATUSES[job.status],
        "errorCode": "",
        "errorMessage": "",
        "failedReason": {},
        "usage": {
            "consumeMoney": None,
            "consumeCoins": "0",
            "taskCostTime": _cost_time(job),
            "thirdPartyConsumeMoney": None,
        },
        "results": None,
    }
    if job.artefact is not None:
        url = desk.artefact_url(job.artefact, caller, dialect=dialect.name)
        shown["results"] = [{"url": url, "nodeId": _NODE, "outputType": "mp4", "text": None}]
    if job.error is not None:
        code = "1501" if job.error.code == ContentRefused.code else "1015"
        said = {"errorCode": code, "errorMessage": _in_their_words(job.error.message)}
        shown |= said | {"failedReason": _failed_reason(job)}
    return shown


def find_webhook(fields: Mapping[str, Any]) -> Webhook | None:
    url = fields.get("webhookUrl")
    return Webhook(url=url, field="webhookUrl") if url else None


def render_webhook(job: Job, desk: Desk, caller: Caller) -> dict[str, Any]:
    """`eventData` is the text that `outputs` would answer."""
    outputs = json.dumps(_outputs(job, desk, caller), ensure_ascii=False)
    return {"event": "TASK_END", "taskId": job.id, "eventData": outputs}


def render_error(error: AnimateError) -> Response:
    newer, older = next(((new, old) for kind, new, old in _CODES if isinstance(error, kind)), (1005, 500))
    message = _in_their_words(error.message)
    shown = {"errorCode": str(newer), "errorMessage": message, "code": older, "msg": message, "data": None}
    return JSONResponse(shown | {"taskId": "", "status": "FAILED", "results": None}, headers=http_headers(error))


async def _named(request: Request, desk: Desk) -> tuple[Job, Caller]:
    body, caller = await desk.read_with_key(request)
    with body:
        asked = read_fields(TaskRequest, body.fields)
    return await _find(asked.task_id, desk, caller), caller


async def _find(task_id: str, desk: Desk, caller: Caller) -> Job:
    missing = JobNotFound(f"task {task_id} not found", field="taskId", value=task_id)
    return await find_job(task_id, desk, caller, missing)


def _outputs(job: Job, desk: Desk, caller: Caller) -> dict[str, Any]:
    if job.artefact is not None:
        url = desk.artefact_url(job.artefact, caller, dialect=dialect.name)
        file = {"fileUrl": url, "fileType": "mp4", "taskCostTime": _cost_time(job), "nodeId": _NODE}
        return _said([file | {"consumeCoins": "0"}])
    if not job.status.is_final:
        code, state = (813, "QUEUED") if job.status is JobStatus.QUEUED else (804, "RUNNING")
        return {"code": code, "msg": f"APIKEY_TASK_IS_{state}", "data": None}
    return {"code": 805, "msg": "APIKEY_TASK_STATUS_ERROR", "data": {"failedReason": _failed_reason(job)}}


def _milliseconds(seconds: float) -> str:
    return str(round(1000 * seconds))


def _said(data: Any) -> dict[str, Any]:
    return {"code": 0, "msg": "success", "data": data}


def _older(job: Job) -> str:
    return "FAILED" if job.status is JobStatus.CANCELED else _STATUSES[job.status]


def _cost_time(job: Job) -> str:
    """Whole seconds."""
    return "0" if job.started_at is None or job.finished_at is None else str(round(job.finished_at - job.started_at))


def _failed_reason(job: Job) -> dict[str, Any]:
    said = _in_their_words(job.error.message) if job.error else "the task was canceled"
    return {"node_id": _NODE, "exception_type": job.error.code if job.error else "canceled", "exception_message": said}


def _reference(given: str) -> str:
    uploaded = _UPLOADED.fullmatch(given)
    return f"upload:{uploaded[1]}" if uploaded else given


def _in_their_words(message: str) -> str:
    return message.replace("reference_image", IMAGE).replace("driving_video", VIDEO)


dialect = Dialect(
    name="runninghub",
    prefix="/runninghub",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={"character-motion-transfer": TransferRequest, "task/openapi/create": CreateRequest},
    ignored={
        "workflowId": "there is one workflow, with the nodes 299 and 275",
        "instanceType": "a job runs where there is a worker",
        "usePersonalQueue": "there is one queue",
        "fileType": "the bytes say what they are",
    },
    # theirs retries "about three times", at pauses that are not written down; these are ours
    webhooks=WebhookRules(find=find_webhook, render=render_webhook, pauses_s=(10.0, 60.0, 300.0)),
)
