"""`animate-server settings`: every setting with its value, and where the value comes from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from animate_pipelines.errors import InvalidField
from animate_server.cli.console import print_error, print_json


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.")] = False,
) -> None:
    """Print every setting with its value and where the value comes from. Keys are counted, never shown."""
    from animate_server.settings import Settings, load_settings, source_of

    try:
        loaded = load_settings()
    except InvalidField as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None
    rows = [(name, _plain(getattr(loaded, name)), source_of(name)) for name in Settings.model_fields]
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    group = ""
    for name, value, source in rows:
        extra: Any = Settings.model_fields[name].json_schema_extra
        if extra["group"] != group:
            group = extra["group"]
            print(f"{group}")
        print(f"  {name:<26}{_text(value):<40} {source}")


def _text(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, dict):
        value = [f"{name}={entry}" for name, entry in value.items()]
    return (", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)) or "none"


def _plain(value: object) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, tuple) and any(isinstance(entry, SecretStr) for entry in value):
        return f"{len(value)} {'key' if len(value) == 1 else 'keys'}"
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, Collection) else str(value)
