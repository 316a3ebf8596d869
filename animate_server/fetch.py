"""Fetching input URLs (gate two), calling webhooks, sending results.

Every address is checked, and connected to as it was checked.

httpx's own client resolves names itself, after any check of ours, and follows redirects without asking; so a name
that changes its address in between (DNS rebinding), or a redirect, would lead into the private network.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urljoin

import certifi
import httpx

from animate_pipelines.errors import AnimateError, FetchError, MediaTooLarge
from animate_server.addresses import Address, AddressPolicy, Target, check_url, redact, refusal
from animate_server.errors import BodyTooLarge
from animate_server.files import Written, read_chunks, write_limited

MAX_REDIRECTS = 3
CONNECT_TIMEOUT_S, READ_TIMEOUT_S, POST_TIMEOUT_S, PUT_TIMEOUT_S = 10.0, 30.0, 15.0, 600.0
ANSWER_BYTES = 1024  # what is kept of a webhook's answer
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Resolver = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> Sequence[Address]:
    """Return all addresses of `host`. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


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

    Raises `FetchError` (or `InvalidField` for a redirect to what is no URL) naming `field`, and `MediaTooLarge`. No
    message holds the query of the URL.
    """
    deadline = time.monotonic() + timeout_s
    try:
        with _network_errors(url, field), _opened(url, policy, resolver) as response:
            chunks = _chunks(response, url, limit_bytes, deadline, timeout_s, on_chunk)
            return write_limited(chunks, destination, limit_bytes=limit_bytes, field=field)
    except BodyTooLarge as error:
        raise MediaTooLarge(error.template, field=field, value=error.value, limit=limit_bytes) from None


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
    Raises `FetchError` and `InvalidField`, as `fetch` does.
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
            _check_deadline(url, deadline, timeout_s)
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
    with _network_errors(url, None), httpx.HTTPTransport(verify=_trust(), trust_env=False) as transport:
        response = transport.handle_request(_pinned(url, policy, resolver, method, body, headers, timeout_s))
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


@contextmanager
def _network_errors(url: str, field: str | None) -> Iterator[None]:
    """Raise `FetchError` for failures of the network; errors that name no field get `field`."""
    try:
        yield
    except httpx.TimeoutException:
        raise FetchError(f"{redact(url)} did not answer in time", field=field, value=redact(url)) from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        why = str(error) if isinstance(error, httpx.ConnectError) else type(error).__name__
        raise FetchError(f"{redact(url)} could not be fetched: {why}", field=field, value=redact(url)) from None
    except AnimateError as error:
        error.field = error.field or field
        raise


@contextmanager
def _opened(url: str, policy: AddressPolicy, resolver: Resolver) -> Iterator[httpx.Response]:
    """Yield the answer to `url` after at most `MAX_REDIRECTS` redirects, each of them checked like the first URL."""
    # The transport is used without a client: no proxies from the environment, no cookies, no log lines with URLs.
    with httpx.HTTPTransport(verify=_trust(), trust_env=False) as transport:
        for _ in range(MAX_REDIRECTS + 1):
            response = transport.handle_request(_pinned(url, policy, resolver))
            try:
                if response.status_code not in _REDIRECTS:
                    _check_status(response, url)
                    yield response
                    return
                url = urljoin(url, response.headers.get("location", ""))
            finally:
                response.close()
    raise FetchError(f"more than {MAX_REDIRECTS} redirects, last to {redact(url)}", limit=MAX_REDIRECTS)


def _trust() -> ssl.SSLContext:
    """Return the system's certificates, a studio's own authority among them, or certifi's where there are none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _pinned(
    url: str,
    policy: AddressPolicy,
    resolver: Resolver,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    read_timeout_s: float = READ_TIMEOUT_S,
) -> httpx.Request:
    """Return a request to a checked address; host header and certificate check keep the name."""
    target = check_url(url, policy)
    address = _choose(target, policy, resolver)
    named = httpx.URL(url)
    timeouts = dict.fromkeys(("read", "write", "pool"), read_timeout_s) | {"connect": CONNECT_TIMEOUT_S}
    # identity: a compressed answer could unpack to any size
    own = {"host": named.netloc.decode("ascii"), "accept-encoding": "identity", "user-agent": "animate-server"}
    return httpx.Request(
        method,
        named.copy_with(host=str(address)),
        content=body,
        headers=dict(headers) | own,
        extensions={"timeout": timeouts, "sni_hostname": target.host},
    )


def _choose(target: Target, policy: AddressPolicy, resolver: Resolver) -> Address:
    if target.address is not None:
        return target.address
    try:
        addresses = resolver(target.host, target.port)
    except OSError:
        addresses = []
    if not addresses:
        raise FetchError(f"{target.host} has no address", value=target.host)
    for address in addresses:
        if not policy.permits(target.host, address):
            raise refusal(target.host)
    # A name with both families is tried over IPv4: many a studio's IPv6 leads nowhere.
    return min(addresses, key=lambda address: address.version)


def _check_status(response: httpx.Response, url: str) -> None:
    if response.status_code != 200:
        raise FetchError(f"{redact(url)} answered {response.status_code}", value=response.status_code, limit=200)


def _chunks(
    response: httpx.Response,
    url: str,
    limit_bytes: int,
    deadline: float,
    timeout_s: float,
    on_chunk: Callable[[], None],
) -> Iterator[bytes]:
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise MediaTooLarge(
            f"{redact(url)} has {declared} bytes, the limit is {limit_bytes}", value=int(declared), limit=limit_bytes
        )
    for chunk in response.iter_raw():
        _check_deadline(url, deadline, timeout_s)
        on_chunk()
        yield chunk


def _check_deadline(url: str, deadline: float, timeout_s: float) -> None:
    if time.monotonic() > deadline:
        raise FetchError(f"{redact(url)} took longer than {timeout_s:g} s", value=redact(url), limit=timeout_s)
