"""`Outbox`: the calls that webhooks are owed. `Store` adds and arms them in the transactions that change the job."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, insert, select, update

from animate_server.database import writing
from animate_server.deliver import PUT_TIMEOUT_S
from animate_server.errors import JobNotFound, JobUnfinished
from animate_server.files import unguessable
from animate_server.jobs import NewJob
from animate_server.tables import webhooks
from animate_server.webhooks import Attempt, Call, CallStatus, Method, Webhook

# Longer than one attempt can take.
HOLD_S: Mapping[Method, float] = {"POST": 60.0, "PUT": 2 * PUT_TIMEOUT_S}


class Outbox:
    """Calls are made at least once: one whose sender died is taken up by the next after `HOLD_S`."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self.clock = clock

    def take_due(self, method: Method = "POST") -> Call | None:
        """Return the call by that method that is due longest; nobody else is given it for `HOLD_S`."""
        is_due = (webhooks.c.due_at <= self.clock()) & (webhooks.c.method == method)
        due = select(webhooks).where(is_due).order_by(webhooks.c.due_at).limit(1)
        with self._engine.begin() as connection:
            if connection.execute(due).one_or_none() is None:
                return None  # the common case takes no write lock
        with self._writer.begin() as connection:
            row = connection.execute(due).one_or_none()
            return None if row is None else self._update(connection, row.id, {"due_at": self.clock() + HOLD_S[method]})

    def note(self, call: Call, body: str | None, attempt: Attempt, again_at: float | None) -> None:
        """Log an attempt, if the job is still there.

        body: what was sent, None of a file.
        again_at: when the next attempt is due; None when none will be.
        """
        ended = CallStatus.DELIVERED if attempt.delivered else CallStatus.FAILED
        values = {
            "body": body,
            "tries": call.tries + 1,
            "attempts": [asdict(made) for made in (*call.attempts, attempt)],
            "due_at": again_at,
            "status": ended if again_at is None else CallStatus.PENDING,
        }
        changed = update(webhooks).where(webhooks.c.id == call.id).values(values | {"updated_at": self.clock()})
        with self._writer.begin() as connection:
            connection.execute(changed)

    def drop(self, call: Call) -> None:
        """Delete a call that the service does not make at such an end."""
        with self._writer.begin() as connection:
            connection.execute(delete(webhooks).where(webhooks.c.id == call.id))

    def of_job(self, job_id: str, owner: str) -> Call:
        """Return the call about a job's end. Raises `JobNotFound`, also for a job without a webhook."""
        for call in self.list(owner, job_id=job_id):
            if call.method == "POST":
                return call
        raise JobNotFound(f"job {job_id} has no webhook", field="id", value=job_id)

    def list(self, owner: str, *, job_id: str | None = None, dialect: str | None = None) -> Sequence[Call]:
        """Return the newest hundred calls of `owner`."""
        query = select(webhooks).where(webhooks.c.owner == owner).order_by(webhooks.c.seq.desc()).limit(100)
        if job_id is not None:
            query = query.where(webhooks.c.job_id == job_id)
        if dialect is not None:
            query = query.where(webhooks.c.dialect == dialect)
        with self._engine.begin() as connection:
            return [_call(row) for row in connection.execute(query)]

    def resend(self, call_id: str, owner: str, url: str | None = None) -> Call:
        """Make a call due now, with all its attempts before it.

        Raises `JobNotFound`; `JobUnfinished` before the job has ended.
        """
        with self._writer.begin() as connection:
            mine = (webhooks.c.id == call_id) & (webhooks.c.owner == owner)
            row = connection.execute(select(webhooks).where(mine)).one_or_none()
            if row is None:
                raise JobNotFound(f"there is no webhook call {call_id[:64]!r}", field="webhook", value=call_id[:64])
            if row.status == CallStatus.WAITING:
                raise JobUnfinished(f"job {row.job_id} has not ended; nothing was sent yet", field="status")
            due = {"status": CallStatus.PENDING, "due_at": self.clock(), "tries": 0, "url": url or row.url}
            return self._update(connection, call_id, due)

    def _update(self, connection: Connection, call_id: str, values: Mapping[str, Any]) -> Call:
        changed = dict(values) | {"updated_at": self.clock()}
        statement = update(webhooks).where(webhooks.c.id == call_id).values(changed).returning(webhooks)
        return _call(connection.execute(statement).one())


def add_calls(connection: Connection, new: NewJob, now: float) -> None:
    """Add the calls that are owed once the job has ended."""
    for webhook in new.webhooks:
        connection.execute(insert(webhooks).values(_owed(webhook, new, now)))


def _owed(webhook: Webhook, new: NewJob, now: float) -> dict[str, Any]:
    return {
        "id": "msg_" + unguessable(),
        "job_id": new.id,
        "owner": new.owner,
        "dialect": new.dialect,
        "method": webhook.method,
        "url": webhook.url,
        "secret": webhook.secret,
        "base_url": new.base_url,
        "status": CallStatus.WAITING,
        "tries": 0,
        "attempts": [],
        "created_at": now,
        "updated_at": now,
    }


def arm_calls(connection: Connection, job_id: str, now: float) -> None:
    """Make the calls due of a job that has ended."""
    owed = (webhooks.c.job_id == job_id) & (webhooks.c.status == CallStatus.WAITING)
    connection.execute(update(webhooks).where(owed).values(status=CallStatus.PENDING, due_at=now, updated_at=now))


def _call(row: Row[Any]) -> Call:
    return Call(
        id=row.id,
        job_id=row.job_id,
        owner=row.owner,
        dialect=row.dialect,
        method=row.method,
        url=row.url,
        secret=row.secret,
        base_url=row.base_url,
        status=CallStatus(row.status),
        body=row.body,
        tries=row.tries,
        attempts=tuple(Attempt(**attempt) for attempt in row.attempts),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
