"""RunningHub's interface under /runninghub: character-motion-transfer and runs of apps (v2), and the older task calls.

Everything is answered with HTTP 200. v2 says what is wrong in `errorCode` and `errorMessage`, which must both be empty
while all is well; the older calls say it in `code` and `msg`. An error here has all four, so it fits either caller.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from animate_pipelines.errors import (
    AnimateError,
    ContentRefused,
    FetchError,
    InvalidField,
    MediaError,
    MediaTooLarge,
    RequestError,
)
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import check_length, redact
from animate_server.bodies import Body
from animate_server.dialect import Dialect, WebhookRules
from animate_server.dialects.runninghub.schema import (
    IMAGE,
    LONGEST_S,
    VIDEO,
    Account,
    Answer,
    AppRequest,
    CreatedTask,
    CreateRequest,
    ErrorView,
    FailedTask,
    NodesRequest,
    OutputFile,
    RetryRequest,
    StoredFile,
    SubmittedTask,
    Task,
    TaskRequest,
    TransferRequest,
    Uploaded,
    WebhookDetail,
)
from animate_server.document import FILE_FORM, QUERY_ERRORS, SUBMIT_ERRORS, UPLOAD_ERRORS, raises
from animate_server.errors import (
    BodyTooLarge,
    JobNotFound,
    JobUnfinished,
    NotAuthorized,
    QueueFull,
    TooManyRequests,
    WrongMethod,
    http_headers,
)
from animate_server.fields import read_fields, show_body
from animate_server.jobs import Failure, Job, JobStatus
from animate_server.lookup import failure_of, find_job, result_url
from animate_server.ports import BodiesDep, CallerDep, CallsDep, FilesDep, JobsDep, UploadsDep
from animate_server.ports.bodies import Bodies
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.ports.jobs import JobOptions, Jobs
from animate_server.ports.uploads import Upload
from animate_server.references import HASHED, STORED
from animate_server.submission import submit_body, submit_fields
from animate_server.webhooks import CallStatus, Webhook

router = APIRouter(prefix="/runninghub", tags=["runninghub"])
_NODES = "nodeInfoList"
_INPUTS = {"image": IMAGE, "video": VIDEO}
_SUFFIXES = {"jpeg": "jpg", "x-matroska": "mkv"}
_NODE = "299"
_COUNTED = 1000
_CALLS = {
    CallStatus.WAITING: "WAITING",
    CallStatus.PENDING: "PENDING",
    CallStatus.DELIVERED: "SUCCESS",
    CallStatus.FAILED: "FAILED",
}
# An upload is named by the SHA-256 of its bytes, with the folder of the call that took it or without, as theirs.
_UPLOADED = re.compile(r"(?:(?:openapi|api)/)?([0-9a-f]{64})(?:\.[a-z0-9]{2,5})?")
_TASK_ID = re.compile(r"\d{19}")
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
# of a task that was taken and failed, by the code of its failure; of any other 1015
_FAILURES = {ContentRefused.code: 1501, FetchError.code: 1001, MediaError.code: 1013, MediaTooLarge.code: 1008}


@router.post(
    "/openapi/v2/rhart-video/wan2.2/character-motion-transfer",
    response_model=SubmittedTask,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(TransferRequest),
    summary="Submit",
)
async def submit(
    request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep
) -> dict[str, Any]:
    return _submitted(await submit_body(request, bodies, jobs, caller, dialect, _options()), files, caller)


@router.post(
    "/openapi/v2/run/ai-app/{app_id}",
    response_model=SubmittedTask,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(NodesRequest),
    summary="Submit, as a run of an app",
)
@router.post(
    "/openapi/v2/run/workflow/{workflow_id}",
    response_model=SubmittedTask,
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(NodesRequest),
    summary="Submit, as a run of a workflow",
)
async def run_nodes(
    request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep
) -> dict[str, Any]:
    """Submit a run, whatever the id: there is one app, and its inputs are the nodes' fields `image` and `video`."""
    with await bodies.read(request, caller) as body:
        job = await _submit_nodes(read_fields(NodesRequest, body.fields), body, jobs, caller)
    return _submitted(job, files, caller)


@router.post(
    "/openapi/v2/query",
    response_model=Task,
    responses=raises(*QUERY_ERRORS, JobNotFound),
    openapi_extra=show_body(TaskRequest),
    summary="Look at a task",
)
async def query(
    request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep, caller: CallerDep
) -> dict[str, Any]:
    with await bodies.read(request, caller, admit=False) as body:
        task = read_fields(TaskRequest, body.fields)
    return render(await _find(task.task_id, jobs, caller), files, caller)


@router.post(
    "/openapi/v2/media/upload/binary",
    response_model=Uploaded,
    responses=raises(*UPLOAD_ERRORS),
    openapi_extra=FILE_FORM,
    summary="Hand over a file",
)
async def upload_binary(request: Request, bodies: BodiesDep, uploads: UploadsDep, caller: CallerDep) -> dict[str, Any]:
    with await bodies.read_file(request, "file", caller) as body:
        (upload,) = await uploads.save(body, caller)
    name = f"openapi/{_file_name(upload)}"
    url = uploads.url(upload.id, caller)
    kind = upload.media_type.partition("/")[0]
    data = {"type": kind, "download_url": url, "fileName": name, "filename": name, "size": str(upload.size_bytes)}
    return {"code": 0, "message": "success", "data": data}


@router.post(
    "/task/openapi/create",
    response_model=Answer[CreatedTask],
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(CreateRequest),
    summary="Submit (older call)",
)
async def create_task(request: Request, bodies: BodiesDep, jobs: JobsDep) -> dict[str, Any]:
    return await _create(CreateRequest, request, bodies, jobs)


@router.post(
    "/task/openapi/ai-app/run",
    response_model=Answer[CreatedTask],
    responses=raises(*SUBMIT_ERRORS),
    openapi_extra=show_body(AppRequest),
    summary="Submit, as a run of an app (older call)",
)
async def run_app(request: Request, bodies: BodiesDep, jobs: JobsDep) -> dict[str, Any]:
    return await _create(AppRequest, request, bodies, jobs)


@router.post(
    "/task/openapi/status",
    response_model=Answer[str],
    responses=raises(*QUERY_ERRORS, JobNotFound),
    openapi_extra=show_body(TaskRequest),
    summary="Status (older call)",
)
async def get_status(request: Request, bodies: BodiesDep, jobs: JobsDep) -> dict[str, Any]:
    job, _ = await _read_task(request, bodies, jobs)
    return _answer(_older(job))


@router.post(
    "/task/openapi/outputs",
    response_model=Answer[list[OutputFile] | FailedTask | None],
    responses=raises(*QUERY_ERRORS, JobNotFound),
    openapi_extra=show_body(TaskRequest),
    summary="Outputs (older call)",
)
async def get_outputs(request: Request, bodies: BodiesDep, jobs: JobsDep, files: FilesDep) -> dict[str, Any]:
    """Answer code 813 while the task is queued, 804 while it runs, 805 when it failed or was canceled."""
    job, caller = await _read_task(request, bodies, jobs)
    return _outputs(job, files, caller)


@router.post(
    "/task/openapi/cancel",
    response_model=Answer[None],
    responses=raises(*QUERY_ERRORS, JobNotFound),
    openapi_extra=show_body(TaskRequest),
    summary="Cancel",
)
async def cancel(request: Request, bodies: BodiesDep, jobs: JobsDep) -> dict[str, Any]:
    """Answer code 807 for a task that has ended."""
    job, caller = await _read_task(request, bodies, jobs)
    if job.status.is_final:
        raise JobNotFound(f"task {job.id} has ended with {_STATUSES[job.status]}", field="taskId", value=job.id)
    await jobs.cancel(job.id, caller)
    return _answer(None)


@router.post(
    "/task/openapi/upload",
    response_model=Answer[StoredFile],
    responses=raises(*UPLOAD_ERRORS),
    openapi_extra=FILE_FORM,
    summary="Hand over a file (older call)",
)
async def upload(request: Request, bodies: BodiesDep, uploads: UploadsDep) -> dict[str, Any]:
    body, caller = await bodies.read_with_key(request, _take_key)
    with body:
        body.fields.pop("fileType", None)
        if list(body.fields) != ["file"] or len(body.parts) != 1:
            raise InvalidField("the form must hold one file, named 'file'", field="file")
        (stored,) = await uploads.save(body, caller)
    return _answer({"fileName": f"api/{_file_name(stored)}", "fileType": stored.media_type})


@router.post(
    "/task/openapi/getWebhookDetail",
    response_model=Answer[WebhookDetail],
    responses=raises(*QUERY_ERRORS, JobNotFound),
    openapi_extra=show_body(TaskRequest),
    summary="A task's webhook",
)
async def get_webhook(request: Request, bodies: BodiesDep, jobs: JobsDep, calls: CallsDep) -> dict[str, Any]:
    """Answer code 807 for a task that has none."""
    job, caller = await _read_task(request, bodies, jobs)
    call = await calls.find(job.id, caller)
    last = call.attempts[-1] if call.attempts else None
    shown = {"id": call.id, "userApiKey": "", "taskId": job.id, "webhookUrl": redact(call.url), "eventData": call.body}
    answered = {"callbackStatus": _CALLS[call.status], "callbackResponse": last and (last.response or last.error)}
    times = {"createTime": _milliseconds(call.created_at), "updateTime": _milliseconds(call.updated_at)}
    return _answer(shown | answered | {"retryCount": max(0, len(call.attempts) - 1)} | times)


@router.post(
    "/task/openapi/retryWebhook",
    response_model=Answer[None],
    responses=raises(*QUERY_ERRORS, JobNotFound, JobUnfinished),
    openapi_extra=show_body(RetryRequest),
    summary="Call a webhook again",
)
async def retry_webhook(request: Request, bodies: BodiesDep, calls: CallsDep) -> dict[str, Any]:
    body, caller = await bodies.read_with_key(request, _take_key, admit=False)
    with body:
        retry = read_fields(RetryRequest, body.fields)
    elsewhere = Webhook(url=retry.webhookUrl, field="webhookUrl") if retry.webhookUrl else None
    await calls.resend(retry.webhookId, caller, elsewhere)
    return _answer(None)


@router.post(
    "/uc/openapi/accountStatus", response_model=Answer[Account], responses=raises(*QUERY_ERRORS), summary="The account"
)
async def get_account(request: Request, bodies: BodiesDep, jobs: JobsDep) -> dict[str, Any]:
    body, caller = await bodies.read_with_key(request, _take_key, admit=False)
    with body:
        live = [await jobs.list(caller, limit=_COUNTED, status=s) for s in (JobStatus.QUEUED, JobStatus.RUNNING)]
    account = {"remainCoins": "0", "currentTaskCounts": str(sum(map(len, live))), "remainMoney": None}
    return _answer(account | {"currency": None, "apiType": "NORMAL"})


def parse(fields: Mapping[str, Any]) -> RenderParams:
    """Translate the fields of a transfer. Raises `InvalidField`, naming the node's field: "299##image"."""
    request = read_fields(TransferRequest, fields)
    check_length(request.image, IMAGE)
    check_length(request.video, VIDEO)
    return RenderParams(
        reference_image=_reference(request.image),
        driving_video=_reference(request.video),
        mode="replace",
        longest_s=LONGEST_S,
    )


def render(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "taskId": job.id,
        "status": "CREATE" if job.waiting else _STATUSES[job.status],
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
        "warnings": job.warnings,
    }
    if url := result_url(job, files, caller, dialect):
        shown["results"] = [{"url": url, "nodeId": _NODE, "outputType": "mp4", "text": None}]
    if failure := failure_of(job, dialect):
        shown |= {"errorCode": str(_FAILURES.get(failure.code, 1015)), "errorMessage": failure.message}
        shown["failedReason"] = _failed_reason(job)
    return shown


def find_webhooks(fields: Mapping[str, Any]) -> Sequence[Webhook]:
    url = fields.get("webhookUrl")
    return [Webhook(url=url, field="webhookUrl")] if url else []


def render_webhook(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    """Return the body of a call; `eventData` is the text that `outputs` would answer."""
    outputs = json.dumps(_outputs(job, files, caller), ensure_ascii=False)
    return {"event": "TASK_END", "taskId": job.id, "eventData": outputs}


def render_error(error: AnimateError) -> Response:
    newer, older = next(((new, old) for kind, new, old in _CODES if isinstance(error, kind)), (1005, 500))
    if (error.field or "").partition(".")[0] == _NODES:
        newer, older = 1101, 803
    shown = {"errorCode": str(newer), "errorMessage": error.message, "code": older, "msg": error.message, "data": None}
    return JSONResponse(shown | {"taskId": "", "status": "FAILED", "results": None}, headers=http_headers(error))


def _take_key(fields: dict[str, Any]) -> str | None:
    """Remove the key from the fields of an older call, and return it."""
    keys = [fields.pop(name, None) for name in ("apiKey", "apikey")]
    return next((key for key in keys if isinstance(key, str)), None)


async def _create(model: type[NodesRequest], request: Request, bodies: Bodies, jobs: Jobs) -> dict[str, Any]:
    body, caller = await bodies.read_with_key(request, _take_key)
    with body:
        job = await _submit_nodes(read_fields(model, body.fields), body, jobs, caller)
    return _answer({"netWssUrl": None, "taskId": job.id, "taskStatus": "RUNNING"} | _engine_words())


async def _submit_nodes(run: NodesRequest, body: Body, jobs: Jobs, caller: Caller) -> Job:
    fields: dict[str, Any] = {}
    for node in run.nodeInfoList:
        name = _INPUTS.get(node.fieldName)
        if name is None or name in fields:
            wrong = "is given twice" if name else f"is not a field of this app; there are {', '.join(_INPUTS)}"
            raise InvalidField(f"nodeInfoList: {node.fieldName} {wrong}", field=_NODES, value=node.fieldName)
        fields[name] = node.fieldValue
    fields["webhookUrl"] = run.webhookUrl
    return await submit_fields(body, fields, jobs, caller, dialect, _options())


def _submitted(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    """Show a task as their first answer does: as one that runs, whatever it waits for."""
    return render(job, files, caller) | {"status": "RUNNING"} | _engine_words()


def _engine_words() -> dict[str, str]:
    """Return what their engine says of a prompt that it took: a client's id, and the check's outcome as JSON text."""
    tips: dict[str, Any] = {"result": True, "error": None, "outputs_to_execute": [_NODE], "node_errors": {}}
    return {"clientId": uuid4().hex, "promptTips": json.dumps(tips)}


def _options() -> JobOptions:
    """Return what each job gets: an id of 19 digits that fits into 64 bits with a sign.

    Some callers keep it as such a number.
    """
    return JobOptions(job_id=str(random.SystemRandom().randrange(10**18, 2**63)))


async def _read_task(request: Request, bodies: Bodies, jobs: Jobs) -> tuple[Job, Caller]:
    """Read the body of an older call about one task."""
    body, caller = await bodies.read_with_key(request, _take_key, admit=False)
    with body:
        task = read_fields(TaskRequest, body.fields)
    return await _find(task.task_id, jobs, caller), caller


async def _find(task_id: str, jobs: Jobs, caller: Caller) -> Job:
    missing = JobNotFound(f"task {task_id} not found", field="taskId", value=task_id)
    return await find_job(task_id, jobs, caller, missing)


def _outputs(job: Job, files: Files, caller: Caller) -> dict[str, Any]:
    if url := result_url(job, files, caller, dialect):
        file = {"fileUrl": url, "fileType": "mp4", "taskCostTime": _cost_time(job), "nodeId": _NODE}
        return _answer([file | {"consumeCoins": "0"}])
    if not job.status.is_final:
        code, state = (813, "QUEUED") if job.status is JobStatus.QUEUED else (804, "RUNNING")
        return {"code": code, "msg": f"APIKEY_TASK_IS_{state}", "data": None}
    return {"code": 805, "msg": "APIKEY_TASK_STATUS_ERROR", "data": {"failedReason": _failed_reason(job)}}


def _file_name(upload: Upload) -> str:
    kind = upload.media_type.partition("/")[2]
    return f"{upload.sha256}.{_SUFFIXES.get(kind, kind)}"


def _milliseconds(seconds: float) -> str:
    return str(round(1000 * seconds))


def _answer(data: Any) -> dict[str, Any]:
    return {"code": 0, "msg": "success", "data": data}


def _older(job: Job) -> str:
    return "FAILED" if job.status is JobStatus.CANCELED else _STATUSES[job.status]


def _cost_time(job: Job) -> str:
    """Return how long a task ran, in whole seconds."""
    return "0" if job.started_at is None or job.finished_at is None else str(round(job.finished_at - job.started_at))


def _failed_reason(job: Job) -> dict[str, Any]:
    failure = failure_of(job, dialect) or Failure(code="canceled", template="the task was canceled")
    return {"node_id": _NODE, "exception_type": failure.code, "exception_message": failure.message}


def _reference(given: str) -> str:
    """Return the file name of an upload, or the id of an earlier task, as the reference that says so here."""
    if uploaded := _UPLOADED.fullmatch(given):
        return HASHED + uploaded[1]
    return STORED + given if _TASK_ID.fullmatch(given) else given


dialect = Dialect(
    name="runninghub",
    router=router,
    parse=parse,
    render=render,
    render_error=render_error,
    error_view=ErrorView,
    schemas={
        "character-motion-transfer": TransferRequest,
        "run/ai-app and run/workflow": NodesRequest,
        "task/openapi/create": CreateRequest,
        "task/openapi/ai-app/run": AppRequest,
    },
    ignored={
        "workflowId": "there is one workflow",
        "webappId": "there is one app",
        "instanceType": "a job runs where there is a worker",
        "usePersonalQueue": "there is one queue",
        "addMetadata": "every video says how it was made",
        "fileType": "the bytes say what they are",
    },
    names=lambda fields: {"reference_image": IMAGE, "driving_video": VIDEO},
    # theirs retries "about three times", at pauses that are not written down; these are ours
    webhooks=WebhookRules(find=find_webhooks, render=render_webhook, pauses_s=(10.0, 60.0, 300.0)),
)
