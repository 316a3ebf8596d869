"""`Files`: what a job has made: its artefacts, stills of them, and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from starlette.responses import Response

from animate_pipelines.media.stills import StillKind
from animate_server.jobs import Artefact
from animate_server.ports.callers import Caller

ReportKind = Literal["report.json", "timeline.png", "masks.png"]


class Files(Protocol):
    def url(self, artefact: Artefact, caller: Caller, *, dialect: str) -> str:
        """Return where the file can be read, without credentials; dialects may have hosts of their own for it."""

    def respond(self, artefact: Artefact, headers: Mapping[str, str]) -> Response:
        """Answer with the file itself."""

    async def still(self, artefact: Artefact, kind: StillKind, *, num_frames: int) -> Response:
        """Answer with a picture of a video that has so many frames. Raises `JobNotFound`, `ServerError`."""

    async def report(self, job_id: str, kind: ReportKind, caller: Caller) -> Response:
        """Answer with what was seen in the driving video, as JSON or as a picture.

        Raises `JobNotFound`, also for a job without a report.
        """
