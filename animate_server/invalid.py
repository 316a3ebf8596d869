"""What is wrong with a value that a schema does not take, in our words: pydantic's own never reach a caller."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from animate_pipelines.request.checks import show_value

Words = Callable[[Mapping[str, Any]], str]
_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
    "model": "an object",
    "datetime": "a date with a time",
    "url": "a URL",
}
# By pydantic's name for what is wrong: what is wanted, from the limits that come with it.
_WORDS: Mapping[str, Words] = {
    "greater_than_equal": lambda limits: f"must be at least {_plain(limits['ge'])}",
    "greater_than": lambda limits: f"must be above {_plain(limits['gt'])}",
    "less_than_equal": lambda limits: f"must be at most {_plain(limits['le'])}",
    "less_than": lambda limits: f"must be below {_plain(limits['lt'])}",
    "string_too_long": lambda limits: f"may have at most {limits['max_length']} characters",
    "string_too_short": lambda limits: _at_least(limits["min_length"], "character"),
    "too_long": lambda limits: f"may have at most {limits['max_length']} entries",
    "too_short": lambda limits: _at_least(limits["min_length"], "entry"),
    "literal_error": lambda limits: f"must be one of {_listed(limits['expected'])}",
    "enum": lambda limits: f"must be one of {_listed(limits['expected'])}",
    "string_pattern_mismatch": lambda limits: f"must have the form {limits['pattern']}",
    "finite_number": lambda limits: "must be a finite number",
    "missing": lambda limits: "is required",
    "int_from_float": lambda limits: "must be a whole number",
}
_LIMITS = ("expected", "ge", "gt", "le", "lt", "max_length", "min_length", "pattern")


def describe_invalid(first: Mapping[str, Any], known: Iterable[str] = (), *, with_value: bool = True) -> str:
    """Return what is wrong with a value, to stand behind the name of its field.

    first: one of pydantic's `errors()`.
    known: the names that would be taken beside an unknown one.
    with_value: False for values that may be secret.
    """
    kind = str(first["type"])
    if kind == "extra_forbidden":
        return _unknown(str(first["loc"][-1]), known)
    if kind == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    words = _WORDS.get(kind)
    wanted = words(first.get("ctx") or {}) if words else f"must be {_kind_of(kind)}"
    shown = show_value(first.get("input")) if with_value and kind != "missing" else ""
    return f"{wanted}, not {shown}" if shown else wanted


def limit_of(first: Mapping[str, Any]) -> Any:
    """Return the limit that a value breaks; None where there is none."""
    context = first.get("ctx") or {}
    return next((context[name] for name in _LIMITS if name in context), None)


def names_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the names that a schema takes where `path` leads: its aliases, as callers write them."""
    for step in path:
        field = next((f for name, f in model.model_fields.items() if step in (name, f.alias)), None)
        inner = _model_in(field.annotation) if field else None
        if field and inner is None:
            return []
        model = inner or model  # a number is the place in a list of models
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that names the nearest known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _unknown(name: str, known: Iterable[str]) -> str:
    listed = sorted(known)
    others = f"; there are {', '.join(listed)}" if listed else ""
    return f"is not a field here{nearest(name, listed) or others}"


def _kind_of(kind: str) -> str:
    return next((words for start, words in _KINDS.items() if kind.startswith(start)), "of another kind")


def _at_least(count: int, noun: str) -> str:
    plural = {"character": "characters", "entry": "entries"}[noun]
    return "must not be empty" if count == 1 else f"must have at least {count} {plural}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def _listed(expected: str) -> str:
    """Return the choices without the quotes and the "or" of pydantic's text."""
    return ", ".join(part.strip().strip("'") for part in expected.replace(" or ", ", ").split(","))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, in a list or an optional one too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
