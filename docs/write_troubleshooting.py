"""Writes the table of troubleshooting.md: every error code, from the classes of errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from animate_pipelines.errors import AnimateError
from animate_server.cli import hub as _hub  # noqa: F401 -- its error belongs to the list
from animate_server.cli.console import exit_code
from animate_server.errors import http_status

PAGE = Path(__file__).with_name("troubleshooting.md")
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end of what `make docs` writes -->\n"
_COLUMNS = "| code | what it means | HTTP | exit |\n|---|---|---|---|\n"


def write_page(page: str) -> str:
    """Return `page` with its table made anew."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + _COLUMNS + "".join(_rows()) + END + rest.partition(END)[2]


def list_codes() -> dict[str, type[AnimateError]]:
    """Return the class of each code: of several, the most general one."""
    codes: dict[str, type[AnimateError]] = {}
    for error in _below(AnimateError):
        codes.setdefault(error.code, error)
    return codes


def _below(error: type[AnimateError]) -> Iterator[type[AnimateError]]:
    for kind in error.__subclasses__():
        yield kind
        yield from _below(kind)


def _rows() -> Iterator[str]:
    for code, error in sorted(list_codes().items()):
        meaning = inspect.cleandoc(error.__doc__ or "").splitlines()[0]
        yield f"| [`{code}`](#{code}) | {meaning} | {http_status(error())} | {exit_code(error())} |\n"


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text()))
