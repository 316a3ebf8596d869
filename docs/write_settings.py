"""Writes settings.md: every setting of the server, from `animate_server/settings.py`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from animate_server.settings import RENAMED, Settings, variable_of

PAGE = Path(__file__).with_name("settings.md")
_HEAD = """\
# Every setting

Written by `make docs`. A setting is an environment variable, or the same name in lower case and without `ANIMATE_` in
the TOML file that `ANIMATE_CONFIG` names; the variable wins, and an option of `serve` wins over both. `animate-server
settings` prints those in force and where each comes from. A variable of another name stops the start.
"""


def write_page() -> str:
    """Return the page."""
    schema: dict[str, Any] = Settings.model_json_schema(mode="serialization")["properties"]
    groups = itertools.groupby(schema.items(), key=lambda entry: entry[1]["group"])
    parts = [_HEAD, *("\n".join([f"## {group}\n", *_COLUMNS, *map(_row, rows), ""]) for group, rows in groups)]
    renamed = ", ".join(f"`{variable_of(old)}` is now `{variable_of(new)}`" for old, new in RENAMED.items())
    return "\n".join([*parts, f"Former names stop the start and say the new one: {renamed}.\n"])


def _row(entry: tuple[str, dict[str, Any]]) -> str:
    name, field = entry
    unit = f" {field['unit']}" if field["unit"] else ""
    return f"| `{variable_of(name)}` | {', '.join(_values(field))} | {_default(field)}{unit} | {field['description']} |"


def _values(field: dict[str, Any]) -> Iterator[str]:
    if "enum" in field:
        yield ", ".join(f"`{value}`" for value in field["enum"])
        return
    kinds = [choice.get("type") for choice in field.get("anyOf", [field])]
    yield " or ".join(_KINDS[kind] for kind in kinds if kind != "null")
    for word, key in _BOUNDS:
        bound = next((choice[key] for choice in field.get("anyOf", [field]) if key in choice), None)
        if bound is not None:
            yield f"{word} {bound:g}"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default in (None, "", [], {}):
        return "none"
    return f"`{','.join(default) if isinstance(default, list) else default}`"


_BOUNDS = (("above", "exclusiveMinimum"), ("from", "minimum"), ("below", "exclusiveMaximum"), ("to", "maximum"))
_COLUMNS = ("| variable | values | default | meaning |", "|---|---|---|---|")
_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "list of pairs",
}

if __name__ == "__main__":
    PAGE.write_text(write_page())
