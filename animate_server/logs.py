"""Log lines: one each on stderr, with the query strings of URLs taken out whoever logged them."""

from __future__ import annotations

import logging
import re

_QUERY = re.compile(r"(/[^\s?\"'<>]*)\?[^\s\"'<>]*")
_USERINFO = re.compile(r"(https?://)[^\s/@]+@")


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _USERINFO.sub(r"\1", _QUERY.sub(r"\1?...", super().format(record)))


def configure_logging(level: str) -> None:
    """Log to stderr. httpx tells every request it makes, and Alembic every migration: only their warnings are kept."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "alembic", "PIL", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
