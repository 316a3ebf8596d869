"""The ASGI application: dialects, health and files. Imports no torch, and starts in under a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from animate_pipelines.errors import AnimateError, InvalidField, RequestError, ServerError
from animate_server import __version__, health
from animate_server.adapters.bodies import LimitedBodies
from animate_server.adapters.callers import KeyringCallers
from animate_server.adapters.calls import OutboxCalls
from animate_server.adapters.files import StoredFiles
from animate_server.adapters.jobs import StoredJobs
from animate_server.adapters.uploads import StoredUploads
from animate_server.backend import Backend
from animate_server.courier import Courier
from animate_server.dialect import Dialect, find_dialect
from animate_server.dialects import load_dialects
from animate_server.document import write_document
from animate_server.errors import JobNotFound, WrongMethod
from animate_server.invalid import describe_invalid, limit_of
from animate_server.ports import Ports
from animate_server.ports.files import Files
from animate_server.webhooks import Method

log = logging.getLogger(__name__)
SWEEP_S = 10.0
COURIERS: Mapping[Method, int] = {"POST": 4, "PUT": 2}  # a receiver that answers slowly holds up one
COURIER_CLOSE_S = 1.0


def create_app(backend: Backend) -> FastAPI:
    """Return the application over `backend`.

    Its state has the `backend`, the `ports`, and the event `closing`: set it to let go of callers who wait for a job.
    """
    closing = threading.Event()
    ports = make_ports(backend, closing)
    dialects = load_dialects(backend.settings.dialects)
    courier = make_courier(backend, ports.files, dialects)

    app = FastAPIOffline(  # FastAPI's own page would load its scripts from a CDN
        title="animate-server",
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},  # else the page sends the document's address to a public checker
        version=__version__,
        description="One reference image and one driving video in, one animated MP4 out.",
        lifespan=lambda _: _running(backend, courier, closing),
    )
    app.state.backend, app.state.ports, app.state.closing = backend, ports, closing
    for dialect in dialects:
        app.include_router(dialect.router)
    app.include_router(health.router)
    answering = [*dialects, *load_dialects(["native"])]  # ours answers for what no served dialect has, such as /files
    _install_errors(app, answering)
    app.openapi = cache(partial(write_document, app, answering))  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _running(backend: Backend, courier: Courier, closing: threading.Event) -> AsyncIterator[None]:
    """Sweep and call webhooks while the application runs."""
    stopped = threading.Event()
    sweeper = threading.Thread(target=_sweep, args=(backend, stopped), name="sweep", daemon=True)
    couriers = [
        threading.Thread(target=courier.run, args=(method, stopped), daemon=True)
        for method, count in COURIERS.items()
        for _ in range(count)
    ]
    for thread in (sweeper, *couriers):
        thread.start()
    yield
    closing.set()
    stopped.set()
    sweeper.join()
    for thread in couriers:
        thread.join(COURIER_CLOSE_S)  # a call cut off here is made again by the next server


def make_ports(backend: Backend, closing: threading.Event) -> Ports:
    """Return the ports over `backend`.

    closing: set when the server is told to stop; those who wait for a job are then let go.
    """
    settings = backend.settings
    policy = settings.address_policy
    callers = KeyringCallers(settings)
    return Ports(
        callers=callers,
        bodies=LimitedBodies(settings, callers),
        jobs=StoredJobs(backend, policy, closing),
        uploads=StoredUploads(settings, backend.uploads, callers, policy),
        calls=OutboxCalls(backend.outbox, policy),
        files=StoredFiles(backend),
    )


def make_courier(backend: Backend, files: Files, dialects: Sequence[Dialect]) -> Courier:
    """Return what calls webhooks and sends files, under the same rules as input URLs are fetched."""
    rules = {dialect.name: dialect.webhooks for dialect in dialects if dialect.webhooks is not None}
    policy = backend.settings.address_policy
    return Courier(backend.outbox, backend.store, backend.artefacts, files, rules, policy)


def _sweep(backend: Backend, stopped: threading.Event) -> None:
    while not stopped.wait(SWEEP_S):
        try:
            backend.sweep()
        except Exception:  # an outer wall: upkeep must not end because one round of it failed
            log.exception("the sweep failed; it will be tried again")


def _install_errors(app: FastAPI, dialects: Sequence[Dialect]) -> None:
    async def on_error(request: Request, error: Exception) -> Response:
        return find_dialect(request.url.path, dialects).render_error(_typed(error, request))

    for kind in (AnimateError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, on_error)


def _typed(error: Exception, request: Request) -> AnimateError:
    """Return any exception as one of ours. What we did not foresee is a `ServerError` that tells nothing of itself."""
    if isinstance(error, AnimateError):
        if error.fault != "request":
            log.error("%s %s: %s", request.method, request.url.path, error.message)
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        name = str(first["loc"][-1])
        words = describe_invalid(first)
        return InvalidField(f"{{field}} {words}", field=name, value=first.get("input"), limit=limit_of(first))
    if isinstance(error, HTTPException):
        known: dict[int, type[RequestError]] = {404: JobNotFound, 405: WrongMethod}
        return known.get(error.status_code, RequestError)(f"{request.method} {request.url.path}: {error.detail}")
    return ServerError("the server failed; the request may be sent again")
