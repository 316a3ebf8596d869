"""API keys: who is calling, without ever keeping a key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

from animate_pipelines.errors import InvalidField
from animate_server.errors import NotAuthorized

ANONYMOUS = "anonymous"
_HASHED = "sha256:"


class Keyring:
    """The hashes of the known keys. Plain SHA-256 will do: keys are random, so there is nothing to guess slowly."""

    def __init__(self, keys: Iterable[str]) -> None:
        """Take keys in the clear or as `sha256:HEX`. With none, everybody is the one anonymous owner."""
        self._hashes = tuple(_hash(key) for key in keys)

    def owner(self, headers: Mapping[str, str]) -> str:
        """Return a stable id for the key in `Authorization: Bearer` or `x-api-key`. Raises `NotAuthorized`."""
        return self.owner_of(_presented(headers))

    def owner_of(self, presented: str) -> str:
        """Return the same for a key that came otherwise."""
        if not self._hashes:
            return ANONYMOUS
        if not presented:
            raise NotAuthorized("Missing Authorization or x-api-key in header")
        digest = hashlib.sha256(presented.encode()).digest()
        # Every known key is compared, and each in constant time: the time taken tells nothing.
        matches = [hmac.compare_digest(digest, known) for known in self._hashes]
        if not any(matches):
            raise NotAuthorized("Invalid API key")
        return hashlib.sha256(b"owner:" + digest).hexdigest()[:32]


def _presented(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "").strip()


def _hash(key: str) -> bytes:
    if not key.startswith(_HASHED):
        return hashlib.sha256(key.encode()).digest()
    try:
        digest = bytes.fromhex(key.removeprefix(_HASHED))
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InvalidField("ANIMATE_API_KEYS: sha256: must be followed by 64 hexadecimal digits", field="api_keys")
    return digest
