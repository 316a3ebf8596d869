"""Checks one value against its entry in the table of fields. `InvalidField` names field, value and limit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import cast

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.fields import Field, Kind

_SHOWN_CHARS = 80
_NUMBERS = {int: "whole number", float: "number"}


def show_value(value: object) -> str:
    """Return a value as messages show it: as JSON has it, cut where it is long; of an object only its kind."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return json.dumps(value, default=str)[:_SHOWN_CHARS]
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value[:_SHOWN_CHARS]) if isinstance(value, str) else str(value)[:_SHOWN_CHARS]


def check_value(name: str, field: Field, value: object) -> None:
    """Raise `InvalidField` for a value that the field does not take."""
    if value is None and field.optional:
        return
    _CHECKS[field.kind](name, field, value)


def _check_text(name: str, field: Field, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidField(f"{{field}} must be text, not {show_value(value)}", field=name, value=value, limit="text")
    if not field.low <= len(value) <= field.high or "\0" in value:
        # Only its length is shown: a URL may hold secrets.
        limit = f"{field.low} to {field.high} characters, none of them NUL"
        raise InvalidField(
            f"{{field}} has {len(value)} characters, not {limit}", field=name, value=len(value), limit=limit
        )


def _check_choice(name: str, field: Field, value: object) -> None:
    if value not in field.choices or isinstance(value, bool):
        options = ", ".join(map(str, field.choices))
        raise InvalidField(
            f"{{field}} must be one of {options}, not {show_value(value)}", field=name, value=value, limit=options
        )


def _check_switch(name: str, field: Field, value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidField(
            f"{{field}} must be true or false, not {show_value(value)}", field=name, value=value, limit="true or false"
        )


def _check_whole(name: str, field: Field, value: object) -> None:
    _check_range(name, field, value, int)


def _check_number(name: str, field: Field, value: object) -> None:
    _check_range(name, field, value, float)


def _check_rate(name: str, field: Field, value: object) -> None:
    if value != "source":
        _check_range(name, field, value, int)


def _check_range(name: str, field: Field, value: object, kind: type) -> None:
    is_number = isinstance(value, int) or (kind is float and isinstance(value, float))
    if not is_number or isinstance(value, bool) or not field.low <= cast(float, value) <= field.high:
        limit = f"{_NUMBERS[kind]} from {_plain(field.low)} to {_plain(field.high)}"
        raise InvalidField(
            f"{{field}} must be a {limit}, not {show_value(value)}", field=name, value=value, limit=limit
        )


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


def _check_size(name: str, field: Field, value: object) -> None:
    sides = value if isinstance(value, tuple) else ()
    is_whole = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not is_whole or not all(field.low <= side <= field.high and not (field.even and side % 2) for side in sides):
        limit = f"WIDTHxHEIGHT, each {field.low} to {field.high} px" + (" and even" if field.even else "")
        raise InvalidField(
            f"{{field}} must be {limit}, not {show_value(value)}", field=name, value=str(value), limit=limit
        )


def _check_person(name: str, field: Field, value: object) -> None:
    assert field.read is not None
    field.read(value)


_CHECKS: Mapping[Kind, Callable[[str, Field, object], None]] = {
    "file": _check_text,
    "text": _check_text,
    "choice": _check_choice,
    "switch": _check_switch,
    "whole": _check_whole,
    "number": _check_number,
    "size": _check_size,
    "rate": _check_rate,
    "person": _check_person,
}
