"""`StoredJobs`: jobs in the store, their inputs checked at gate one."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from starlette.concurrency import run_in_threadpool

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import AddressPolicy
from animate_server.backend import Backend
from animate_server.bodies import Body
from animate_server.inputs import Gate, fingerprint
from animate_server.jobs import Job, JobStatus, NewJob
from animate_server.ports.callers import Caller
from animate_server.ports.jobs import NO_OPTIONS, JobOptions
from animate_server.webhooks import check_webhook

WATCH_S = 0.25


class StoredJobs:
    """Implements `ports.jobs.Jobs`. closing: set when the server is told to stop."""

    def __init__(self, backend: Backend, policy: AddressPolicy, closing: threading.Event) -> None:
        self._backend = backend
        self._settings = backend.settings
        self._store = backend.store
        self._policy = policy
        self._closing = closing
        self._gate = Gate(backend, policy)

    @property
    def max_running(self) -> int | None:
        return self._settings.max_running_per_key

    async def submit(
        self, params: RenderParams, body: Body, caller: Caller, *, dialect: str, options: JobOptions = NO_OPTIONS
    ) -> Job:
        return await run_in_threadpool(self._submit, params, body, caller, dialect, options)

    async def get(self, job_id: str, caller: Caller) -> Job:
        return await run_in_threadpool(self._store.get, job_id, caller.owner)

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
            return self._store.list(caller.owner, limit=limit, after=after, status=status, oldest_first=oldest_first)

        return await run_in_threadpool(read)

    async def watch(self, job_id: str, caller: Caller, *, beat_s: float) -> AsyncIterator[Job]:
        last: Job | None = None
        last_at = 0.0
        while True:
            job = await self.get(job_id, caller)
            if job != last or time.monotonic() - last_at >= beat_s:
                last, last_at = job, time.monotonic()
                yield job
            if job.status.is_final or self._closing.is_set():
                return
            await asyncio.sleep(WATCH_S)

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        return await run_in_threadpool(self._store.request_cancel, job_id, caller.owner)

    async def remove(self, job_id: str, caller: Caller) -> None:
        await run_in_threadpool(self._remove, job_id, caller)

    async def discard(self, job_id: str, caller: Caller) -> None:
        job = await self.cancel(job_id, caller)
        if job.status.is_final:
            await self.remove(job_id, caller)

    async def queue_position(self, job: Job) -> int:
        return await run_in_threadpool(self._store.queue_position, job.id)

    def _submit(self, params: RenderParams, body: Body, caller: Caller, dialect: str, options: JobOptions) -> Job:
        for webhook in options.webhooks:
            check_webhook(webhook, self._policy)
        self._check_retention(options.retention_s)
        if options.hosted and self._settings.hosted_limits == "lift":
            params = dataclasses.replace(params, longest_s=None, shortest_s=None, largest_bytes=None)
        print_of = fingerprint(dialect, body.fields, body.parts) if options.idempotency_key else ""
        inputs = self._gate.accept(params, body.parts, caller.owner, caller.base_url)
        new = NewJob(
            id=options.job_id or str(uuid.uuid4()),
            owner=caller.owner,
            dialect=dialect,
            kind=options.kind,
            params=inputs.params,
            idempotency_key=options.idempotency_key,
            fingerprint=print_of,
            request=body.fields,
            retention_s=options.retention_s,
            uploads=inputs.uploads,
            webhooks=options.webhooks,
            base_url=caller.base_url,
        )
        try:
            job = self._store.add(new)
        except BaseException:
            self._gate.discard(inputs)
            raise
        if job.id != new.id:
            self._gate.discard(inputs)
        return job

    def _check_retention(self, retention_s: float | None) -> None:
        kept_s = self._settings.job_retention_s
        if retention_s is not None and retention_s > kept_s:
            message = f"a result is kept for {kept_s:g} s at most"
            raise InvalidField(message, field="retention_s", value=retention_s, limit=kept_s)

    def _remove(self, job_id: str, caller: Caller) -> None:
        job = self._store.remove(job_id, caller.owner)
        self._backend.artefacts.remove(job.artefacts)
        self._backend.reports.remove(job.id)
        self._backend.uploads.sweep()
