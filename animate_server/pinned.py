"""Requests to addresses that were checked: each is connected to as it was checked.

httpx's own client resolves names itself, after any check of ours, and follows redirects without asking; so a name
that changes its address in between (DNS rebinding), or a redirect, would lead into the private network. Only its
transport is used: no proxies from the environment, no cookies, no log lines with URLs.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import certifi
import httpx

from animate_pipelines.errors import AnimateError, FetchError
from animate_server.addresses import Address, AddressPolicy, Target, check_url, redact, refusal

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 30.0

Resolver = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> Sequence[Address]:
    """Return all addresses of `host`. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


@contextmanager
def open_transport() -> Iterator[httpx.HTTPTransport]:
    """Yield a transport that trusts the system's certificates."""
    with httpx.HTTPTransport(verify=_trust(), trust_env=False) as transport:
        yield transport


@contextmanager
def network_errors(url: str, field: str | None) -> Iterator[None]:
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


def pinned(
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


def _trust() -> ssl.SSLContext:
    """Return the system's certificates, a studio's own authority among them, or certifi's where there are none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
