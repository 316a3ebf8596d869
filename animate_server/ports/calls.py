"""`Calls`: the calls of a caller's webhooks, made and owed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from animate_server.ports.callers import Caller
from animate_server.webhooks import Call, Webhook


class Calls(Protocol):
    async def find(self, job_id: str, caller: Caller) -> Call:
        """Return the call about the end of a job. Raises `JobNotFound`, also for a job without a webhook."""

    async def list(self, caller: Caller, *, dialect: str | None = None, job_id: str | None = None) -> Sequence[Call]:
        """Return the newest hundred calls."""

    async def resend(self, call_id: str, caller: Caller, webhook: Webhook | None = None) -> Call:
        """Call again, now, and elsewhere if `webhook` says so. Raises `JobNotFound`, `JobUnfinished`."""
