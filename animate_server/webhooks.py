"""`Webhook`: where a caller wants to hear of a job's end, or be sent its file, and what came of that."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from animate_pipelines.errors import AnimateError, InvalidField
from animate_server.addresses import AddressPolicy, check_url

Method = Literal["POST", "PUT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """What a caller wants to be sent.

    url: where to.
    secret: what the service's own way of signing needs.
    field: the request's name for the URL.
    method: POST tells of the job's end in the words of its dialect; PUT sends the finished file itself.
    """

    url: str
    secret: str = ""
    field: str = "webhook"
    method: Method = "POST"


def check_webhook(webhook: Webhook, policy: AddressPolicy) -> None:
    """Raise `InvalidField` for a URL that may not be called."""
    try:
        check_url(webhook.url, policy)
    except AnimateError as error:
        raise InvalidField(f"{{field}}: {error.message}", field=webhook.field, value=error.value) from None


class CallStatus(StrEnum):
    WAITING = "waiting"  # for the end of the job
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to make a call.

    status_code: None when there was no answer; `error` then says why.
    response: how the answer begins.
    """

    at: float
    status_code: int | None
    response: str = ""
    error: str = ""

    @property
    def delivered(self) -> bool:
        """Return whether the receiver took it."""
        return self.status_code is not None and 200 <= self.status_code < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One job's call to one of its webhooks. Times are seconds since the epoch.

    id: the same at each attempt, for the receiver to know a repetition by.
    base_url: begins the URLs in the body.
    body: JSON text, made at the first attempt; None of a PUT.
    tries: attempts since it was last asked for.
    """

    id: str
    job_id: str
    owner: str
    dialect: str
    method: Method
    url: str
    secret: str
    base_url: str
    status: CallStatus
    body: str | None
    tries: int
    attempts: tuple[Attempt, ...]
    created_at: float
    updated_at: float
