"""Fetches input URLs, as patiently as a browser: again after a failure that may pass, on from where it broke off."""

from __future__ import annotations

import email.utils
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import httpx

from animate_pipelines.errors import FetchError, MediaTooLarge
from animate_server.addresses import AddressPolicy, redact
from animate_server.errors import BodyTooLarge
from animate_server.files import Written, write_limited
from animate_server.pinned import Resolver, network_errors, open_transport, pinned, resolve
from animate_server.unpack import unpacked

log = logging.getLogger(__name__)

TRIES = 3
MAX_REDIRECTS = 10
_BACK_OFF_S = (0.5, 2.0)  # before the second and the third try
_TICK_S = 0.1  # between two looks at whether the fetch shall stop, in a pause
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})  # beside 5xx: the same request may succeed at another time
_NO_TRUST = "CERTIFICATE_VERIFY_FAILED"  # another try would end as this one
_URL_SAFE = "%/:?#[]@!$&'()*+,;=-._~"  # RFC 3986: what has a meaning, or needs no quoting


class _Broken(Exception):
    """A try failed in a way that another may not.

    reason: for people, with the URL in it.
    wait_s: for as long the other side wants to be left alone.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class _Changed(Exception):
    """The rest cannot be joined to what is there: the file is another one, or comes from its beginning."""


def fetch(
    url: str,
    destination: Path,
    *,
    field: str,
    limit_bytes: int,
    timeout_s: float,
    policy: AddressPolicy,
    on_chunk: Callable[[], None] = lambda: None,
    resolver: Resolver = resolve,
) -> Written:
    """Write what `url` answers to `destination`. `on_chunk` is called as data comes and may raise to stop.

    A try that fails by 408, 425, 429, 5xx, a lost connection or a short body is repeated, up to `TRIES` in all and
    within `timeout_s`; where the server serves ranges of the same file it goes on from where it broke off.
    Raises `FetchError` (or `InvalidField` for a redirect to what is no URL) naming `field`, and `MediaTooLarge`. No
    message holds the query of the URL.
    """
    download = _Download(
        url=url.strip(),
        limit_bytes=limit_bytes,
        timeout_s=timeout_s,
        policy=policy,
        on_chunk=on_chunk,
        resolver=resolver,
    )
    with network_errors(download.url, field):
        while True:
            try:
                return write_limited(download.chunks(), destination, limit_bytes=limit_bytes, field=field)
            except _Changed:
                continue
            except BodyTooLarge as error:
                raise MediaTooLarge(error.template, field=field, value=error.value, limit=limit_bytes) from None


@dataclass(slots=True, kw_only=True)
class _Download:
    """One file on its way here.

    tries: made so far.
    received: bytes of the body that were handed on, where the rest of it can be asked for.
    has_begun: whether any were handed on.
    validator: what tells this version of the file from others: its ETag, or when it was changed.
    """

    url: str
    limit_bytes: int
    timeout_s: float
    policy: AddressPolicy
    on_chunk: Callable[[], None]
    resolver: Resolver
    tries: int = 0
    received: int = 0
    has_begun: bool = False
    validator: str = ""
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.timeout_s

    def chunks(self) -> Iterator[bytes]:
        """Yield the file from its beginning, over as many tries as it takes. Raises `_Changed` to be called again."""
        self.received, self.has_begun = 0, False
        while True:
            self.tries += 1
            try:
                yield from self._try()
                return
            except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.TimeoutException) as lost:
                self._pause(_Broken(_describe(lost, self.url)), lost)
            except _Broken as broken:
                self._pause(broken, broken)
            if self.has_begun and not self.received:
                raise _Changed

    def _try(self) -> Iterator[bytes]:
        with open_transport() as transport, closing(self._open(transport)) as response:
            self._check(response)
            encoding = response.headers.get("content-encoding", "identity").strip().lower()
            yield from unpacked(self._raw(response), encoding, self.url)

    def _raw(self, response: httpx.Response) -> Iterator[bytes]:
        packed = "content-encoding" in response.headers
        for chunk in response.iter_raw():
            self._check_deadline()
            self.on_chunk()
            # Of a packed body the rest cannot be asked for: what unpacks is not what was counted.
            self.received += 0 if packed else len(chunk)
            self.has_begun = True
            yield chunk

    def _open(self, transport: httpx.HTTPTransport) -> httpx.Response:
        """Return the answer after at most `MAX_REDIRECTS` redirects, each of them checked like the first URL."""
        url = self.url
        for _ in range(MAX_REDIRECTS + 1):
            response = transport.handle_request(pinned(url, self.policy, self.resolver, headers=self._range()))
            if response.status_code not in _REDIRECTS:
                return response
            response.close()
            url = _quoted(urljoin(url, response.headers.get("location", "")))
        raise FetchError(f"more than {MAX_REDIRECTS} redirects, last to {redact(url)}", limit=MAX_REDIRECTS)

    def _range(self) -> dict[str, str]:
        if not self.received:
            return {}
        return {"range": f"bytes={self.received}-"} | ({"if-range": self.validator} if self.validator else {})

    def _check(self, response: httpx.Response) -> None:
        """Check that the answer is the file, from where it is wanted, and no larger than is taken."""
        status, url = response.status_code, redact(self.url)
        if status in _LATER or status >= 500:
            raise _Broken(f"{url} answered {status}", _retry_after(response))
        start, total = _content_range(response) if status == 206 else (0, None)
        if self.received and (status, start) != (206, self.received):
            raise _Changed
        if status not in (200, 206) or start != self.received:
            raise FetchError(f"{url} answered {status}", value=status, limit=200)
        self.validator = response.headers.get("etag") or response.headers.get("last-modified", "")
        if self.validator.startswith("W/"):
            self.validator = response.headers.get("last-modified", "")
        declared = response.headers.get("content-length", "")
        size = total or (start + int(declared) if declared.isdigit() else 0)
        if status == 206 and total is not None and declared.isdigit() and start + int(declared) < total:
            raise FetchError(f"{url} answered with a part of the file only", value=status, limit=200)
        if size > self.limit_bytes:
            message = f"{url} has {size} bytes, the limit is {self.limit_bytes}"
            raise MediaTooLarge(message, value=size, limit=self.limit_bytes)

    def _pause(self, broken: _Broken, cause: Exception) -> None:
        """Wait before the next try. Raises `FetchError` where there is none."""
        if _NO_TRUST in broken.reason:
            raise FetchError(broken.reason, value=redact(self.url)) from cause
        if self.tries >= TRIES:
            raise FetchError(f"{broken.reason}, {TRIES} times", value=redact(self.url), limit=TRIES) from cause
        wait_s = max(_BACK_OFF_S[self.tries - 1], broken.wait_s)
        if time.monotonic() + wait_s > self.deadline:
            again = f"wants to be asked again in {wait_s:g} s, which is past the limit of {self.timeout_s:g} s"
            raise FetchError(f"{broken.reason} and {again}", value=redact(self.url), limit=self.timeout_s) from cause
        log.warning("%s; try %d of %d in %g s", broken.reason, self.tries + 1, TRIES, wait_s)
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            self.on_chunk()
            time.sleep(_TICK_S)

    def _check_deadline(self) -> None:
        if time.monotonic() > self.deadline:
            url = redact(self.url)
            raise FetchError(f"{url} took longer than {self.timeout_s:g} s", value=url, limit=self.timeout_s)


def _quoted(url: str) -> str:
    """Return a URL with what may not stand in its path and query percent-encoded, as browsers do with a redirect."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url  # refused where it is checked
    return parts._replace(path=quote(parts.path, _URL_SAFE), query=quote(parts.query, _URL_SAFE)).geturl()


def _describe(lost: Exception, url: str) -> str:
    if isinstance(lost, httpx.TimeoutException):
        return f"{redact(url)} did not answer in time"
    why = str(lost) if isinstance(lost, httpx.ConnectError) else "the connection was lost"
    return f"{redact(url)} could not be fetched: {why}"


def _retry_after(response: httpx.Response) -> float:
    """Return the seconds of a Retry-After header, which has seconds or a date; 0 without one."""
    text = response.headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0


def _content_range(response: httpx.Response) -> tuple[int, int | None]:
    """Return (first byte, size of the whole) of a Content-Range; size None where it is not stated."""
    span, _, total = response.headers.get("content-range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdigit() else -1, int(total) if total.isdigit() else None
