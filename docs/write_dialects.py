"""Writes the generated part of dialects.md: how a client is pointed here, and every field of every interface.

The lines for clients are those that the tests in tests/clients run; the fields are those of the dialects' schemas.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from animate_server.dialect import Dialect
from animate_server.dialects import load_dialects
from animate_server.fields import show_schema

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/dialects.md"
BEGIN, END = "<!-- written by `make docs` -->\n", "<!-- end of what `make docs` writes -->\n"
_SNIPPET = re.compile(r"^ *(?:#|//) docs: (\w+), (.+)\n((?:.*\n)*?) *(?:#|//) end$", re.MULTILINE)
_LANGUAGES = {".py": "python", ".cjs": "js"}


def write_page(page: str) -> str:
    """Return `page` with its generated part made anew."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    snippets = list(_snippets())
    parts = [part for dialect in load_dialects() for part in _section(dialect, snippets)]
    return before + BEGIN + "\n" + "\n".join(parts) + "\n" + END + after


def _snippets() -> Iterator[tuple[str, str, str]]:
    """Yield dialect, client, and the lines as a code block."""
    for file in sorted((ROOT / "tests/clients").glob("*.*")):
        for dialect, client, lines in _SNIPPET.findall(file.read_text() if file.suffix in _LANGUAGES else ""):
            yield dialect, client, f"```{_LANGUAGES[file.suffix]}\n{textwrap.dedent(lines)}```\n"


def _section(dialect: Dialect, snippets: list[tuple[str, str, str]]) -> Iterator[str]:
    yield f"## {dialect.name}\n"
    yield " ".join([f"Under `{dialect.prefix}`.", *dialect.notes]) + "\n"
    for named, client, block in snippets:
        if named == dialect.name:
            yield f"{client}:\n\n{block}"
    for title, model in dialect.schemas.items():
        yield f"`{title}`:\n\n| field | values | what it does |\n|---|---|---|"
        inside = "input." if title.startswith("input of") else ""
        yield "\n".join(_rows(model, dialect, inside)) + "\n"


def _rows(model: type[BaseModel], dialect: Dialect, inside: str) -> Iterator[str]:
    schema = show_schema(model)
    for name, field in schema["properties"].items():
        reason = dialect.ignored.get(inside + name)
        does = f"taken and ignored: {reason}" if reason else field.get("description", "")
        required = "required" if name in schema.get("required", ()) else _default(field)
        values = ", ".join(part for part in (_values(field), required) if part)
        yield f"| `{name}` | {values.replace('|', chr(92) + '|')} | {does} |"


def _values(field: dict[str, Any]) -> str:
    """Return what a field may be, in few words: `integer 1 to 4`."""
    if "anyOf" in field and "type" not in field:
        return " or ".join(dict.fromkeys(_values(choice) for choice in field["anyOf"] if choice.get("type") != "null"))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    low, high = (field.get(name) for name in ("minimum", "maximum"))
    bounds = "" if low is None or high is None else f" {low:g} to {high}"
    return f"{field.get('type', '')}{bounds}"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None or default == "" else f"default `{default}`"


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text()))
