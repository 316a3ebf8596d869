"""Ports: what dialects ask of the server, split by what is asked for. Each is implemented by a class in `adapters`.

Jobs, uploads and calls of other owners do not exist for a caller. Routes name the ports they need as dependencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from animate_server.ports.bodies import Bodies
from animate_server.ports.callers import Caller, Callers
from animate_server.ports.calls import Calls
from animate_server.ports.files import Files
from animate_server.ports.jobs import Jobs
from animate_server.ports.uploads import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One implementation of each port, kept as `app.state.ports`."""

    callers: Callers
    bodies: Bodies
    jobs: Jobs
    uploads: Uploads
    calls: Calls
    files: Files


# Coroutines, because FastAPI sends plain functions to a thread.


async def _ports(connection: HTTPConnection) -> Ports:
    return cast(Ports, connection.app.state.ports)


PortsDep = Annotated[Ports, Depends(_ports)]


async def _caller(connection: HTTPConnection, ports: PortsDep) -> Caller:
    return ports.callers.identify(connection)


async def _bodies(ports: PortsDep) -> Bodies:
    return ports.bodies


async def _jobs(ports: PortsDep) -> Jobs:
    return ports.jobs


async def _uploads(ports: PortsDep) -> Uploads:
    return ports.uploads


async def _calls(ports: PortsDep) -> Calls:
    return ports.calls


async def _files(ports: PortsDep) -> Files:
    return ports.files


CallerDep = Annotated[Caller, Depends(_caller)]
BodiesDep = Annotated[Bodies, Depends(_bodies)]
JobsDep = Annotated[Jobs, Depends(_jobs)]
UploadsDep = Annotated[Uploads, Depends(_uploads)]
CallsDep = Annotated[Calls, Depends(_calls)]
FilesDep = Annotated[Files, Depends(_files)]
