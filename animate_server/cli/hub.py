"""A hub of model files over HTTP, as Hugging Face's and its mirrors speak: what a repository has, and its files.

huggingface_hub is not used for this: it keeps files in a cache of links, and a bundle is a folder that can be moved.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from animate_pipelines.errors import AnimateError

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_CHUNK_BYTES = 1024**2
_ATTEMPTS = 5
OnBytes = Callable[[int], None]


class HubError(AnimateError):
    """The hub did not give a file."""

    code = "hub_failed"
    fault = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. sha256: of large files; the others have git's hash of them, `git_sha1`."""

    repository: str
    revision: str
    path: str
    size_bytes: int
    git_sha1: str
    sha256: str | None


class Hub:
    """A connection. Close it, or use it in a `with`. Raises `HubError`."""

    def __init__(self, endpoint: str, token: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._endpoint = endpoint.rstrip("/")
        self._client = httpx.Client(headers=headers, follow_redirects=True, timeout=_TIMEOUT)
        self._sleep = sleep

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def list(self, repository: str, patterns: Sequence[str], revision: str = "main") -> list[HubFile]:
        """Return the repository's files that match one of the patterns, sorted by path."""
        url = f"{self._endpoint}/api/models/{repository}/tree/{quote(revision, safe='')}?recursive=true"
        entries: list[dict[str, Any]] = []
        while url:
            response = self._get(url)
            entries += response.json()
            url = response.links.get("next", {}).get("url", "")
        files = [_file(repository, revision, entry) for entry in entries if entry["type"] == "file"]
        return sorted((f for f in files if any(fnmatch(f.path, p) for p in patterns)), key=lambda f: f.path)

    def fetch(self, file: HubFile, destination: Path, on_bytes: OnBytes) -> str:
        """Write a file to `destination`, going on where an earlier call stopped. Returns its SHA-256.

        What was fetched so far lies beside it as `.NAME.part`; it takes its place once its size and hash are right.
        """
        if destination.is_file() and destination.stat().st_size == file.size_bytes:
            return self._check(file, destination, destination, on_bytes)
        part = destination.with_name(f".{destination.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        on_bytes(part.stat().st_size)
        for attempt in range(_ATTEMPTS):
            try:
                self._continue(file, part, on_bytes)
                return self._check(file, part, destination, lambda num_bytes: None)
            except httpx.TransportError as error:
                if attempt + 1 == _ATTEMPTS:
                    raise HubError(f"{file.path}: {error}", field="endpoint", value=self._endpoint) from error
                self._sleep(2.0**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _continue(self, file: HubFile, part: Path, on_bytes: OnBytes) -> None:
        have = part.stat().st_size
        if have >= file.size_bytes:
            return
        url = f"{self._endpoint}/{file.repository}/resolve/{quote(file.revision, safe='')}/{quote(file.path)}"
        with self._client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
            self._require(response)
            if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
                on_bytes(-have)  # the hub begins again from the first byte
                part.write_bytes(b"")
            with part.open("ab") as out:
                for chunk in response.iter_raw():
                    out.write(chunk)
                    on_bytes(len(chunk))

    def _check(self, file: HubFile, path: Path, destination: Path, on_bytes: OnBytes) -> str:
        if path.stat().st_size < file.size_bytes:
            raise httpx.ReadError(f"{file.path} ended at {path.stat().st_size} of {file.size_bytes} bytes")
        sha256, git_sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        git_sha1.update(f"blob {path.stat().st_size}\0".encode())
        with path.open("rb") as content:
            while chunk := content.read(_CHUNK_BYTES):
                sha256.update(chunk)
                git_sha1.update(chunk)
                on_bytes(len(chunk))
        right = sha256.hexdigest() == file.sha256 if file.sha256 else git_sha1.hexdigest() == file.git_sha1
        if not right:
            path.unlink()
            raise HubError(f"{file.path} came with another hash than the hub says; fetch it again", value=file.path)
        if path != destination:
            path.replace(destination)
        return sha256.hexdigest()

    def _get(self, url: str) -> httpx.Response:
        try:
            response = self._client.get(url)
        except httpx.TransportError as error:
            raise HubError(f"{self._endpoint} cannot be reached: {error}", field="endpoint") from error
        self._require(response)
        return response

    def _require(self, response: httpx.Response) -> None:
        if response.is_error:
            reason = f"{response.status_code} {response.reason_phrase}"
            raise HubError(f"{response.url.copy_with(query=None)} answers {reason}", field="endpoint")


def _file(repository: str, revision: str, entry: dict[str, Any]) -> HubFile:
    path = str(entry["path"])
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise HubError(f"the hub lists {path!r}, which leads outside", field="endpoint", value=path)
    large = entry.get("lfs") or {}
    return HubFile(
        repository=repository,
        revision=revision,
        path=path,
        size_bytes=int(large.get("size", entry["size"])),
        git_sha1=str(entry["oid"]),
        sha256=large.get("oid"),
    )
