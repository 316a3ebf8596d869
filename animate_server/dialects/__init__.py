"""The interfaces that are served, one module each: whatever lies in this folder is a `Dialect`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:  # the settings, which every command reads, need only the names
    from animate_server.dialect import Dialect

DIALECT_NAMES = tuple(module.name for module in iter_modules(__path__))


def load_dialects(names: Sequence[str] = DIALECT_NAMES) -> list[Dialect]:
    """Load dialects by name, and return those with the longest prefix first: one prefix may lie below another."""
    dialects = [cast("Dialect", import_module(f"{__name__}.{name}").dialect) for name in names]
    return sorted(dialects, key=lambda dialect: len(dialect.prefix), reverse=True)
