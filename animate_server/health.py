"""Routes for those who run the server, and for the files it gives out: health, metrics, /files."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from animate_server import __version__
from animate_server.artefacts import respond_file
from animate_server.backend import Backend
from animate_server.document import FILE, raises
from animate_server.errors import JobNotFound
from animate_server.metrics import render_metrics
from animate_server.references import ARTEFACT_PATH, UPLOAD_PATH
from animate_server.workers import WorkerInfo

router = APIRouter()


def _backend(request: Request) -> Backend:
    return cast(Backend, request.app.state.backend)


BackendDep = Annotated[Backend, Depends(_backend)]


@router.get("/health/live", tags=["operation"], summary="Whether the API answers")
async def live() -> dict[str, str]:
    return {"status": "live", "version": __version__}


@router.get(
    "/health/ready",
    tags=["operation"],
    summary="Whether a worker can take a job",
    responses={503: {"description": "No worker has loaded its bundle, or the server is stopping."}},
)
def ready(request: Request, backend: BackendDep) -> JSONResponse:
    alive = backend.workers.alive()
    usable = any(worker.can_take_jobs for worker in alive) and not request.app.state.closing.is_set()
    shown = {"status": "ready" if usable else "not ready", "workers": [_show_worker(worker) for worker in alive]}
    return JSONResponse(shown, status_code=200 if usable else 503)


@router.get("/metrics", tags=["operation"], response_class=Response, summary="For Prometheus")
def metrics(backend: BackendDep) -> Response:
    text = render_metrics(backend.store, backend.workers)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.head(ARTEFACT_PATH + "{name}", include_in_schema=False)
@router.get(
    ARTEFACT_PATH + "{name}",
    tags=["files"],
    response_class=Response,
    responses=raises(JobNotFound) | FILE,
    summary="A finished file",
)
async def get_file(name: str, backend: BackendDep) -> FileResponse:
    """Answer with a file. No credentials are needed: the name cannot be guessed. HEAD and Range are served."""

    def find() -> FileResponse:
        artefact = backend.store.find_artefact(name)
        return respond_file(backend.artefacts.path(artefact), artefact.media_type)

    return await run_in_threadpool(find)


@router.head(UPLOAD_PATH + "{upload_id}", include_in_schema=False)
@router.get(
    UPLOAD_PATH + "{upload_id}",
    tags=["files"],
    response_class=Response,
    responses=raises(JobNotFound) | FILE,
    summary="An uploaded file",
)
async def get_upload(upload_id: str, backend: BackendDep) -> FileResponse:
    """Answer with a file. No credentials are needed: the id cannot be guessed."""

    def find() -> FileResponse:
        upload = backend.uploads.get(upload_id)
        headers = {"content-disposition": "attachment"}
        return respond_file(backend.uploads.path(upload.id), upload.media_type, headers)

    return await run_in_threadpool(find)


def _show_worker(worker: WorkerInfo) -> dict[str, Any]:
    bundle = worker.bundle or {}
    shown = {"name": worker.name, "device": worker.device, "state": worker.state}
    return shown | {"bundle": bundle.get("name"), "warning": bundle.get("warning") or None}
