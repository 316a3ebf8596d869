"""`Session`: one WebSocket of Runware's interface.

A frame holds one task's answer, because sdk-js hands a whole frame to whoever waits for that task. The end of a task is
also sent unasked: the Python client 0.5.24 drops answers that say `processing`, and would find out only at the end of a
timer of 30 s.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from fastapi import WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocketDisconnect

from animate_pipelines.errors import AnimateError, InvalidField, ServerError
from animate_server.bodies import Body, parse_tasks
from animate_server.dialect import Dialect
from animate_server.dialects.runware.schema import Authentication
from animate_server.dialects.runware.tasks import Answer, TaskRunner, describe_error, show_session
from animate_server.errors import JobNotFound, NotAuthorized
from animate_server.fields import read_fields
from animate_server.ports import Ports
from animate_server.ports.callers import Caller

log = logging.getLogger(__name__)
LOOK_S = 0.25  # how often the jobs that are followed are looked at, one after the other
SIGN_IN_S = 30.0
MAX_AT_ONCE = 8
POLICY_VIOLATION = 1008


class Session:
    """A caller and its tasks, from one connection to its end."""

    def __init__(self, dialect: Dialect, ports: Ports, socket: WebSocket) -> None:
        self._dialect = dialect
        self._ports = ports
        self._socket = socket
        self._caller: Caller | None = None
        self._followed: set[str] = set()
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    async def run(self) -> None:
        """Answer until the caller hangs up. Its tasks go on."""
        await self._socket.accept()
        work = {asyncio.create_task(self._look_after())}
        try:
            async with asyncio.timeout(SIGN_IN_S) as patience:
                while True:
                    for body in await self._receive():
                        task = asyncio.create_task(self._do(body))
                        work.add(task)
                        task.add_done_callback(work.discard)
                        if body.fields.get("taskType") == "authentication":
                            await task
                    if self._caller is not None:
                        patience.reschedule(None)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._socket.close(POLICY_VIOLATION, f"no authentication within {SIGN_IN_S:g} s")
        finally:
            for task in list(work):
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _receive(self) -> list[Body]:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        try:
            return await run_in_threadpool(parse_tasks, message.get("text") or message.get("bytes") or "")
        except AnimateError as error:
            await self._send({"errors": [describe_error(error)]})
            return []

    async def _do(self, body: Body) -> None:
        kind = body.fields.get("taskType")
        if kind == "authentication":
            await self._sign_in(body)
        elif kind == "ping":
            await self._send({"data": [{"taskType": "ping", "pong": True}]})
        elif self._caller is None:
            refused = describe_error(NotAuthorized("authenticate first"))
            await self._send({"errors": [refused | {"taskUUID": body.fields.get("taskUUID")}]})
        else:
            async with self._turns:
                await self._send_answer(await self._answer(body, self._caller))

    async def _answer(self, body: Body, caller: Caller) -> Answer:
        try:
            return await TaskRunner(self._dialect, self._ports, caller, self._socket).answer(body)
        except Exception:  # an outer wall, as the app's is for POST: the caller must not wait for ever
            log.exception("a task over a socket failed")
            failed = describe_error(ServerError("the server failed; the task may be sent again"))
            return Answer(errors=[failed | {"taskUUID": body.fields.get("taskUUID")}])

    async def _sign_in(self, body: Body) -> None:
        try:
            signing_in = read_fields(Authentication, body.fields)
            self._caller = self._ports.callers.sign_in(self._socket, signing_in.apiKey)
            await self._send({"data": [show_session(signing_in)]})
        except NotAuthorized as error:
            await self._send({"errors": [describe_error(error)]})
        except InvalidField as error:
            await self._send({"errors": [describe_error(error) | {"taskType": "authentication"}]})

    async def _send_answer(self, answer: Answer) -> None:
        if answer.data:
            await self._send({"data": answer.data})
        for error in answer.errors:
            await self._send({"errors": [error]})
        if answer.follow:
            self._followed.add(answer.follow)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for job_id in list(self._followed):
                try:
                    await self._tell_end(job_id)
                except Exception:  # an outer wall: the next round looks at it again
                    log.exception("job %s: its end could not be told", job_id)

    async def _tell_end(self, job_id: str) -> None:
        assert self._caller is not None
        try:
            job = await self._ports.jobs.get(job_id, self._caller)
        except JobNotFound:
            self._followed.discard(job_id)
            return
        if job.status.is_final:
            self._followed.discard(job_id)
            await self._send_answer(Answer(**self._dialect.render(job, self._ports.files, self._caller)))

    async def _send(self, frame: dict[str, Any]) -> None:
        await self._socket.send_text(json.dumps(frame))
