"""`Callers`: who is calling, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whoever sent a request.

    owner: a hash of the caller's key.
    base_url: scheme and host by which the caller reaches us, without a slash.
    """

    owner: str
    base_url: str


class Callers(Protocol):
    def identify(self, connection: HTTPConnection) -> Caller:
        """Return the caller whose key is in the headers. Raises `NotAuthorized`."""

    def sign_in(self, connection: HTTPConnection, key: str) -> Caller:
        """Return the caller with that key, which came otherwise than in a header. Raises `NotAuthorized`."""

    async def admit(self, owner: str) -> None:
        """Count a request that costs something. Raises `TooManyRequests`, `DiskFull`."""
