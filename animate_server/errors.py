"""Errors of the HTTP face and of job keeping; the rest of the tree is in `animate_pipelines.errors`.

RequestError        request
├── InvalidField
│   ├── MissingField        a field that is required
│   └── UnsupportedField    a field, or a value of it, that means nothing here
├── BodyInvalid         the body is not what its content type says
├── BodyTooLarge        more bytes than are taken
├── NotAuthorized       no key, or one that is not known
├── JobNotFound         no such job, upload or file, or it belongs to another key
├── JobUnfinished       there is no artefact yet
├── IdTaken             a job by the id that the caller chose is there already
├── KeyReused           one idempotency key for two different requests
└── TryLater            the same request will do at another time
    ├── QueueFull           too many jobs wait
    └── TooManyRequests     too many from this key
ServerError         server
├── DiskFull            no room for another job
├── SchemaUnknown       the database was written by a newer version
└── LeaseLost           a worker speaks about a job that is no longer its own
"""

from __future__ import annotations

from animate_pipelines.errors import AnimateError, InvalidField, MediaTooLarge, RequestError, ServerError


class MissingField(InvalidField):
    """A field of the request is required."""


class UnsupportedField(InvalidField):
    """A field of the request, or its value, means nothing here."""


class BodyInvalid(RequestError):
    """The request body cannot be read."""

    code = "body_invalid"


class BodyTooLarge(RequestError):
    """The request body is too large."""

    code = "body_too_large"


class WrongMethod(RequestError):
    """This path does not know this method."""

    code = "method_not_allowed"


class NotAuthorized(RequestError):
    """A valid API key is required."""

    code = "not_authorized"


class JobNotFound(RequestError):
    """There is nothing by this name."""

    code = "not_found"


class JobUnfinished(RequestError):
    """The job has no artefact."""

    code = "job_unfinished"


class IdTaken(RequestError):
    """There is a job by this id already."""

    code = "id_taken"


class KeyReused(RequestError):
    """This idempotency key was used with a different request in the last 24 hours."""

    code = "idempotency_key_reused"


class TryLater(RequestError):
    """Send the request again later."""

    code = "try_later"
    retry_after_s = 30


class QueueFull(TryLater):
    """The queue is full; send the request again later."""

    code = "queue_full"


class TooManyRequests(TryLater):
    """Too many requests with this key; send this one again later."""

    code = "too_many_requests"


class DiskFull(ServerError):
    """There is not enough free disk space to take another job."""

    code = "disk_full"


class SchemaUnknown(ServerError):
    """The database was written by a newer version of this server."""

    code = "schema_unknown"


class LeaseLost(ServerError):
    """The job is no longer this worker's."""

    code = "lease_lost"


_STATUSES: tuple[tuple[type[AnimateError], int], ...] = (
    (BodyInvalid, 400),
    (BodyTooLarge, 413),
    (WrongMethod, 405),
    (NotAuthorized, 401),
    (JobNotFound, 404),
    (JobUnfinished, 409),
    (IdTaken, 409),
    (KeyReused, 409),
    (TryLater, 429),
    (DiskFull, 507),
    (MediaTooLarge, 413),
    (InvalidField, 422),
    (RequestError, 422),
)


def http_status(error: AnimateError) -> int:
    """Return the HTTP status that says whose fault it is: 4xx the caller's, 5xx ours."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def coarse_status(error: AnimateError) -> int:
    """Return `http_status`, with 400 for 409, 413 and 422: some services know these not, or mean something else."""
    status = http_status(error)
    return 400 if status in (409, 413, 422) else status


def http_headers(error: AnimateError) -> dict[str, str]:
    """Return the headers that HTTP wants beside the status."""
    if isinstance(error, TryLater):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, NotAuthorized) else {}
