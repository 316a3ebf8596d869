"""A job's row: read as a `Job`, and changed only while nobody else has moved it on since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, select, update

from animate_pipelines.errors import ServerError
from animate_pipelines.request.params import RenderParams
from animate_server.errors import JobNotFound, LeaseLost
from animate_server.jobs import TRANSITIONS, Artefact, Failure, Job, JobStatus
from animate_server.tables import jobs


def find_row(connection: Connection, job_id: str, owner: str | None) -> Row[Any]:
    """Return the job's row. Raises `JobNotFound`, also when it belongs to another than `owner`."""
    query = select(jobs).where(jobs.c.id == job_id)
    if owner is not None:
        query = query.where(jobs.c.owner == owner)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise JobNotFound(f"job {job_id} not found", field="id", value=job_id)
    return row


def unchanged(job: Job) -> ColumnElement[bool]:
    """Match the job's row while nobody has moved it on since `job` was read."""
    return and_(jobs.c.id == job.id, jobs.c.status == job.status, jobs.c.token == job.token)


def read_held(connection: Connection, job: Job) -> Job:
    """Return the job as it is now, still running under the token of `job`. Raises `LeaseLost`."""
    row = connection.execute(select(jobs).where(unchanged(job))).one_or_none()
    if row is None:
        raise _lost_lease(job)
    return read_job(row)


def move_job(connection: Connection, job: Job, status: JobStatus, values: Mapping[str, Any]) -> Job:
    """Change a job's status. Raises `LeaseLost`, and `ServerError` for a change that there is not."""
    if status not in TRANSITIONS[job.status]:
        raise ServerError(f"job {job.id} cannot go from {job.status} to {status}")
    return update_job(connection, job, {"status": status, **values})


def update_job(connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
    """Change a job's columns. Raises `LeaseLost` where its status or token has changed since `job` was read."""
    statement = update(jobs).where(unchanged(job)).values(dict(values)).returning(jobs)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise _lost_lease(job)
    return read_job(row)


def _lost_lease(job: Job) -> LeaseLost:
    return LeaseLost(f"job {job.id} is no longer held under token {job.token}")


def requeue_job(connection: Connection, job: Job, *, attempts: int) -> Job:
    """Give a running job back to the queue. Raises `LeaseLost`."""
    freed = {"worker": None, "lease_expires_at": None, "attempts": attempts}
    return move_job(connection, job, JobStatus.QUEUED, freed)


def read_job(row: Row[Any]) -> Job:
    """Return the job of a row."""
    return Job(
        id=row.id,
        owner=row.owner,
        dialect=row.dialect,
        kind=row.kind,
        status=JobStatus(row.status),
        params=RenderParams.from_json(row.params),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        expires_at=row.expires_at,
        attempts=row.attempts,
        token=row.token,
        worker=row.worker,
        cancel_requested=row.cancel_requested,
        progress=row.progress,
        result=row.result,
        error=_read_failure(row.error) if row.error else None,
        artefacts=tuple(Artefact(**artefact) for artefact in row.artefacts),
        request=row.request,
        retention_s=row.retention_s,
    )


def _read_failure(stored: dict[str, Any]) -> Failure:
    """Read a failure; former versions stored a message, which says its field in our words."""
    template = stored.get("template", stored.get("message"))
    return Failure(**{name: value for name, value in stored.items() if name != "message"} | {"template": template})
