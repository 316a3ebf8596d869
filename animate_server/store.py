"""`Store`: the jobs. The only code that changes one, and the only thing API and workers share beside files.

A queue library (procrastinate, Celery) would bring its own broker or tables; here a job's queue entry and its public
record are one row, so that they cannot disagree after a crash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from animate_pipelines.errors import AnimateError, ServerError
from animate_pipelines.progress.progress import Progress
from animate_server.database import writing
from animate_server.errors import IdTaken, JobNotFound, KeyReused, LeaseLost, QueueFull
from animate_server.job_rows import find_row, move_job, read_held, read_job, requeue_job, unchanged, update_job
from animate_server.jobs import Artefact, Failure, Job, JobStatus, NewJob
from animate_server.outbox import add_calls, arm_calls
from animate_server.tables import files, job_uploads, jobs, totals, uploads

IDEMPOTENCY_S = 24 * 3600


class Store:
    """The jobs in the database. Every method is one transaction, durable when it returns.

    A job is changed only where it still has the status and the token under which it was read.

    lease_s: how long a worker may be silent before its job is given to another.
    max_attempts: how often a job is taken up before it fails for good.
    max_running: how many jobs of one owner run at a time; None: as many as there are workers.
    retention_s: how long a finished job and its files are kept.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], float] = time.time,
        lease_s: float = 30.0,
        max_attempts: int = 3,
        max_queued: int = 1_000,
        max_running: int | None = None,
        retention_s: float = 7 * 24 * 3600.0,
    ) -> None:
        self._engine = engine
        self._writer = writing(engine)
        self._clock = clock
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._max_queued = max_queued
        self._max_running = max_running
        self._retention_s = retention_s

    # ---------------------------------------------------------------- callers

    def add(self, new: NewJob) -> Job:
        """Store a job and return it; for an idempotency key that came with the same request, return the job made then.

        Raises `IdTaken`, `KeyReused` for the same key with another request, and `QueueFull`.
        """
        with self._write() as connection:
            if connection.scalar(select(jobs.c.id).where(jobs.c.id == new.id)) is not None:
                raise IdTaken(f"there is a job {new.id} already", field="id", value=new.id)
            earlier = self._replayed(connection, new) if new.idempotency_key else None
            if earlier is not None:
                return earlier
            queued = connection.scalar(select(func.count()).where(jobs.c.status == JobStatus.QUEUED)) or 0
            if queued >= self._max_queued:
                raise QueueFull(f"{queued} jobs are waiting, the limit is {self._max_queued}", limit=self._max_queued)
            row = connection.execute(insert(jobs).values(self._columns(new)).returning(jobs)).one()
            for upload_id in sorted(set(new.uploads)):
                connection.execute(insert(job_uploads).values(job_id=new.id, upload_id=upload_id))
            add_calls(connection, new, self._clock())
            return read_job(row)

    def get(self, job_id: str, owner: str | None = None) -> Job:
        """Return the job of that id. Raises `JobNotFound`, also when the job belongs to another than `owner`."""
        with self._engine.begin() as connection:
            return self._with_waiting(connection, [read_job(find_row(connection, job_id, owner))])[0]

    def list(
        self,
        owner: str,
        *,
        limit: int = 20,
        after: str | None = None,
        status: JobStatus | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Job]:
        """Return `limit` jobs of `owner`, those that follow the job `after` in this order.

        Raises `JobNotFound` for `after`.
        """
        order = jobs.c.seq.asc() if oldest_first else jobs.c.seq.desc()
        query: Select[Any] = select(jobs).where(jobs.c.owner == owner).order_by(order).limit(limit)
        if status is not None:
            query = query.where(jobs.c.status == status)
        with self._engine.begin() as connection:
            if after is not None:
                seq = find_row(connection, after, owner).seq
                query = query.where(jobs.c.seq > seq if oldest_first else jobs.c.seq < seq)
            return self._with_waiting(connection, [read_job(row) for row in connection.execute(query)])

    def find_artefact(self, name: str) -> Artefact:
        """Return the artefact of that name. Raises `JobNotFound`."""
        with self._engine.begin() as connection:
            named = select(jobs).join(files, files.c.job_id == jobs.c.id).where(files.c.name == name)
            row = connection.execute(named).one_or_none()
        if row is None:
            raise JobNotFound("there is no such file")
        return next(artefact for artefact in read_job(row).artefacts if artefact.name == name)

    def find_result(self, result_id: str, owner: str) -> Artefact:
        """Return the owner's artefact whose file has that UUID, or the first one of the owner's job of that id.

        Raises `JobNotFound`.
        """
        of_owner = jobs.c.owner == owner
        stem = result_id.replace("-", "")
        by_file = select(files.c.name, jobs).join(jobs, files.c.job_id == jobs.c.id).where(of_owner)
        with self._engine.begin() as connection:
            row = connection.execute(by_file.where(files.c.name.startswith(stem + ".", autoescape=True))).first()
            if row is not None:
                return next(artefact for artefact in read_job(row).artefacts if artefact.name == row.name)
            row = connection.execute(select(jobs).where(jobs.c.id == result_id, of_owner)).one_or_none()
        artefacts = () if row is None else read_job(row).artefacts
        if not artefacts:
            raise JobNotFound(f"there is no generated video {result_id}", value=result_id)
        return artefacts[0]

    def request_cancel(self, job_id: str, owner: str) -> Job:
        """Cancel a queued job here and now, and a running one when its worker sees it; leave a finished one."""
        with self._write() as connection:
            while True:
                job = read_job(find_row(connection, job_id, owner))
                with suppress(LeaseLost):  # it changed since the line above: it is read again
                    if job.status is JobStatus.QUEUED:
                        return self._end(connection, job, JobStatus.CANCELED)
                    if job.status is JobStatus.RUNNING and not job.cancel_requested:
                        return update_job(connection, job, {"cancel_requested": True})
                    return job

    def remove(self, job_id: str, owner: str) -> Job:
        """Delete the record of a finished job. Return what it was, for its files to be deleted too."""
        with self._write() as connection:
            job = read_job(find_row(connection, job_id, owner))
            if not job.status.is_final:
                raise ServerError(f"job {job_id} is {job.status} and cannot be removed")
            _drop_inline_uploads(connection, [job.id])
            connection.execute(delete(jobs).where(unchanged(job)))
            return job

    # ---------------------------------------------------------------- workers

    def claim(self, worker: str, *, resting: Collection[str] = ()) -> Job | None:
        """Start the oldest queued job, but any preflight before all renders, under a new token; None without one.

        Owners who have as many running as they may are passed over.
        resting: ids of jobs that are to wait.
        """
        self.requeue_lost()
        queued = select(jobs).where(jobs.c.status == JobStatus.QUEUED, jobs.c.id.not_in(resting))
        if self._max_running is not None:
            queued = queued.where(jobs.c.owner.not_in(_busy_owners(self._max_running)))
        oldest = queued.order_by(jobs.c.kind != "preflight", jobs.c.seq).limit(1)
        with self._engine.begin() as connection:
            if connection.execute(oldest).one_or_none() is None:
                return None  # the common case takes no write lock
        with self._write() as connection:
            while (row := connection.execute(oldest).one_or_none()) is not None:
                with suppress(LeaseLost):  # another worker took it since the line above
                    return self._start(connection, read_job(row), worker)
            return None

    def renew(self, job: Job, progress: Progress | None = None) -> Job:
        """Keep the lease, and note `progress`. The returned job says whether cancellation was requested.

        Raises `LeaseLost` when the job has been given to another worker, or has ended.
        """
        values: dict[str, Any] = {"lease_expires_at": self._clock() + self._lease_s}
        if progress is not None:
            values["progress"] = progress.to_json()
        with self._write() as connection:
            return update_job(connection, job, values)

    def finish(self, job: Job, artefacts: Sequence[Artefact], result: dict[str, Any]) -> Job:
        """End a job with its files. One whose cancellation was requested too late has succeeded all the same.

        Raises `LeaseLost`.
        """
        with self._write() as connection:
            values = {"artefacts": [asdict(artefact) for artefact in artefacts], "result": result}
            ended = self._end(connection, job, JobStatus.SUCCEEDED, values)
            connection.execute(insert(files), [{"name": artefact.name, "job_id": job.id} for artefact in artefacts])
            return ended

    def fail(self, job: Job, error: AnimateError) -> Job:
        """Fail a job for good. Raises `LeaseLost`."""
        with self._write() as connection:
            return self._fail(connection, job, Failure.of(error))

    def retry(self, job: Job, error: AnimateError) -> Job:
        """Queue a job again, or, after the last attempt, fail it with `error` and the stage it was in.

        Raises `LeaseLost`.
        """
        with self._write() as connection:
            return self._retry(connection, read_held(connection, job), error)

    def cancel(self, job: Job) -> Job:
        """End a job whose worker has stopped on request. Raises `LeaseLost`."""
        with self._write() as connection:
            return self._end(connection, job, JobStatus.CANCELED)

    def release(self, job: Job) -> Job:
        """Queue a job again for a worker that is told to go; the attempt does not count. Raises `LeaseLost`."""
        with self._write() as connection:
            held = read_held(connection, job)
            if held.cancel_requested:
                return self._end(connection, held, JobStatus.CANCELED)
            return requeue_job(connection, held, attempts=held.attempts - 1)

    def requeue_lost(self, worker: str | None = None) -> Sequence[Job]:
        """Take back the jobs whose lease ran out, or all of `worker`, which is known to be dead."""
        lost = select(jobs).where(jobs.c.status == JobStatus.RUNNING)
        if worker is None:
            lost = lost.where(jobs.c.lease_expires_at < self._clock())
        else:
            lost = lost.where(jobs.c.worker == worker)
        with self._engine.begin() as connection:
            if connection.execute(lost.limit(1)).one_or_none() is None:
                return []
        taken: list[Job] = []
        with self._write() as connection:
            for row in connection.execute(lost).all():
                with suppress(LeaseLost):  # it ended or was taken back since it was read
                    taken.append(self._retry(connection, read_job(row), _lost_worker(row)))
        return taken

    # ---------------------------------------------------------------- upkeep

    def expire(self, limit: int = 100) -> Sequence[Job]:
        """Mark finished jobs past their time as expired. Return them as they were, for their files to be deleted."""
        due = (
            select(jobs)
            .where(jobs.c.status.in_([JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED]))
            .where(jobs.c.expires_at < self._clock())
            .limit(limit)
        )
        expired: list[Job] = []
        with self._write() as connection:
            for job in [read_job(row) for row in connection.execute(due).all()]:
                with suppress(LeaseLost):  # another server's sweep had it first
                    move_job(connection, job, JobStatus.EXPIRED, {"artefacts": [], "result": None, "progress": None})
                    connection.execute(delete(files).where(files.c.job_id == job.id))
                    expired.append(job)
            _drop_inline_uploads(connection, [job.id for job in expired])
        return expired

    def purge(self) -> int:
        """Delete what is left of jobs that expired a further retention time ago, and return how many."""
        with self._write() as connection:
            gone = delete(jobs).where(jobs.c.status == JobStatus.EXPIRED)
            return connection.execute(gone.where(jobs.c.expires_at < self._clock() - self._retention_s)).rowcount

    def artefact_names(self) -> frozenset[str]:
        """Return the names of all files that belong to jobs."""
        with self._engine.begin() as connection:
            return frozenset(connection.scalars(select(files.c.name)))

    def live_ids(self) -> frozenset[str]:
        """Return the ids of the jobs that may still have a workspace."""
        with self._engine.begin() as connection:
            final = [status for status in JobStatus if status.is_final]
            return frozenset(connection.scalars(select(jobs.c.id).where(jobs.c.status.not_in(final))))

    def counts(self) -> dict[JobStatus, int]:
        """Return how many jobs are in each state."""
        with self._engine.begin() as connection:
            rows = connection.execute(select(jobs.c.status, func.count().label("number")).group_by(jobs.c.status)).all()
        numbers = {row.status: row.number for row in rows}
        return {status: numbers.get(status.value, 0) for status in JobStatus}

    def oldest_queued_s(self) -> float:
        """Return how long the first in the queue has waited, in seconds; 0 for an empty queue."""
        with self._engine.begin() as connection:
            since = connection.scalar(select(func.min(jobs.c.created_at)).where(jobs.c.status == JobStatus.QUEUED))
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def recent_results(self, limit: int = 50) -> Sequence[dict[str, Any]]:
        """Return the results of the jobs of all owners that succeeded last, newest first."""
        newest = select(jobs.c.result).where(jobs.c.status == JobStatus.SUCCEEDED).order_by(jobs.c.seq.desc())
        with self._engine.begin() as connection:
            return list(connection.scalars(newest.limit(limit)))

    def queue_position(self, job_id: str) -> int:
        """Return how many jobs, of all owners, are before this one in the queue."""
        mine = select(jobs.c.seq).where(jobs.c.id == job_id).scalar_subquery()
        before = select(func.count()).where(jobs.c.status == JobStatus.QUEUED, jobs.c.seq < mine)
        with self._engine.begin() as connection:
            return connection.scalar(before) or 0

    def totals(self) -> dict[str, tuple[int, float, float]]:
        """Return by final status: jobs ever ended, their seconds in the queue and their seconds with workers."""
        with self._engine.begin() as connection:
            return {row.status: (row.jobs, row.queue_s, row.run_s) for row in connection.execute(select(totals))}

    # ---------------------------------------------------------------- inside a transaction

    def _write(self) -> AbstractContextManager[Connection]:
        return self._writer.begin()

    def _with_waiting(self, connection: Connection, shown: Sequence[Job]) -> Sequence[Job]:
        """Return jobs as callers see them, with `waiting` set."""
        if self._max_running is None or not any(job.status is JobStatus.QUEUED for job in shown):
            return shown
        busy = frozenset(connection.scalars(_busy_owners(self._max_running)))
        return [replace(job, waiting=job.status is JobStatus.QUEUED and job.owner in busy) for job in shown]

    def _columns(self, new: NewJob) -> dict[str, Any]:
        return {
            "id": new.id,
            "owner": new.owner,
            "dialect": new.dialect,
            "kind": new.kind,
            "status": JobStatus.QUEUED,
            "params": new.params.to_json(),
            "created_at": self._clock(),
            "idempotency_key": new.idempotency_key,
            "fingerprint": new.fingerprint,
            "request": None if new.request is None else dict(new.request),
            "retention_s": new.retention_s,
        }

    def _replayed(self, connection: Connection, new: NewJob) -> Job | None:
        same_key = (jobs.c.owner == new.owner) & (jobs.c.idempotency_key == new.idempotency_key)
        row = connection.execute(select(jobs).where(same_key)).one_or_none()
        if row is None:
            return None
        if row.created_at < self._clock() - IDEMPOTENCY_S:
            connection.execute(update(jobs).where(same_key).values(idempotency_key=None))
            return None
        if row.fingerprint != new.fingerprint:
            raise KeyReused(field="Idempotency-Key", value=new.idempotency_key)
        return read_job(row)

    def _start(self, connection: Connection, job: Job, worker: str) -> Job:
        now = self._clock()
        lease = {
            "token": job.token + 1,
            "attempts": job.attempts + 1,
            "worker": worker,
            "started_at": now if job.started_at is None else job.started_at,
            "lease_expires_at": now + self._lease_s,
        }
        return move_job(connection, job, JobStatus.RUNNING, lease)

    def _retry(self, connection: Connection, job: Job, error: AnimateError) -> Job:
        if job.cancel_requested:
            return self._end(connection, job, JobStatus.CANCELED)
        if job.attempts < self._max_attempts:
            return requeue_job(connection, job, attempts=job.attempts)
        stage = (job.progress or {}).get("stage", "check")
        failure = Failure.of(error)
        tried = f"{failure.template} (attempt {job.attempts} of {self._max_attempts}, in stage {stage!r})"
        return self._fail(connection, job, replace(failure, template=tried))

    def _fail(self, connection: Connection, job: Job, failure: Failure) -> Job:
        return self._end(connection, job, JobStatus.FAILED, {"error": asdict(failure)})

    def _end(
        self, connection: Connection, job: Job, status: JobStatus, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Job:
        """Bring a job to a final status. Raises `LeaseLost` where it has changed since `job` was read."""
        now = self._clock()
        kept_s = self._retention_s if job.retention_s is None else job.retention_s
        times = {"finished_at": now, "expires_at": now + kept_s, "worker": None, "lease_expires_at": None}
        ended = move_job(connection, job, status, times | dict(values))
        start = now if job.started_at is None else job.started_at
        _add_to_totals(connection, status, queue_s=start - job.created_at, run_s=now - start)
        arm_calls(connection, job.id, now)
        return ended


def _busy_owners(max_running: int) -> Select[Any]:
    running = select(jobs.c.owner).where(jobs.c.status == JobStatus.RUNNING)
    return running.group_by(jobs.c.owner).having(func.count() >= max_running)


def _lost_worker(row: Row[Any]) -> ServerError:
    return ServerError(f"the worker {row.worker} was lost")


def _add_to_totals(connection: Connection, status: JobStatus, *, queue_s: float, run_s: float) -> None:
    added = upsert(totals).values(status=status, jobs=1, queue_s=queue_s, run_s=run_s)
    sums = {name: totals.c[name] + added.excluded[name] for name in ("jobs", "queue_s", "run_s")}
    connection.execute(added.on_conflict_do_update(index_elements=[totals.c.status], set_=sums))


def _drop_inline_uploads(connection: Connection, job_ids: Iterable[str]) -> None:
    """Let the uploads that came inside these jobs' requests expire at once; the sweep deletes row and file."""
    linked = select(job_uploads.c.upload_id).where(job_uploads.c.job_id.in_(list(job_ids)))
    connection.execute(update(uploads).where(uploads.c.id.in_(linked), uploads.c.inline).values(expires_at=0.0))
