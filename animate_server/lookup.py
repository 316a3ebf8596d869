"""Looking jobs up for a dialect: one, all of a caller's, one until its end, and what a service shows of each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from starlette.requests import Request

from animate_pipelines.errors import ServerError
from animate_server.dialect import Dialect
from animate_server.errors import JobNotFound
from animate_server.jobs import Failure, Job, JobStatus
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.ports.jobs import Jobs

_PAGE = 200


def _has_not_expired(job: Job) -> bool:
    return job.status is not JobStatus.EXPIRED


async def find_job(
    job_id: str, jobs: Jobs, caller: Caller, missing: JobNotFound, exists: Callable[[Job], bool] = _has_not_expired
) -> Job:
    """Return the caller's job of that id. Raises `missing`, which is in the service's words.

    exists: whether the service would still know such a job.
    """
    try:
        job = await jobs.get(job_id, caller)
    except JobNotFound:
        raise missing from None
    if not exists(job):
        raise missing
    return job


async def iterate_jobs(
    jobs: Jobs, caller: Caller, *, after: str | None = None, oldest_first: bool = False
) -> AsyncIterator[Job]:
    """Yield the caller's jobs, a page at a time, newest first unless told otherwise. Raises as `Jobs.list`."""
    while page := await jobs.list(caller, limit=_PAGE, after=after, oldest_first=oldest_first):
        for job in page:
            yield job
        if len(page) < _PAGE:
            return
        after = page[-1].id


async def count_jobs(jobs: Jobs, caller: Caller, *, since: float) -> int:
    """Return how many jobs of the caller were created since that time, in seconds since the epoch."""
    count = 0
    async for job in iterate_jobs(jobs, caller):
        if job.created_at < since:
            break
        count += 1
    return count


async def follow_to_end(request: Request, jobs: Jobs, caller: Caller, submitted: Job) -> Job:
    """Return the job when it is final. A caller who hangs up has it canceled: nobody else knows its id.

    Raises `ServerError` when the server stops before.
    """
    job = submitted
    async for job in jobs.watch(submitted.id, caller, beat_s=1.0):
        if not job.status.is_final and await request.is_disconnected():
            await jobs.cancel(job.id, caller)
    if not job.status.is_final:
        raise ServerError(f"the server is stopping; look for the result under {job.id}")
    return job


def failure_of(job: Job, dialect: Dialect) -> Failure | None:
    """Return why a job failed, its field named as its request does; None where it did not fail."""
    return None if job.error is None else job.error.named(dialect.names(job.request or {}))


def result_url(job: Job, files: Files, caller: Caller, dialect: Dialect) -> str | None:
    """Return where the job's first artefact can be read; None where there is none."""
    return None if job.artefact is None else files.url(job.artefact, caller, dialect=dialect.name)
