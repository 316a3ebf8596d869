"""`Presigner`: permission to hand over one file later, without credentials. Signed by the server, not stored."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from animate_server.errors import JobNotFound
from animate_server.files import unguessable
from animate_server.ports.uploads import PresignedUpload

SECRET_BYTES = 32


class Presigner:
    """Makes and reads the tokens of uploads to come. lifetime_s: how long a token is good."""

    def __init__(self, secret: bytes, *, lifetime_s: float, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._clock = clock

    def presign(self, owner: str) -> PresignedUpload:
        """Return permission for one file of `owner`."""
        return self._sign(unguessable(), owner, int(self._clock() + self._lifetime_s))

    def read_token(self, token: str) -> PresignedUpload:
        """Return the permission that this token was made for. Raises `JobNotFound` for a forged or expired one."""
        upload_id, _, rest = token.partition(".")
        owner, _, rest = rest.partition(".")
        expires = rest.partition(".")[0]
        if expires.isascii() and expires.isdigit() and len(expires) < 16:
            signed = self._sign(upload_id, owner, int(expires))
            if hmac.compare_digest(signed.token.encode(), token.encode()) and signed.expires_at > self._clock():
                return signed
        raise JobNotFound("there is no such upload URL, or it has expired")

    def _sign(self, upload_id: str, owner: str, expires: int) -> PresignedUpload:
        claims = f"{upload_id}.{owner}.{expires}"
        signature = hmac.new(self._secret, claims.encode(), hashlib.sha256).hexdigest()
        token = f"{claims}.{signature}"
        return PresignedUpload(upload_id=upload_id, owner=owner, token=token, expires_at=float(expires))


def read_secret(path: Path) -> bytes:
    """Return the server's own secret, drawn at its first start; only this user may read the file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    drawn = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    drawn.touch(mode=0o600)
    try:
        drawn.write_bytes(secrets.token_bytes(SECRET_BYTES))
        os.link(drawn, path)  # whole or not at all, and never over another's
    except FileExistsError:
        pass
    finally:
        drawn.unlink()
    return path.read_bytes()
