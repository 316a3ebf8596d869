"""`TaskRunner`: does Runware's tasks for one caller, whichever way they came, and says what came of each."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from starlette.requests import HTTPConnection

from animate_pipelines.errors import AnimateError, ContentRefused, InvalidField
from animate_server.addresses import redact
from animate_server.bodies import INLINE, Body, Part
from animate_server.dialect import Dialect
from animate_server.dialects.runware.schema import (
    ANIMATE,
    REPLACE,
    AccountManagement,
    Authentication,
    ImageUpload,
    Lookup,
    MediaStorage,
    ModelSearch,
    VideoInference,
)
from animate_server.errors import (
    BodyInvalid,
    BodyTooLarge,
    IdTaken,
    JobNotFound,
    MissingField,
    NotAuthorized,
    TryLater,
    UnsupportedField,
    WrongMethod,
    coarse_status,
)
from animate_server.fields import read_fields
from animate_server.jobs import Job, JobStatus
from animate_server.lookup import count_jobs, find_job
from animate_server.ports import Ports
from animate_server.ports.callers import Caller
from animate_server.ports.jobs import JobOptions
from animate_server.ports.uploads import Upload
from animate_server.submission import submit_fields
from animate_server.webhooks import Call

_DAY_S = 24 * 3600.0
_MODELS: list[dict[str, Any]] = [
    {
        "air": air,
        "name": f"P-Video {mode.capitalize()}",
        "version": mode,
        "category": "video",
        "type": "base",
        "architecture": "wan2_2",
        "conditioning": None,
        "tags": [],
        "heroImage": "",
        "private": False,
        "comment": "",
    }
    for air, mode in ((ANIMATE, "animate"), (REPLACE, "replace"))
]
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_CODES: tuple[tuple[type[AnimateError], str], ...] = (
    (IdTaken, "conflictTaskUUID"),
    (JobNotFound, "taskFailedOrNotFound"),
    (TryLater, "rateLimitExceeded"),
    (BodyTooLarge, "maxSizeExceeded"),
    (BodyInvalid, "invalidRequestBody"),
    (WrongMethod, "unsupportedMethod"),
)
_KINDS = ((MissingField, "missing"), (UnsupportedField, "unsupported"), (InvalidField, "invalid"))
# Our fields in their words. What they call the driving video depends on the model: a sentence has what fits both.
NAMES = {
    "reference_image": "inputs.referenceImages",
    "driving_video": "the driving video",
    "retention_s": "ttl",
    "id": "taskUUID",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is answered to one task.

    status: as HTTP would have it.
    follow: the job whose end the caller waits for.
    held: whether nothing is answered before that end.
    """

    data: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    follow: str = ""
    held: bool = False


class TaskRunner:
    """Runs tasks. connection: by which the caller reached us."""

    def __init__(self, dialect: Dialect, ports: Ports, caller: Caller, connection: HTTPConnection) -> None:
        self._dialect = dialect
        self._ports = ports
        self._caller = caller
        self._connection = connection
        self._acts: dict[str, Callable[[Body], Awaitable[Answer]]] = {
            "videoInference": self._submit,
            "getResponse": self._get_response,
            "getTaskDetails": self._get_details,
            "imageUpload": self._upload_image,
            "mediaStorage": self._store_media,
            "accountManagement": self._get_account,
            "modelSearch": self._search_models,
            "authentication": self._sign_in,
            "ping": self._pong,
        }

    async def answer(self, body: Body) -> Answer:
        """Do one task. Errors are part of the answer."""
        kind = body.fields.get("taskType")
        try:
            act = self._acts.get(kind) if isinstance(kind, str) else None
            if act is None:
                named = ", ".join(self._acts)
                raise UnsupportedField(f"taskType must be one of {named}, not {kind!r}"[:300], field="taskType")
            with body:
                return await act(body)
        except AnimateError as error:
            shown = describe_error(error) | {
                name: value for name in ("taskType", "taskUUID") if isinstance(value := body.fields.get(name), str)
            }
            return Answer(errors=[shown], status=coarse_status(error))

    async def _submit(self, body: Body) -> Answer:
        await self._ports.callers.admit(self._caller.owner)
        _detach_base64(body)
        task = read_fields(VideoInference, body.fields)
        options = JobOptions(job_id=task.taskUUID, retention_s=task.ttl)
        job = await submit_fields(body, body.fields, self._ports.jobs, self._caller, self._dialect, options)
        if task.deliveryMethod == "sync":
            return Answer(follow=job.id, held=True)
        return Answer(data=[{"taskType": task.taskType, "taskUUID": job.id}], follow=job.id)

    async def _get_response(self, body: Body) -> Answer:
        job = await self._find(read_fields(Lookup, body.fields).taskUUID)
        follow = "" if job.status.is_final else job.id
        return Answer(**self._render(job), follow=follow)

    async def _get_details(self, body: Body) -> Answer:
        """Answer with a task's `request`, without data and the queries of URLs, and its `response` as of getResponse.

        `uploads` has what became of sending the file to `uploadEndpoint`, which theirs does not tell.
        """
        task = read_fields(Lookup, body.fields)
        job = await self._find(task.taskUUID)
        shown = {
            "taskType": task.taskType,
            "taskUUID": job.id,
            "request": [_redacted(job.request or {})],
            "response": self._render(job),
        }
        calls = await self._ports.calls.list(self._caller, job_id=job.id)
        uploads = [_show(call) for call in calls if call.method == "PUT"]
        return Answer(data=[shown | ({"uploads": uploads} if uploads else {})])

    async def _upload_image(self, body: Body) -> Answer:
        task = read_fields(ImageUpload, body.fields)
        upload = await self._keep(body, "image", task.image)
        media_uuid, url = str(UUID(upload.id)), self._ports.uploads.url(upload.id, self._caller)
        named = {"taskType": task.taskType, "taskUUID": task.taskUUID}
        return Answer(data=[named | {"imageUUID": media_uuid, "imageURL": url}])

    async def _store_media(self, body: Body) -> Answer:
        task = read_fields(MediaStorage, body.fields)
        named = {"taskType": task.taskType, "taskUUID": task.taskUUID, "operation": task.operation}
        if task.operation == "delete":
            await self._ports.uploads.delete(task.media.replace("-", "").lower(), self._caller)
            return Answer(data=[named | {"mediaUUID": task.media}])
        upload = await self._keep(body, "media", task.media)
        media_uuid, url = str(UUID(upload.id)), self._ports.uploads.url(upload.id, self._caller)
        return Answer(data=[named | {"mediaUUID": media_uuid, "mediaURL": url}])

    async def _get_account(self, body: Body) -> Answer:
        """Show an account: this server bills nobody, and has neither teams nor keys that could be managed here."""
        task = read_fields(AccountManagement, body.fields)
        requests = await count_jobs(self._ports.jobs, self._caller, since=time.time() - _DAY_S)
        shown = {"taskType": task.taskType, "taskUUID": task.taskUUID, "operation": task.operation}
        usage = {"today": {"credits": 0.0, "requests": requests}}
        return Answer(data=[shown | {"balance": 0.0, "team": [], "apiKeys": [], "usage": usage}])

    async def _search_models(self, body: Body) -> Answer:
        task = read_fields(ModelSearch, body.fields)
        found = [model for model in _MODELS if _matches(model, task)]
        page = found[task.offset : task.offset + task.limit]
        shown = {"taskType": task.taskType, "taskUUID": task.taskUUID}
        return Answer(data=[shown | {"results": page, "totalResults": len(found)}])

    async def _keep(self, body: Body, name: str, media: str) -> Upload:
        await self._ports.callers.admit(self._caller.owner)
        if media.startswith(("http://", "https://")):
            return await self._ports.uploads.fetch(media, self._caller, field=name)
        if not body.parts:
            body.parts[INLINE + name] = Part(field=name, data_uri=f"data:;base64,{media}")
        (upload,) = await self._ports.uploads.save(body, self._caller)
        return upload

    async def _sign_in(self, body: Body) -> Answer:
        task = read_fields(Authentication, body.fields)
        self._ports.callers.sign_in(self._connection, task.apiKey)
        return Answer(data=[show_session(task)])

    async def _pong(self, body: Body) -> Answer:
        return Answer(data=[{"taskType": "ping", "pong": True}])

    async def _find(self, task_uuid: str) -> Job:
        missing = JobNotFound(f"there is no task {task_uuid}, or it has expired", field="taskUUID", value=task_uuid)
        return await find_job(task_uuid, self._ports.jobs, self._caller, missing)

    def _render(self, job: Job) -> dict[str, Any]:
        return self._dialect.render(job, self._ports.files, self._caller)


def _show(call: Call) -> dict[str, Any]:
    return {"url": redact(call.url), "status": call.status, "attempts": len(call.attempts)}


def _matches(model: Mapping[str, Any], task: ModelSearch) -> bool:
    named = f"{model['air']} {model['name']}".lower()
    same = all(
        getattr(task, name) in (None, model[name]) for name in ("category", "type", "architecture", "conditioning")
    )
    return task.search.lower() in named and same and not task.tags and task.visibility != "private"


def show_session(task: Authentication) -> dict[str, Any]:
    """Show a session, its id and no more: what a caller waits for, it finds again by its task's id."""
    return {"taskType": "authentication", "connectionSessionUUID": task.connectionSessionUUID or str(uuid4())}


def describe_error(error: AnimateError) -> dict[str, Any]:
    """Return `code`, `message` and `parameter` of an error. Clients switch on how a code begins and ends."""
    if isinstance(error, NotAuthorized):
        # Without a task's id, and of this type, or sdk-js and the old Python client wait for ever.
        shown = {"code": "invalidApiKey", "message": error.message, "parameter": "apiKey"}
        return shown | {"taskType": "authentication"}
    parameter = _parameter(error.field)
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None:
        code = _code_of(error, parameter) if error.fault == "request" else "internalServerError"
    named = {"parameter": parameter} if parameter else {}
    return {"code": code, "message": error.named(NAMES).message} | named


def describe_failure(job: Job) -> dict[str, Any]:
    """Describe the end of a job without a result."""
    if job.error is None:
        code = "taskCancelled" if job.status is JobStatus.CANCELED else "taskFailedOrNotFound"
        return {"code": code, "message": f"the task is {job.status}"}
    parameter, message = _parameter(job.error.field), job.error.named(NAMES).message
    if job.error.code == ContentRefused.code:
        return {"code": "invalidContent", "message": message, "parameter": parameter}
    code = f"invalid{_last(parameter) or 'Input'}" if job.error.fault == "request" else "inferenceError"
    named = {"parameter": parameter} if parameter else {}
    return {"code": code, "message": message} | named


def _code_of(error: AnimateError, parameter: str) -> str:
    kind = next((word for kind, word in _KINDS if isinstance(error, kind)), "invalid")
    return kind + (_last(parameter) or "Parameter")


def _parameter(path: str | None) -> str:
    """Return the parameter of a field: `inputs.video` of `inputs.video.0`, of `inputs.video[0]` or of our own name."""
    if path == "driving_video":
        return "inputs.referenceVideos"
    return NAMES.get(path or "", re.sub(r"[.\[]\d+\]?", "", path or ""))


def _last(parameter: str) -> str:
    name = parameter.rpartition(".")[2]
    return name[:1].upper() + name[1:]


def _detach_base64(body: Body) -> None:
    """Make bare base64 in `inputs` a part of the body, as a data URI is already."""
    inputs = body.fields.get("inputs")
    if not isinstance(inputs, dict):
        return
    for name, given in list(inputs.items()):
        values = given if isinstance(given, list) else [given]
        for index, value in enumerate(values):
            if isinstance(value, str) and _BASE64.match(value):
                path = f"inputs.{name}[{index}]"
                body.parts[INLINE + path] = Part(field=path, data_uri=f"data:;base64,{value}")
                values[index] = INLINE + path
        inputs[name] = values if isinstance(given, list) else values[0]


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    return redact(value) if isinstance(value, str) and value.startswith(("http://", "https://")) else value
