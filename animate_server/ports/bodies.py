"""`Bodies`: request bodies, read under the server's limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.requests import Request

from animate_server.bodies import Body
from animate_server.ports.callers import Caller

# Finds the caller's key among the fields of a body; None where there is none.
FindKey = Callable[[dict[str, Any]], str | None]


class Bodies(Protocol):
    """Every method raises `BodyInvalid` and `BodyTooLarge`."""

    async def read(self, request: Request, caller: Caller, *, admit: bool = True) -> Body:
        """Read a JSON or form body.

        admit: raise `TooManyRequests` and `DiskFull` before anything is read. Without it the limits are small: for
            callers who only look something up.
        """

    async def read_with_key(self, request: Request, take_key: FindKey, *, admit: bool = True) -> tuple[Body, Caller]:
        """Read a body that may hold the key of its caller, where the headers hold none. Raises `NotAuthorized`.

        A stranger's body is read under small limits.
        take_key: removes the key from the fields and returns it.
        admit: as for `read`.
        """

    async def read_tasks(self, request: Request, find_key: FindKey) -> tuple[Sequence[Body], Caller]:
        """Read an array of objects, each with its own data. Raises `NotAuthorized`. Nothing is admitted yet.

        find_key: finds the key in the first object; without one it is in the headers.
        """

    async def read_file(self, request: Request, name: str, caller: Caller) -> Body:
        """Read a body that is one file, raw or as the form field `name`. Raises `TooManyRequests`, `DiskFull`."""
