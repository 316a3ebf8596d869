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


def _ports(connection: HTTPConnection) -> Ports:
    return cast(Ports, connection.app.state.ports)


def _callers(connection: HTTPConnection) -> Callers:
    return _ports(connection).callers


def _caller(connection: HTTPConnection) -> Caller:
    return _ports(connection).callers.identify(connection)


def _bodies(connection: HTTPConnection) -> Bodies:
    return _ports(connection).bodies


def _jobs(connection: HTTPConnection) -> Jobs:
    return _ports(connection).jobs


def _uploads(connection: HTTPConnection) -> Uploads:
    return _ports(connection).uploads


def _calls(connection: HTTPConnection) -> Calls:
    return _ports(connection).calls


def _files(connection: HTTPConnection) -> Files:
    return _ports(connection).files


PortsDep = Annotated[Ports, Depends(_ports)]
CallersDep = Annotated[Callers, Depends(_callers)]
CallerDep = Annotated[Caller, Depends(_caller)]
BodiesDep = Annotated[Bodies, Depends(_bodies)]
JobsDep = Annotated[Jobs, Depends(_jobs)]
UploadsDep = Annotated[Uploads, Depends(_uploads)]
CallsDep = Annotated[Calls, Depends(_calls)]
FilesDep = Annotated[Files, Depends(_files)]
