"""`ServerClient`: /v1 of a running server, as the commands use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from animate_server.cli.console import EXIT_AUTH, EXIT_INPUT, EXIT_RETRY, EXIT_SERVER, describe
from animate_server.cli.credentials import Credentials
from animate_server.files import CHUNK_BYTES

TIMEOUT_S = 60.0
PATIENCE_S = 60.0  # how long a server may be away while we wait for a job
_AGAIN = frozenset({408, 429, 502, 503, 504, 507})


class ServerFault(Exception):
    """What the server answered, or that it did not, with the exit code that means."""

    def __init__(self, code: int, error: dict[str, Any]) -> None:
        super().__init__(describe(error))
        self.code = code
        self.error = error


class ServerClient:
    """Use it as a context. Every method raises `ServerFault`."""

    def __init__(self, credentials: Credentials) -> None:
        headers = {"authorization": f"Bearer {credentials.key}"} if credentials.key else {}
        self._server = credentials.server
        self._http = httpx.Client(base_url=f"{credentials.server}/v1", headers=headers, timeout=TIMEOUT_S)

    def __enter__(self) -> ServerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def check(self) -> None:
        """Check that the server answers and takes the key."""
        self._ask("GET", "/jobs?limit=1")

    def upload(self, path: Path) -> str:
        """Upload a file and return its `upload:ID`."""
        with path.open("rb") as file:
            headers = {"content-type": "application/octet-stream", "content-length": str(path.stat().st_size)}
            chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
            return str(self._ask("POST", "/uploads", content=chunks, headers=headers)["id"])

    def submit(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "/jobs", json=fields)

    def cancel(self, job_id: str) -> None:
        self._ask("DELETE", f"/jobs/{job_id}")

    def wait(self, job: dict[str, Any], poll_s: float, on_change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Return the job once it has ended, waiting also for a server that restarts meanwhile."""
        seen_at = time.monotonic()
        while job["status"] in ("queued", "running"):
            on_change(job)
            time.sleep(poll_s)
            try:
                job = self._ask("GET", f"/jobs/{job['id']}")
                seen_at = time.monotonic()
            except ServerFault as fault:
                if fault.code != EXIT_RETRY or time.monotonic() - seen_at > PATIENCE_S:
                    raise
        return job

    def download(self, url: str, path: Path) -> Path:
        """Written beside and renamed, so that `path` is whole or absent."""
        partial = path.with_name(path.name + ".part")
        with self._faults(), httpx.stream("GET", url, timeout=TIMEOUT_S) as response:
            if not response.is_success:
                raise ServerFault(EXIT_SERVER, {"message": f"the artefact answered {response.status_code}"})
            with partial.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
        return partial.rename(path)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        json: dict[str, Any] | None = None,
        content: Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        with self._faults():
            response = self._http.request(method, path, json=json, content=content, headers=headers)
        if response.is_success:
            return dict(response.json()) if response.content else {}
        raise ServerFault(_exit_code(response.status_code), _error_of(response))

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            message = f"{self._server} cannot be reached: {error or type(error).__name__}"
            raise ServerFault(EXIT_RETRY, {"code": "unreachable", "message": message}) from None


def _exit_code(status: int) -> int:
    if status in (401, 403):
        return EXIT_AUTH
    if status in _AGAIN:
        return EXIT_RETRY
    return EXIT_SERVER if status >= 500 else EXIT_INPUT


def _error_of(response: httpx.Response) -> dict[str, Any]:
    try:
        return dict(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return {"code": "unexpected", "message": f"the server answered {response.status_code}"}
