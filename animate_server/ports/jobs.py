"""`Jobs`: from the request to its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from animate_pipelines.request.params import RenderParams
from animate_server.bodies import Body
from animate_server.jobs import Job, JobKind, JobStatus
from animate_server.ports.callers import Caller
from animate_server.webhooks import Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What a request says of its job beside the render.

    job_id: as the caller chose it, or as the service spells ids; None: a UUID.
    idempotency_key: the same key with the same request is the same job for 24 hours.
    retention_s: how long the job is kept once it has ended; None: as long as any.
    hosted: whether the limits that the params put on the inputs are a service's, which a server may lift.
    webhooks: whom the job's end is told.
    """

    kind: JobKind = "render"
    job_id: str | None = None
    idempotency_key: str | None = None
    retention_s: float | None = None
    hosted: bool = False
    webhooks: tuple[Webhook, ...] = ()


NO_OPTIONS = JobOptions()


class Jobs(Protocol):
    @property
    def max_running(self) -> int | None:
        """Return how many jobs of one caller run at a time; None: as many as there are workers."""

    async def submit(
        self, params: RenderParams, body: Body, caller: Caller, *, dialect: str, options: JobOptions = NO_OPTIONS
    ) -> Job:
        """Check a request, store its job and return it.

        body: the request as it came, with the data in it.
        Raises what is wrong with its inputs (`InvalidField`, `FetchError`, `JobNotFound`, `MediaError`,
        `BodyTooLarge`), `IdTaken`, `KeyReused` and `QueueFull`.
        """

    async def get(self, job_id: str, caller: Caller) -> Job:
        """Return a job. Raises `JobNotFound`."""

    async def list(
        self,
        caller: Caller,
        *,
        limit: int,
        after: str | None = None,
        status: JobStatus | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Job]:
        """Return jobs, newest first unless told otherwise. Raises `JobNotFound` for `after`."""

    def watch(self, job_id: str, caller: Caller, *, beat_s: float) -> AsyncIterator[Job]:
        """Yield the job now, after each change, and every `beat_s` without one.

        Ends when the job is final, or the server stops.
        """

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        """Cancel a queued job at once and a running one soon; return a final one as it is."""

    async def remove(self, job_id: str, caller: Caller) -> None:
        """Delete a final job with its files."""

    async def discard(self, job_id: str, caller: Caller) -> None:
        """Delete a job with its files; a running one is stopped, and goes when its time is over."""

    async def queue_position(self, job: Job) -> int:
        """Return how many jobs, of all owners, a queued one waits for."""
