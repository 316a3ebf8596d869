"""`Dialect`: one hosted service's HTTP interface, translated to and from our jobs. One module each.

A dialect is routes and translation. Whatever they need done, they ask of the `Desk`; they know neither the store nor
the worker nor each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from animate_pipelines.errors import AnimateError, InvalidField, ServerError
from animate_pipelines.media.stills import StillKind
from animate_pipelines.request.params import RenderParams
from animate_server.bodies import Body
from animate_server.errors import JobNotFound
from animate_server.jobs import Artefact, Failure, Job, JobKind, JobStatus
from animate_server.webhooks import Call, Webhook

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """owner: a hash of the caller's key. base_url: scheme and host by which the caller reaches us, no slash."""

    owner: str
    base_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a service has to say of a job beside the render.

    job_id: as the caller chose it, or as the service spells ids; None: a UUID. retention_s: how long it is kept once
        ended; None: as long as any. longest_s: the service's own limit on the driving video, which a server may lift.
    """

    job_id: str | None = None
    retention_s: float | None = None
    longest_s: float | None = None


class Slot(Protocol):
    """Permission to hand over one file, see `Desk.open_slot`. expires_at: seconds since the epoch."""

    @property
    def upload_id(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def expires_at(self) -> float: ...


class StoredUpload(Protocol):
    """What a dialect may tell of an upload."""

    @property
    def id(self) -> str: ...
    @property
    def media_type(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def expires_at(self) -> float: ...


class Desk(Protocol):
    """What the server does for a dialect. Jobs and uploads of other owners do not exist for a caller."""

    @property
    def max_running(self) -> int | None:
        """How many jobs of one caller run at a time; None: as many as there are workers."""

    def caller(self, request: Request) -> Caller:
        """Raises `NotAuthorized`."""

    def sign_in(self, connection: HTTPConnection, key: str) -> Caller:
        """The caller with that key, which came otherwise than in a header. Raises `NotAuthorized`."""

    async def admit(self, caller: Caller) -> None:
        """Before what costs something. Raises `TooManyRequests`, `DiskFull`."""

    async def read(self, request: Request, caller: Caller, *, admit: bool = True) -> Body:
        """A JSON or form body under the limits. Raises `BodyInvalid`, `BodyTooLarge`.

        admit: before anything is read, `TooManyRequests` and `DiskFull`; without it a small body, of a caller who only
        asks how things are.
        """

    async def read_with_key(self, request: Request, *, admit: bool = True) -> tuple[Body, Caller]:
        """Like `caller` and `read` for services whose clients put the key into the body, as `apiKey` or `apikey`.

        A stranger's body is read under small limits. The key is not among the fields.
        """

    async def read_tasks(self, request: Request) -> tuple[Sequence[Body], Caller]:
        """An array of tasks, each with its own data. The key is in a header, or in the first task as its `apiKey`.

        Raises `NotAuthorized`, `BodyInvalid`, `BodyTooLarge`. Nothing is admitted yet, see `admit`.
        """

    async def read_file(self, request: Request, name: str, caller: Caller) -> Body:
        """A body that is one file, raw or as the form field `name`. Raises like `read`."""

    async def submit(
        self,
        params: RenderParams,
        body: Body,
        caller: Caller,
        *,
        dialect: str,
        kind: JobKind = "render",
        idempotency_key: str | None = None,
        webhooks: Sequence[Webhook] = (),
        terms: Terms | None = None,
    ) -> Job:
        """A stored job. Raises what gate one finds wrong, `IdTaken`, `KeyReused` and `QueueFull`."""

    async def get(self, job_id: str, caller: Caller) -> Job:
        """Raises `JobNotFound`."""

    async def list(
        self,
        caller: Caller,
        *,
        limit: int,
        after: str | None = None,
        status: JobStatus | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Job]:
        """Newest first unless told otherwise. Raises `JobNotFound` for `after`."""

    def watch(self, job_id: str, caller: Caller, *, beat_s: float) -> AsyncIterator[Job]:
        """The job now, after each change, and every `beat_s` without one, until it is final (or the server stops)."""

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        """Canceled if it was queued; soon to be, if it is running; as it was, if it is final."""

    async def remove(self, job_id: str, caller: Caller) -> None:
        """Delete a final job with its files."""

    async def discard(self, job_id: str, caller: Caller) -> None:
        """Delete a job with its files; a running one is stopped and goes when its time is over."""

    async def queue_position(self, job: Job) -> int:
        """How many jobs a queued one waits for, whoever's they are."""

    async def find_call(self, job_id: str, caller: Caller) -> Call:
        """What became of the job's webhook. Raises `JobNotFound`, also for a job without one."""

    async def list_calls(
        self, caller: Caller, *, dialect: str | None = None, job_id: str | None = None
    ) -> Sequence[Call]:
        """The newest hundred."""

    async def resend(self, call_id: str, caller: Caller, webhook: Webhook | None = None) -> Call:
        """Call again, now, and elsewhere if `webhook` says so. Raises `JobNotFound`, `JobUnfinished`."""

    async def upload(self, body: Body, caller: Caller) -> Sequence[StoredUpload]:
        """Store every part of `body`."""

    async def upload_from(self, url: str, caller: Caller, *, field: str) -> StoredUpload:
        """Store what the URL answers within a minute. Raises `FetchError`, `MediaError`, naming `field`."""

    def open_slot(self, caller: Caller) -> Slot:
        """Permission for one file, to be sent with `fill_slot`; it will be the upload `slot.upload_id`."""

    async def fill_slot(self, request: Request, token: str, name: str) -> StoredUpload:
        """Store the body of `request`, raw or the form's file `name`. The token is all the permission it needs.

        Raises `JobNotFound` for a token that is none, `InvalidField` when it was used before, and like `read_file`.
        """

    async def drop_upload(self, upload_id: str, caller: Caller) -> None:
        """Delete an upload, as soon as no unfinished job reads it. Raises `JobNotFound`."""

    def upload_url(self, upload_id: str, caller: Caller) -> str:
        """Where the upload can be read, and by which it can be named in a job."""

    def artefact_url(self, artefact: Artefact, caller: Caller, *, dialect: str) -> str:
        """Where the file can be read, without credentials; dialects may have hosts of their own for it."""

    async def report(
        self, job_id: str, kind: Literal["report.json", "timeline.png", "masks.png"], caller: Caller
    ) -> Response:
        """What was seen in the driving video, as JSON or as a picture. Raises `JobNotFound`, also for none."""

    def artefact_response(self, artefact: Artefact, headers: Mapping[str, str]) -> Response:
        """The file itself."""

    async def still(self, artefact: Artefact, kind: StillKind, *, num_frames: int) -> Response:
        """A picture of a video that has so many frames. Raises `JobNotFound`, `ServerError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """How a service calls back.

    find: the caller's wishes in the fields of a request that `parse` found good. render: the body, as JSON values, of
    the POST about an ended job; None when the service does not call at such an end. headers: beside the content type,
    for a call with that body at that time. pauses_s: between one attempt and the next; as many retries as pauses.
    """

    find: Callable[[Mapping[str, Any]], Sequence[Webhook]]
    render: Callable[[Job, Desk, Caller], Any]
    headers: Callable[[Call, str, float], dict[str, str]] = lambda call, body, now: {}
    pauses_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """parse: request fields to params, no I/O, raising `InvalidField`. render: a job as this service shows it.

    render_error: any error as this service would have said it; error_view: the shape of that.
    names: how a request with these fields calls those of `RenderParams` and `Terms`, where it calls them otherwise.
    prefix: all routes of `router` begin with it.
    schemas: the models of a job's request, by what a caller calls them; `docs/dialects.md` is written from them.
    ignored: their fields that are taken and change nothing, each with the reason; all others count or are refused.
    webhooks: how it calls back; None when it calls nobody.
    """

    name: str
    prefix: str
    router: APIRouter
    parse: Callable[[Mapping[str, Any]], RenderParams]
    render: Callable[[Job, Desk, Caller], dict[str, Any]]
    render_error: Callable[[AnimateError], Response]
    error_view: type[BaseModel]
    schemas: Mapping[str, type[BaseModel]]
    ignored: Mapping[str, str]
    names: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda fields: {}
    webhooks: WebhookRules | None = None


def find_dialect(path: str, dialects: Sequence[Dialect]) -> Dialect:
    """The one that answers for a path: of those with the longest prefix first, or the last for everybody's."""
    mine = (dialect for dialect in dialects if f"{path}/".startswith(f"{dialect.prefix}/"))
    return next(mine, dialects[-1])


async def submit_body(
    request: Request,
    desk: Desk,
    caller: Caller,
    dialect: Dialect,
    from_path: Mapping[str, Any] = MappingProxyType({}),
    terms: Terms | None = None,
) -> Job:
    """Read, translate, store. An upload that is not there is a bad field (`InvalidField`), not an unknown path.

    from_path: fields that the URL holds, beside those of the body.
    """
    with await desk.read(request, caller) as body:
        for name in from_path.keys() & body.fields.keys():
            raise InvalidField(f"{name}: extra inputs are not permitted", field=name)
        return await submit_fields(desk, caller, dialect, body, body.fields | dict(from_path), terms)


async def submit_fields(
    desk: Desk, caller: Caller, dialect: Dialect, body: Body, fields: Mapping[str, Any], terms: Terms | None = None
) -> Job:
    """Translate and store, for fields that are not exactly those of `body`. Raises like `submit_body`."""
    names = dialect.names(fields)
    try:
        params = dialect.parse(fields)
        webhooks = dialect.webhooks.find(fields) if dialect.webhooks else ()
        return await desk.submit(params, body, caller, dialect=dialect.name, webhooks=webhooks, terms=terms)
    except JobNotFound as missing:
        raise InvalidField(missing.template, field=missing.field, value=missing.value).named(names) from None
    except AnimateError as error:
        raise error.named(names) from None


def failure_of(job: Job, dialect: Dialect) -> Failure | None:
    """Return why a job failed, in the words of a dialect; None where it did not."""
    return None if job.error is None else job.error.named(dialect.names(job.request or {}))


def _has_not_expired(job: Job) -> bool:
    return job.status is not JobStatus.EXPIRED


async def find_job(
    job_id: str, desk: Desk, caller: Caller, missing: JobNotFound, exists: Callable[[Job], bool] = _has_not_expired
) -> Job:
    """The caller's job of that id. Raises `missing`, which is in the service's words.

    exists: whether the service would still know such a job.
    """
    try:
        job = await desk.get(job_id, caller)
    except JobNotFound:
        raise missing from None
    if not exists(job):
        raise missing
    return job


async def count_jobs(desk: Desk, caller: Caller, *, since: float) -> int:
    """How many jobs of the caller were created since that time, in seconds since the epoch."""
    count, after = 0, None
    while page := await desk.list(caller, limit=_PAGE, after=after):
        recent = [job for job in page if job.created_at >= since]
        count += len(recent)
        if len(recent) < _PAGE:
            break
        after = page[-1].id
    return count


async def follow_to_end(request: Request, desk: Desk, caller: Caller, submitted: Job) -> Job:
    """The final job. A caller who hangs up has it canceled: nobody else knows its id.

    Raises `ServerError` when the server stops before.
    """
    job = submitted
    async for job in desk.watch(submitted.id, caller, beat_s=1.0):
        if not job.status.is_final and await request.is_disconnected():
            await desk.cancel(job.id, caller)
    if not job.status.is_final:
        raise ServerError(f"the server is stopping; look for the result under {job.id}")
    return job


def _desk(connection: HTTPConnection) -> Desk:
    return cast(Desk, connection.app.state.desk)


def _caller(request: Request) -> Caller:
    return _desk(request).caller(request)


DeskDep = Annotated[Desk, Depends(_desk)]
CallerDep = Annotated[Caller, Depends(_caller)]
