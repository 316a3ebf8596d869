"""`Desk`: what the dialects ask for, done with store, uploads, artefacts and gate one. See `dialects.Desk`."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response

from animate_pipelines.errors import AnimateError, InvalidField
from animate_pipelines.media.container import Container
from animate_pipelines.media.stills import STILL_TYPES, StillKind, draw_still
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import AddressPolicy, check_url
from animate_server.artefacts import Artefacts, base_url, respond_file
from animate_server.auth import Keyring
from animate_server.bodies import Body, read_body, read_file, read_tasks
from animate_server.dialects import Caller, Terms
from animate_server.errors import NotAuthorized
from animate_server.fetch import fetch
from animate_server.files import check_free_disk, read_chunks
from animate_server.inputs import ARTEFACT_PATH, UPLOAD_PATH, Gate, fingerprint
from animate_server.jobs import Artefact, Job, JobKind, JobStatus, NewJob
from animate_server.outbox import Outbox
from animate_server.rates import RateLimit
from animate_server.reports import REPORT_TYPES, ReportKind, Reports
from animate_server.settings import MIB, Settings
from animate_server.slots import Slot, Slots, read_secret
from animate_server.store import Store
from animate_server.uploads import Upload, Uploads
from animate_server.webhooks import Call, Webhook
from animate_server.workers import WorkerBoard

WATCH_S = 0.25
UPLOAD_FETCH_S = 60.0  # a caller waits for it
STRANGERS_FORM_BYTES = 32 * MIB  # a form whose key is inside it
STILLS_AT_ONCE = 2  # each decodes a whole video
_CONTAINERS: Mapping[str, Container] = {"video/mp4": "mov", "video/quicktime": "mov", "video/webm": "matroska"}
_KEY_FIELDS = ("apiKey", "apikey")


class JobDesk:
    """`closing` is set when the server is told to stop: it then takes no new jobs and lets go of those who watch."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        uploads: Uploads,
        artefacts: Artefacts,
        reports: Reports,
        board: WorkerBoard,
        outbox: Outbox,
    ) -> None:
        self.store = store
        self.uploads = uploads
        self.artefacts = artefacts
        self.reports = reports
        self.board = board
        self.outbox = outbox
        self.closing = threading.Event()
        self._drawing = threading.Semaphore(STILLS_AT_ONCE)
        self._settings = settings
        self._keyring = Keyring(key.get_secret_value() for key in settings.api_keys)
        self._policy = AddressPolicy.of(settings.fetch_allow, public=settings.fetch_public)
        self._slots = Slots(read_secret(settings.home / "secret"), lifetime_s=settings.upload_retention_s)
        self._rate = RateLimit(settings.max_requests_per_minute)
        self._gate = Gate(
            uploads,
            self._policy,
            board.bundle,
            self._generated,
            full_steps=settings.when_no_turbo_lora == "full_steps",
            refuse_unchecked=settings.when_no_safety_checker == "refuse",
        )

    @property
    def max_running(self) -> int | None:
        return self._settings.max_running_per_key

    def caller(self, request: Request) -> Caller:
        return Caller(owner=self._keyring.owner(request.headers), base_url=base_url(request, self._settings.public_url))

    async def read(self, request: Request, caller: Caller, *, admit: bool = True) -> Body:
        if not admit:
            return await read_body(request, max_json_bytes=MIB, max_form_bytes=MIB)
        await run_in_threadpool(self._admit, caller.owner)
        both_files = 2 * self._settings.max_file_bytes + MIB
        return await read_body(request, max_json_bytes=self._settings.max_json_bytes, max_form_bytes=both_files)

    async def read_with_key(self, request: Request, *, admit: bool = True) -> tuple[Body, Caller]:
        try:
            caller = self.caller(request)
            body = await self.read(request, caller, admit=admit)
            for name in _KEY_FIELDS:
                body.fields.pop(name, None)
            return body, caller
        except NotAuthorized as refused:
            return await self._read_stranger(request, refused, admit=admit)

    async def _read_stranger(self, request: Request, refused: NotAuthorized, *, admit: bool) -> tuple[Body, Caller]:
        body = await read_body(request, max_json_bytes=MIB, max_form_bytes=STRANGERS_FORM_BYTES)
        try:
            keys = [key for key in (body.fields.pop(name, None) for name in _KEY_FIELDS) if isinstance(key, str)]
            if not keys:
                raise refused
            owner = self._keyring.owner({"x-api-key": keys[0]})
            if admit:
                await run_in_threadpool(self._admit, owner)
        except BaseException:
            with body:
                raise
        return body, Caller(owner=owner, base_url=base_url(request, self._settings.public_url))

    def sign_in(self, connection: HTTPConnection, key: str) -> Caller:
        return Caller(owner=self._keyring.owner_of(key), base_url=base_url(connection, self._settings.public_url))

    async def admit(self, caller: Caller) -> None:
        await run_in_threadpool(self._admit, caller.owner)

    async def read_tasks(self, request: Request) -> tuple[Sequence[Body], Caller]:
        callers: list[Caller] = []

        def on_first(task: dict[str, Any]) -> None:
            key = task.get("apiKey") if task.get("taskType") == "authentication" else None
            callers.append(self.sign_in(request, key) if isinstance(key, str) else self.caller(request))

        bodies = await read_tasks(request, max_bytes=self._settings.max_json_bytes, on_first=on_first)
        return bodies, callers[0]

    async def read_file(self, request: Request, name: str, caller: Caller) -> Body:
        await run_in_threadpool(self._admit, caller.owner)
        return await read_file(request, name=name, max_bytes=self._settings.max_file_bytes + MIB)

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
        wanted = terms or Terms()
        return await run_in_threadpool(
            self._submit, params, body, caller, dialect, kind, idempotency_key, webhooks, wanted
        )

    async def get(self, job_id: str, caller: Caller) -> Job:
        return await run_in_threadpool(self.store.get, job_id, caller.owner)

    async def list(
        self,
        caller: Caller,
        *,
        limit: int,
        after: str | None = None,
        status: JobStatus | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Job]:
        def read() -> Sequence[Job]:
            return self.store.list(caller.owner, limit=limit, after=after, status=status, oldest_first=oldest_first)

        return await run_in_threadpool(read)

    async def watch(self, job_id: str, caller: Caller, *, beat_s: float) -> AsyncIterator[Job]:
        shown: Job | None = None
        shown_at = 0.0
        while True:
            job = await self.get(job_id, caller)
            if job != shown or time.monotonic() - shown_at >= beat_s:
                shown, shown_at = job, time.monotonic()
                yield job
            if job.status.is_final or self.closing.is_set():
                return
            await asyncio.sleep(WATCH_S)

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        return await run_in_threadpool(self.store.request_cancel, job_id, caller.owner)

    async def remove(self, job_id: str, caller: Caller) -> None:
        await run_in_threadpool(self._remove, job_id, caller)

    async def discard(self, job_id: str, caller: Caller) -> None:
        job = await self.cancel(job_id, caller)
        if job.status.is_final:
            await self.remove(job_id, caller)

    async def queue_position(self, job: Job) -> int:
        return await run_in_threadpool(self.store.queue_position, job.id)

    async def find_call(self, job_id: str, caller: Caller) -> Call:
        return await run_in_threadpool(self.outbox.of_job, job_id, caller.owner)

    async def list_calls(
        self, caller: Caller, *, dialect: str | None = None, job_id: str | None = None
    ) -> Sequence[Call]:
        def read() -> Sequence[Call]:
            return self.outbox.list(caller.owner, dialect=dialect, job_id=job_id)

        return await run_in_threadpool(read)

    async def resend(self, call_id: str, caller: Caller, webhook: Webhook | None = None) -> Call:
        if webhook is not None:
            self._check_webhook(webhook)
        url = None if webhook is None else webhook.url
        return await run_in_threadpool(self.outbox.resend, call_id, caller.owner, url)

    async def upload(self, body: Body, caller: Caller) -> Sequence[Upload]:
        return await run_in_threadpool(self._upload, body, caller)

    async def upload_from(self, url: str, caller: Caller, *, field: str) -> Upload:
        return await run_in_threadpool(self._upload_from, url, caller, field)

    def open_slot(self, caller: Caller) -> Slot:
        return self._slots.open(caller.owner)

    async def fill_slot(self, request: Request, token: str, name: str) -> Upload:
        slot = self._slots.redeem(token)
        await run_in_threadpool(self._admit, slot.owner)
        limit_bytes = self._settings.max_file_bytes + MIB
        with await read_file(request, name=name, max_bytes=limit_bytes, more_fields=True) as body:
            (part,) = body.parts.values()

            def save() -> Upload:
                return self.uploads.save(part.chunks(), slot.owner, field=name, upload_id=slot.upload_id)

            return await run_in_threadpool(save)

    async def drop_upload(self, upload_id: str, caller: Caller) -> None:
        await run_in_threadpool(self.uploads.expire, upload_id, caller.owner)

    def upload_url(self, upload_id: str, caller: Caller) -> str:
        return f"{caller.base_url}{UPLOAD_PATH}{upload_id}"

    def artefact_url(self, artefact: Artefact, caller: Caller, *, dialect: str) -> str:
        base = self._settings.files_urls.get(dialect, caller.base_url)
        return f"{base}{ARTEFACT_PATH}{artefact.name}"

    def artefact_response(self, artefact: Artefact, headers: Mapping[str, str]) -> FileResponse:
        return respond_file(self.artefacts.path(artefact), artefact.media_type, dict(headers))

    async def still(self, artefact: Artefact, kind: StillKind, *, num_frames: int) -> Response:
        def draw() -> bytes:
            path, container = self.artefacts.path(artefact), _CONTAINERS[artefact.media_type]
            with self._drawing:
                return draw_still(path, kind, container=container, num_frames=num_frames)

        return Response(await run_in_threadpool(draw), media_type=STILL_TYPES[kind])

    async def report(self, job_id: str, kind: ReportKind, caller: Caller) -> FileResponse:
        job = await self.get(job_id, caller)
        return respond_file(self.reports.path(job.id, kind), REPORT_TYPES[kind])

    def find_file(self, name: str) -> tuple[Path, str]:
        """Path and media type of the artefact of this name. Raises `JobNotFound`."""
        artefact = self.store.find_artefact(name)
        return self.artefacts.path(artefact), artefact.media_type

    def find_upload(self, upload_id: str) -> tuple[Path, str]:
        """Path and media type of the upload of this id. Raises `JobNotFound`."""
        upload = self.uploads.get(upload_id)
        return self.uploads.path(upload.id), upload.media_type

    def _admit(self, owner: str) -> None:
        self._rate.take(owner)
        check_free_disk(self._settings.home, self._settings.min_free_disk)

    def _submit(
        self,
        params: RenderParams,
        body: Body,
        caller: Caller,
        dialect: str,
        kind: JobKind,
        idempotency_key: str | None,
        webhooks: Sequence[Webhook],
        terms: Terms,
    ) -> Job:
        for webhook in webhooks:
            self._check_webhook(webhook)
        self._check_retention(terms.retention_s)
        if terms.longest_s is not None and self._settings.hosted_limits == "keep":
            params = dataclasses.replace(params, longest_s=terms.longest_s)
        print_of = fingerprint(dialect, body.fields, body.parts) if idempotency_key else ""
        accepted = self._gate.accept(params, body.parts, caller.owner, caller.base_url)
        new = NewJob(
            id=terms.job_id or str(uuid.uuid4()),
            owner=caller.owner,
            dialect=dialect,
            kind=kind,
            params=accepted.params,
            idempotency_key=idempotency_key,
            fingerprint=print_of,
            request=body.fields,
            retention_s=terms.retention_s,
            uploads=accepted.uploads,
            webhooks=tuple(webhooks),
            base_url=caller.base_url,
        )
        try:
            job = self.store.add(new)
        except BaseException:
            self._gate.discard(accepted)
            raise
        if job.id != new.id:
            self._gate.discard(accepted)
        return job

    def _check_webhook(self, webhook: Webhook) -> None:
        try:
            check_url(webhook.url, self._policy)
        except AnimateError as error:
            raise InvalidField(f"{{field}}: {error.message}", field=webhook.field, value=error.value) from None

    def _check_retention(self, retention_s: float | None) -> None:
        kept_s = self._settings.job_retention_s
        if retention_s is not None and retention_s > kept_s:
            raise InvalidField(
                f"a result is kept for {kept_s:g} s at most", field="retention_s", value=retention_s, limit=kept_s
            )

    def _generated(self, name: str, owner: str) -> Path:
        return self.artefacts.path(self.store.find_generated(name, owner))

    def _upload_from(self, url: str, caller: Caller, field: str) -> Upload:
        limit_bytes = self._settings.max_file_bytes
        with tempfile.TemporaryDirectory(dir=self._settings.work_dir) as folder:
            file = Path(folder, "fetched")
            fetch(url, file, field=field, limit_bytes=limit_bytes, timeout_s=UPLOAD_FETCH_S, policy=self._policy)
            return self.uploads.save(read_chunks(file), caller.owner, field=field)

    def _remove(self, job_id: str, caller: Caller) -> None:
        job = self.store.remove(job_id, caller.owner)
        self.artefacts.remove(job.artefacts)
        self.reports.remove(job.id)
        self.uploads.sweep()

    def _upload(self, body: Body, caller: Caller) -> Sequence[Upload]:
        saved: list[Upload] = []
        try:
            for part in body.parts.values():
                saved.append(self.uploads.save(part.chunks(), caller.owner, field=part.field))
        except BaseException:
            for upload in saved:
                self.uploads.remove(upload.id)
            raise
        return saved
