"""Which hosts and addresses an input URL may point at. No network: names are judged here, resolved in `fetch`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from animate_pipelines.errors import FetchError, InvalidField
from animate_pipelines.request.fields import MAX_FILE_CHARS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_CHARS = MAX_FILE_CHARS
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# What inet_aton, and so some resolvers, take for an IPv4 address: decimal, octal or hexadecimal, one to four parts.
_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a URL points. `address` is set when the host is a literal address."""

    scheme: str
    host: str
    port: int
    address: Address | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """Public addresses (unless `public` is false), and beyond them the given hosts and networks."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    public: bool = True

    @classmethod
    def of(cls, entries: Iterable[str], *, public: bool = True) -> AddressPolicy:
        """Return a policy from host names, addresses and CIDR ranges."""
        hosts, networks = set(), []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]"), strict=False))
            except ValueError:
                hosts.add(entry.lower().rstrip("."))
        return cls(hosts=frozenset(hosts), networks=tuple(networks), public=public)

    def permits(self, host: str, address: Address) -> bool:
        """Return whether a connection to `address`, found under the name `host`, may be made."""
        if host in self.hosts:
            return True
        plain = _unwrap(address)
        if any(plain.version == network.version and plain in network for network in self.networks):
            return True
        return self.public and plain.is_global and not plain.is_multicast and not plain.is_reserved

    def check_host(self, host: str) -> None:
        """Check a name as far as that goes without resolving it. Raises `FetchError`."""
        if host in self.hosts:
            return
        local = host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
        if (local or not self.public) and not self.networks:
            raise refusal(host)


def refusal(host: str) -> FetchError:
    return FetchError(
        f"{host} is not a public address and is not in the allow-list",
        value=host,
        limit="public addresses and ANIMATE_FETCH_ALLOW",
    )


def check_url(url: str, policy: AddressPolicy) -> Target:
    """Raises `InvalidField` for what is not an http(s) URL and `FetchError` for one that must not be fetched.

    The messages never hold the query or credentials of the URL.
    """
    parts = _split(url)
    host = _host(parts)
    address = _literal(host)
    if address is None:
        policy.check_host(host)
    elif not policy.permits(host, address):
        raise refusal(host)
    default = 443 if parts.scheme == "https" else 80
    return Target(scheme=parts.scheme, host=host, port=parts.port or default, address=address)


def check_length(reference: object, field: str) -> None:
    """Raise `InvalidField` for text that is too long to be a URL, without repeating any of it."""
    if isinstance(reference, str) and (len(reference) > MAX_URL_CHARS or "\0" in reference):
        limit = f"{MAX_URL_CHARS} characters, none of them NUL"
        value = len(reference)
        raise InvalidField(
            f"{{field}} has {value} characters; the limit is {limit}", field=field, value=value, limit=limit
        )


def redact(url: str) -> str:
    """Return the URL without query, fragment and credentials, as errors, logs and answers may show it."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("://")[0] + "://..."
    return SplitResult(parts.scheme, host, parts.path, "", "").geturl()[:200] + ("?..." if parts.query else "")


def _split(url: str) -> SplitResult:
    if len(url) > MAX_URL_CHARS:
        raise InvalidField(f"the URL has {len(url)} characters, the limit is {MAX_URL_CHARS}", limit=MAX_URL_CHARS)
    if not url.isprintable() or " " in url or "\\" in url:
        raise InvalidField("the URL holds spaces, control characters or backslashes", value=redact(url[:200]))
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidField("not a valid URL", value=redact(url)) from None
    if parts.scheme not in ("http", "https"):
        raise InvalidField(
            f"the scheme must be http or https, not {parts.scheme!r}", value=redact(url), limit="http, https"
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidField("credentials in URLs are not taken", value=redact(url))
    return parts


def _host(parts: SplitResult) -> str:
    """Return the host in lower case, ASCII, without a trailing dot.

    Full-width digits and the like are folded as a resolver would.
    """
    host = parts.hostname or ""
    if ":" in host:
        return host
    try:
        folded = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        folded = ""
    if not _HOST_NAME.fullmatch(folded):
        raise InvalidField("the URL has no valid host", value=redact(parts.geturl()))
    return folded


def _literal(host: str) -> Address | None:
    """Return the address that `host` spells, None for a name. Only the usual spelling of an address is taken."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if ":" in host or _NUMERIC_HOST.fullmatch(host):
        raise InvalidField(f"{host!r} is not a plainly written address", value=host)
    return None


def _unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
    if inner:
        return inner
    if any(address in network for network in _NAT64) or int(address) < 2**32:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if int(address) > 1 else address
    return address
