"""Writes options.md: every field of a request, from the table in `animate_pipelines/request/params.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from animate_pipelines.request.fields import GROUPS, Field, defaults_of, fields_of
from animate_pipelines.request.params import RenderParams
from animate_server.cli.options import flag_of

_COLUMNS = ("| field | option | values | tasks | what it does |", "|---|---|---|---|---|")
PAGE = Path(__file__).with_name("options.md")
_HEAD = """\
# Every field of a request

Written by `make docs` from the one table of fields. The name is that of JSON (`POST /v1/jobs`, `--input`), the option
that of `animate-server render` and `run`; `preflight` has those marked with a dot. A field that the task does not take
is refused by name.
"""


def write_page(params: type = RenderParams) -> str:
    """Return the page."""
    table, defaults = fields_of(params), defaults_of(params)
    parts = [_HEAD]
    for group, title in GROUPS.items():
        rows = [_row(name, field, defaults.get(name)) for name, field in table.items() if field.group == group]
        parts.append("\n".join([f"## {title}\n", *_COLUMNS, *rows, ""]))
    return "\n".join(parts)


def _row(name: str, field: Field, default: Any) -> str:
    option = f"`{flag_of(name, field)}`{' •' if field.preflight else ''}"
    cells = [f"`{name}`", option, ", ".join(_values(field, default)), ", ".join(field.tasks) or "all", field.help]
    return f"| {' | '.join(cells)} |"


def _values(field: Field, default: Any) -> Iterator[str]:
    yield field.values
    if field.required_by or (field.kind == "file" and not field.optional):
        yield "required"
    elif field.kind == "switch":
        yield f"default {'yes' if default else 'no'}"
    elif default is not None and field.kind != "text":
        yield f"default `{default}`"


if __name__ == "__main__":
    PAGE.write_text(write_page())
