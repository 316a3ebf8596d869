"""Routes for those who run the server, and for the files it gives out: health, metrics, /files."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from animate_server import __version__
from animate_server.artefacts import respond_file
from animate_server.desk import JobDesk
from animate_server.document import FILE, raises
from animate_server.errors import JobNotFound
from animate_server.inputs import ARTEFACT_PATH, UPLOAD_PATH
from animate_server.metrics import render_metrics
from animate_server.workers import WorkerInfo

router = APIRouter()


@router.get("/health/live", tags=["operation"], summary="Whether the API answers")
async def live() -> dict[str, str]:
    return {"status": "live", "version": __version__}


@router.get(
    "/health/ready",
    tags=["operation"],
    summary="Whether a worker can take a job",
    responses={503: {"description": "No worker has loaded its bundle, or the server is stopping."}},
)
def ready(request: Request) -> JSONResponse:
    desk = _desk(request)
    alive = desk.board.alive()
    usable = any(worker.state in ("ready", "busy") for worker in alive) and not desk.closing.is_set()
    shown = {"status": "ready" if usable else "not ready", "workers": [_worker(worker) for worker in alive]}
    return JSONResponse(shown, status_code=200 if usable else 503)


@router.get("/metrics", tags=["operation"], response_class=Response, summary="For Prometheus")
def metrics(request: Request) -> Response:
    desk = _desk(request)
    return Response(render_metrics(desk.store, desk.board), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.head(ARTEFACT_PATH + "{name}", include_in_schema=False)
@router.get(
    ARTEFACT_PATH + "{name}",
    tags=["files"],
    response_class=Response,
    responses=raises(JobNotFound) | FILE,
    summary="A finished file",
)
async def get_file(name: str, request: Request) -> Response:
    """Needs no credentials: the name cannot be guessed. HEAD and Range are served."""
    path, media_type = await run_in_threadpool(_desk(request).find_file, name)
    return respond_file(path, media_type)


@router.head(UPLOAD_PATH + "{upload_id}", include_in_schema=False)
@router.get(
    UPLOAD_PATH + "{upload_id}",
    tags=["files"],
    response_class=Response,
    responses=raises(JobNotFound) | FILE,
    summary="An uploaded file",
)
async def get_upload(upload_id: str, request: Request) -> Response:
    """Needs no credentials: the id cannot be guessed."""
    path, media_type = await run_in_threadpool(_desk(request).find_upload, upload_id)
    return respond_file(path, media_type, {"content-disposition": "attachment"})


def _desk(request: Request) -> JobDesk:
    return cast(JobDesk, request.app.state.desk)


def _worker(worker: WorkerInfo) -> dict[str, Any]:
    bundle = worker.bundle or {}
    shown = {"name": worker.name, "device": worker.device, "state": worker.state}
    return shown | {"bundle": bundle.get("name"), "warning": bundle.get("warning") or None}
