"""`Artefacts`: the folder of finished files. They are named so that knowing the name is the permission to read."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import FileResponse

from animate_server.errors import JobNotFound
from animate_server.files import move_durably, unguessable
from animate_server.jobs import Artefact

log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9_-]{32}(\.[a-z0-9]{2,5})?")
_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9a-fA-F:.]+\](:\d{1,5})?")
_MEDIA_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm", ".png": "image/png"}
_STRAY_S = 3600.0  # a file this old that no job names is left over from a crash


class Artefacts:
    """The folder of finished files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def publish(self, file: Path, seed: int) -> Artefact:
        """Take `file` over; its suffix says what it is. When this returns, bytes and name survive a power cut."""
        name = unguessable(file.suffix)
        written = move_durably(file, self._folder / name)
        return Artefact(
            name=name,
            seed=seed,
            media_type=_MEDIA_TYPES[file.suffix],
            size_bytes=written.size_bytes,
            sha256=written.sha256,
        )

    def path(self, artefact: Artefact) -> Path:
        """Return where a file is. Raises `JobNotFound` when it is gone, or is not the whole file any more."""
        path = self._folder / artefact.name
        if not _NAME.fullmatch(artefact.name) or not path.is_file() or path.stat().st_size != artefact.size_bytes:
            raise JobNotFound("there is no such file")
        return path

    def remove(self, artefacts: Iterable[Artefact]) -> None:
        """Delete files."""
        for artefact in artefacts:
            (self._folder / artefact.name).unlink(missing_ok=True)

    def strays(self, known: frozenset[str]) -> list[Path]:
        """Return old files whose names are not among `known`."""
        if not self._folder.is_dir():
            return []
        before = time.time() - _STRAY_S
        return [p for p in self._folder.iterdir() if p.name not in known and p.stat().st_mtime < before]


def respond_file(path: Path, media_type: str, headers: dict[str, str] | None = None) -> FileResponse:
    """Answer GET and HEAD with a file: Range, Content-Length, ETag and the right type."""
    fixed = {"x-content-type-options": "nosniff", "cache-control": "private, max-age=3600"}
    return FileResponse(path, media_type=media_type, headers=fixed | (headers or {}))


def base_url(request: HTTPConnection, public_url: str) -> str:
    """Return scheme and host by which the caller reaches us: as configured, else as the proxy or the caller has it."""
    if public_url:
        return public_url
    direct = {"ws": "http", "wss": "https"}.get(request.url.scheme, request.url.scheme)
    scheme = request.headers.get("x-forwarded-proto", direct).split(",")[0].strip().lower()
    host = request.headers.get("x-forwarded-host", request.headers.get("host", "")).split(",")[0].strip()
    if scheme not in ("http", "https") or not _HOST.fullmatch(host):
        return f"{direct}://{request.base_url.netloc}"
    return f"{scheme}://{host}"
