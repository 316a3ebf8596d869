"""`Job`: one accepted request and all that is known of it. Frozen; only the store makes a changed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from animate_pipelines.errors import AnimateError, Fault
from animate_pipelines.request.params import RenderParams
from animate_server.webhooks import Webhook
from animate_weights.errors import name_field

# preflight: the pair is looked at, and nothing is rendered.
JobKind = Literal["render", "preflight"]


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Return whether nothing will be computed for the job any more."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


# The only changes there are. A running job is queued again when its worker is lost or drained.
TRANSITIONS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELED}),
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED}),
    JobStatus.SUCCEEDED: frozenset({JobStatus.EXPIRED}),
    JobStatus.FAILED: frozenset({JobStatus.EXPIRED}),
    JobStatus.CANCELED: frozenset({JobStatus.EXPIRED}),
    JobStatus.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A file that a job made.

    name: unguessable, and all one needs to fetch the file.
    seed: what it was drawn with.
    """

    name: str
    seed: int
    media_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed: its typed error. template: the message, see `AnimateError`."""

    code: str
    template: str
    fault: Fault = "server"
    field: str | None = None
    value: Any = None
    limit: Any = None

    @classmethod
    def of(cls, error: AnimateError) -> Failure:
        details: dict[str, Any] = error.to_json() | {"template": error.template, "fault": error.fault}
        del details["message"]
        return cls(**details)

    @property
    def message(self) -> str:
        """Return what went wrong, the field by its name."""
        return name_field(self.template, self.field)

    def named(self, names: Mapping[str, str]) -> Failure:
        """Return the same failure with its field, also in the message, called as `names` has it."""
        return replace(self, field=names.get(self.field or "", self.field))

    def to_json(self) -> dict[str, Any]:
        """Return what a caller is shown: code, message, and whichever of field, value and limit are known."""
        details = {"field": self.field, "value": self.value, "limit": self.limit}
        return {"code": self.code, "message": self.message} | {k: v for k, v in details.items() if v is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Times are seconds since the epoch. `owner` is a hash of the API key that submitted it.

    attempts: how often a worker took it up.
    token: the fencing token of the latest attempt; a worker that shows an older one is refused.
    progress: `Progress.to_json()` of the running attempt.
    result: `RenderResult.to_json()` of the first artefact; the others differ from it in nothing but the seed. Of a
        preflight its report.
    artefacts: one for each of `params.takes()` when the job has succeeded, else none.
    request: the fields as they came, with `inline:` names for data.
    retention_s: how long it is kept once it has ended; None: as others.
    waiting: queued while as many jobs of the owner run as one key may have.
    """

    id: str
    owner: str
    dialect: str
    kind: JobKind
    status: JobStatus
    params: RenderParams
    created_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    attempts: int
    token: int
    worker: str | None
    cancel_requested: bool
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: Failure | None
    artefacts: tuple[Artefact, ...]
    request: dict[str, Any] | None = None
    retention_s: float | None = None
    waiting: bool = False

    @property
    def artefact(self) -> Artefact | None:
        """Return the first artefact: the only one, where a service has no field to ask for more."""
        return next(iter(self.artefacts), None)

    @property
    def warnings(self) -> list[str]:
        """Return what the caller should know of the result."""
        return list((self.result or {}).get("warnings", []))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A request that passed the gate and is about to be stored.

    id: as the caller chose it, where the service lets callers choose.
    fingerprint: a hash of the whole request, compared when an idempotency key comes a second time.
    uploads: ids of the uploads it reads.
    base_url: scheme and host by which the caller reaches us: the URLs in webhooks' bodies begin with it.
    """

    id: str
    owner: str
    dialect: str
    params: RenderParams
    kind: JobKind = "render"
    idempotency_key: str | None = None
    fingerprint: str = ""
    request: Mapping[str, Any] | None = None
    retention_s: float | None = None
    uploads: tuple[str, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    base_url: str = ""
