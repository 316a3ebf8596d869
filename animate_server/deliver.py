"""Calls of webhooks, and results sent to where a caller wants them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from animate_pipelines.errors import FetchError
from animate_server.addresses import AddressPolicy, redact
from animate_server.files import read_chunks
from animate_server.pinned import READ_TIMEOUT_S, Resolver, network_errors, open_transport, pinned, resolve

POST_TIMEOUT_S, PUT_TIMEOUT_S = 15.0, 600.0
ANSWER_BYTES = 1024  # what is kept of an answer


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    policy: AddressPolicy,
    resolver: Resolver = resolve,
    timeout_s: float = POST_TIMEOUT_S,
) -> tuple[int, str]:
    """Return the status and the beginning of the answer of `url` to `body`.

    A redirect is an answer, and is not followed.
    Raises `FetchError` and `InvalidField`, whose messages hold no query.
    """
    deadline = time.monotonic() + timeout_s
    return _send("POST", url, body, headers, timeout_s, deadline, policy=policy, resolver=resolver)


def put_file(
    url: str,
    path: Path,
    media_type: str,
    *,
    policy: AddressPolicy,
    resolver: Resolver = resolve,
    timeout_s: float = PUT_TIMEOUT_S,
) -> tuple[int, str]:
    """Send a file as the whole body, like `post`. Its length is stated: signed URLs of object stores require it."""
    deadline = time.monotonic() + timeout_s

    def chunks() -> Iterator[bytes]:
        for chunk in read_chunks(path):
            if time.monotonic() > deadline:
                raise FetchError(f"{redact(url)} took longer than {timeout_s:g} s", value=redact(url), limit=timeout_s)
            yield chunk

    headers = {"content-type": media_type, "content-length": str(path.stat().st_size)}
    return _send("PUT", url, chunks(), headers, READ_TIMEOUT_S, deadline, policy=policy, resolver=resolver)


def _send(
    method: str,
    url: str,
    body: bytes | Iterator[bytes],
    headers: Mapping[str, str],
    timeout_s: float,
    deadline: float,
    *,
    policy: AddressPolicy,
    resolver: Resolver,
) -> tuple[int, str]:
    """Send a request, and return the status and the beginning of the answer.

    timeout_s: of each read and write.
    deadline: when the answer is no longer read on.
    """
    with network_errors(url, None), open_transport() as transport:
        response = transport.handle_request(pinned(url, policy, resolver, method, body, headers, timeout_s))
        try:
            return response.status_code, _beginning(response, deadline)
        finally:
            response.close()


def _beginning(response: httpx.Response, deadline: float) -> str:
    """Return the beginning of a text that may have no end."""
    text = b""
    for chunk in response.iter_raw():
        text += chunk
        if len(text) >= ANSWER_BYTES or time.monotonic() > deadline:
            break
    return text[:ANSWER_BYTES].decode("utf-8", "replace")
