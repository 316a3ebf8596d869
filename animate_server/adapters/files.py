"""`StoredFiles`: artefacts and reports in their folders, and stills drawn when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

from animate_pipelines.media.container import Container
from animate_pipelines.media.stills import STILL_TYPES, StillKind, draw_still
from animate_server.artefacts import respond_file
from animate_server.backend import Backend
from animate_server.jobs import Artefact
from animate_server.ports.callers import Caller
from animate_server.ports.files import ReportKind
from animate_server.references import ARTEFACT_PATH
from animate_server.reports import REPORT_TYPES

STILLS_AT_ONCE = 2  # each decodes a whole video
_CONTAINERS: Mapping[str, Container] = {"video/mp4": "mov", "video/quicktime": "mov", "video/webm": "matroska"}


class StoredFiles:
    """Implements `ports.files.Files`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._drawing = threading.Semaphore(STILLS_AT_ONCE)

    def url(self, artefact: Artefact, caller: Caller, *, dialect: str) -> str:
        base = self._backend.settings.files_urls.get(dialect, caller.base_url)
        return f"{base}{ARTEFACT_PATH}{artefact.name}"

    def respond(self, artefact: Artefact, headers: Mapping[str, str]) -> FileResponse:
        return respond_file(self._backend.artefacts.path(artefact), artefact.media_type, dict(headers))

    async def still(self, artefact: Artefact, kind: StillKind, *, num_frames: int) -> Response:
        def draw() -> bytes:
            path, container = self._backend.artefacts.path(artefact), _CONTAINERS[artefact.media_type]
            with self._drawing:
                return draw_still(path, kind, container=container, num_frames=num_frames)

        return Response(await run_in_threadpool(draw), media_type=STILL_TYPES[kind])

    async def report(self, job_id: str, kind: ReportKind, caller: Caller) -> FileResponse:
        job = await run_in_threadpool(self._backend.store.get, job_id, caller.owner)
        return respond_file(self._backend.reports.path(job.id, kind), REPORT_TYPES[kind])
