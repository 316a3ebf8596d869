"""`Uploads`: files that callers hand over, to be named in their jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from animate_pipelines.request.fields import FileKind
from animate_server.bodies import Body
from animate_server.ports.callers import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A stored file. `family` is what its first bytes say it is; `expires_at` in seconds since the epoch."""

    id: str
    owner: str
    family: FileKind
    media_type: str
    size_bytes: int
    sha256: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PresignedUpload:
    """Permission to hand over one file later, without credentials.

    upload_id: the id of the upload that it will be.
    token: what lets one send it.
    expires_at: seconds since the epoch.
    """

    upload_id: str
    owner: str
    token: str
    expires_at: float


class Uploads(Protocol):
    async def save(self, body: Body, caller: Caller) -> Sequence[Upload]:
        """Store every file of `body`."""

    async def fetch(self, url: str, caller: Caller, *, field: str) -> Upload:
        """Store what the URL answers within a minute. Raises `FetchError`, `MediaError`, naming `field`."""

    def presign(self, caller: Caller) -> PresignedUpload:
        """Return permission for one file, to be sent with `receive`."""

    async def receive(self, request: Request, token: str, name: str) -> Upload:
        """Store the body of `request`, raw or the form's file `name`. The token is all the permission it needs.

        Raises `JobNotFound` for a forged or expired token, `InvalidField` when it was used before, and as
        `Bodies.read_file`.
        """

    async def delete(self, upload_id: str, caller: Caller) -> None:
        """Delete an upload, as soon as no unfinished job reads it. Raises `JobNotFound`."""

    def url(self, upload_id: str, caller: Caller) -> str:
        """Return where the upload can be read, and by which it can be named in a job."""
