"""`OutboxCalls`: the outbox, as callers may see and move it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from animate_server.addresses import AddressPolicy
from animate_server.outbox import Outbox
from animate_server.ports.callers import Caller
from animate_server.webhooks import Call, Webhook, check_webhook


class OutboxCalls:
    """Implements `ports.calls.Calls`."""

    def __init__(self, outbox: Outbox, policy: AddressPolicy) -> None:
        self._outbox = outbox
        self._policy = policy

    async def find(self, job_id: str, caller: Caller) -> Call:
        return await run_in_threadpool(self._outbox.of_job, job_id, caller.owner)

    async def list(self, caller: Caller, *, dialect: str | None = None, job_id: str | None = None) -> Sequence[Call]:
        def read() -> Sequence[Call]:
            return self._outbox.list(caller.owner, dialect=dialect, job_id=job_id)

        return await run_in_threadpool(read)

    async def resend(self, call_id: str, caller: Caller, webhook: Webhook | None = None) -> Call:
        if webhook is not None:
            check_webhook(webhook, self._policy)
        url = None if webhook is None else webhook.url
        return await run_in_threadpool(self._outbox.resend, call_id, caller.owner, url)
