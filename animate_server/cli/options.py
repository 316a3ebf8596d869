"""Options of commands, made from the table of request fields."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.fields import GROUPS, Field, Kind, defaults_of, fields_of
from animate_pipelines.request.params import RenderParams

Command = Callable[..., None]
Chosen = Callable[[str, Field], bool]
_TYPES: dict[Kind, Any] = {"switch": bool, "whole": int, "number": float}
_METAVARS: dict[Kind, str] = {
    "file": "FILE",
    "text": "TEXT",
    "size": "WIDTHxHEIGHT",
    "rate": "source|N",
    "person": "WHO",
}


def takes_fields(
    chosen: Chosen = lambda name, field: True, *, needs_inputs: bool = True
) -> Callable[[Command], Command]:
    """Give a command an option for each field of the table that is `chosen`.

    The command is called with `fields`, what was given by name; `read_options` makes JSON values of it.

    needs_inputs: whether a field that every request has must be given as an option.
    """
    table = {name: field for name, field in fields_of(RenderParams).items() if chosen(name, field)}

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [entry for entry in signature.parameters.values() if entry.name != "fields"]
        parameters = [*own, *(_option(name, field, needs_inputs) for name, field in table.items())]

        @functools.wraps(command)
        def call(**values: Any) -> None:
            given = {name: value for name in table if (value := values.pop(name)) is not None}
            command(fields=given, **values)

        # Keyword-only parameters may come in any order, required ones behind optional ones too.
        keywords = [entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in parameters]
        call.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
        call.__annotations__ = {entry.name: entry.annotation for entry in keywords}
        return call

    return decorate


def read_options(given: Mapping[str, Any], *, local_files: bool = True) -> dict[str, Any]:
    """Return options, as the command line gave them, as the JSON values of a request.

    local_files: whether inputs must be files of this machine; else they may be URLs too.
    Raises `InvalidField` for a file that is not there, and for what does not read as the field's kind.
    """
    table, defaults = fields_of(RenderParams), defaults_of(RenderParams)
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = table[name]
        if field.kind == "switch":
            values[name] = not defaults[name]
        elif field.kind == "file":
            values[name] = str(find_file(Path(value), name)) if local_files else value
        elif field.kind == "size":
            values[name] = read_size(value, name)
        elif value in map(str, field.choices):
            values[name] = next(choice for choice in field.choices if str(choice) == value)
        else:
            values[name] = int(value) if field.kind == "rate" and re.fullmatch(r"\d{1,6}", value) else value
    return values


def flag_of(name: str, field: Field) -> str:
    """Return how a field is spelled on the command line: `--max-gap`; `--no-audio` for what is on by default."""
    negated = field.kind == "switch" and defaults_of(RenderParams)[name]
    return f"--{'no-' if negated else ''}{field.option or name.replace('_', '-')}"


def find_file(path: Path, name: str) -> Path:
    """Return the absolute path of an existing file, the value of the field `name`. Raises `InvalidField`."""
    if not path.is_file():
        raise InvalidField(f"{{field}}: there is no file {path}", field=name, value=str(path))
    return path.absolute()


def read_size(text: str, field: str) -> list[int]:
    """Return [width, height] of WIDTHxHEIGHT. Raises `InvalidField`."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if not match:
        raise InvalidField(
            f"{{field}} must be WIDTHxHEIGHT, such as 1280x720, not {text!r}",
            field=field,
            value=text,
            limit="such as 1280x720",
        )
    return [int(match[1]), int(match[2])]


def _option(name: str, field: Field, needs_inputs: bool) -> inspect.Parameter:
    default = defaults_of(RenderParams).get(name)
    required = field.kind == "file" and not field.optional and needs_inputs
    option = typer.Option(
        flag_of(name, field),
        help=_help(field),
        metavar="|".join(map(str, field.choices)) or _METAVARS.get(field.kind),
        rich_help_panel=GROUPS[field.group],
        show_default=False if default is None or field.kind in ("switch", "text") else str(default),
    )
    kind: Any = _TYPES.get(field.kind, str)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind if required else kind | None, option],
    )


def _help(field: Field) -> str:
    values = f" ({field.values})" if field.kind in ("whole", "number", "size", "rate") else ""
    return f"{field.help}{values}".replace("`", "")
