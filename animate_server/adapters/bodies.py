"""`LimitedBodies`: request bodies under the limits of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from animate_server import bodies
from animate_server.bodies import Body
from animate_server.errors import NotAuthorized
from animate_server.ports.bodies import FindKey
from animate_server.ports.callers import Caller, Callers
from animate_server.settings import MIB, Settings

STRANGERS_FORM_BYTES = 32 * MIB  # a form whose key is inside it


class LimitedBodies:
    """Implements `ports.bodies.Bodies`."""

    def __init__(self, settings: Settings, callers: Callers) -> None:
        self._settings = settings
        self._callers = callers

    async def read(self, request: Request, caller: Caller, *, admit: bool = True) -> Body:
        if not admit:
            return await bodies.read_body(request, max_json_bytes=MIB, max_form_bytes=MIB)
        await self._callers.admit(caller.owner)
        both_files = 2 * self._settings.max_file_bytes + MIB
        return await bodies.read_body(request, max_json_bytes=self._settings.max_json_bytes, max_form_bytes=both_files)

    async def read_with_key(self, request: Request, take_key: FindKey, *, admit: bool = True) -> tuple[Body, Caller]:
        try:
            caller = self._callers.identify(request)
        except NotAuthorized as refused:
            return await self._read_stranger(request, take_key, refused, admit=admit)
        body = await self.read(request, caller, admit=admit)
        take_key(body.fields)
        return body, caller

    async def _read_stranger(
        self, request: Request, take_key: FindKey, refused: NotAuthorized, *, admit: bool
    ) -> tuple[Body, Caller]:
        body = await bodies.read_body(request, max_json_bytes=MIB, max_form_bytes=STRANGERS_FORM_BYTES)
        try:
            key = take_key(body.fields)
            if key is None:
                raise refused
            caller = self._callers.sign_in(request, key)
            if admit:
                await self._callers.admit(caller.owner)
        except BaseException:
            with body:
                raise
        return body, caller

    async def read_tasks(self, request: Request, find_key: FindKey) -> tuple[Sequence[Body], Caller]:
        callers: list[Caller] = []

        def identify(first: dict[str, Any]) -> None:
            key = find_key(first)
            callers.append(self._callers.identify(request) if key is None else self._callers.sign_in(request, key))

        tasks = await bodies.read_tasks(request, max_bytes=self._settings.max_json_bytes, on_first=identify)
        return tasks, callers[0]

    async def read_file(self, request: Request, name: str, caller: Caller) -> Body:
        await self._callers.admit(caller.owner)
        return await bodies.read_file(request, name=name, max_bytes=self._settings.max_file_bytes + MIB)
