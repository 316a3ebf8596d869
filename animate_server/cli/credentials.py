"""Which server the commands talk to, and with which key: options, then variables, then the file `login` wrote."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_SERVER = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """`key` is empty for a server without keys."""

    server: str
    key: str


def credentials_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "animate-server" / "credentials.json"


def find_credentials(server: str | None, key: str | None) -> Credentials:
    """Return server and key. A stored key goes to its own server only, never to another one."""
    stored = _read()
    server = (server or os.environ.get("ANIMATE_SERVER") or stored.get("server") or DEFAULT_SERVER).rstrip("/")
    own = stored.get("key", "") if server == stored.get("server") else ""
    return Credentials(server=server, key=key or os.environ.get("ANIMATE_API_KEY") or own)


def store_credentials(credentials: Credentials) -> Path:
    """Readable by this user only, from the moment it exists."""
    path = credentials_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"server": credentials.server, "key": credentials.key}, file)
    return partial.rename(path)


def _read() -> dict[str, str]:
    try:
        values = json.loads(credentials_path().read_text())
    except (OSError, ValueError):
        return {}
    return {name: str(value) for name, value in values.items()} if isinstance(values, dict) else {}
