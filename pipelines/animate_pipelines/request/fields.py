"""`Field`: what one entry of the table of request fields says. The table itself is the class body of `RenderParams`.

Checks, the schema of `/v1`, the options of the command line, `docs/options.md` and the preprocess cache's key are read
off it. Standard library only, as all of this package.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["file", "text", "choice", "switch", "whole", "number", "size", "rate", "person"]
Group = Literal["source", "following", "sampling", "output", "job"]
FileKind = Literal["image", "video", "audio", "keypoints"]
GROUPS: Mapping[Group, str] = {
    "source": "Inputs",
    "following": "Who is followed, and how",
    "sampling": "How it is generated",
    "output": "The result",
    "job": "The job",
}
MAX_FILE_CHARS = 8_192
_METADATA = "field"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a request.

    kind: decides how a value is checked, and how it is read from text.
    help: one or two sentences.
    choices: what a choice may be.
    low, high: bounds, both included: of a number, of the length of a text, of a side of a size.
    unit: of a number.
    even: whether the sides of a size must be.
    optional: whether None is a value.
    tasks: those that take it; empty: all. Given to another task it is refused by name.
    required_by: the tasks that cannot do without; a field without a default is required by all.
    file: what kind of file an input is.
    read: reads a value that has a syntax of its own; raises `InvalidField`.
    option: its name on the command line, where that is not the field's; without dashes.
    finds: whether it decides what the networks find in the driving video, and so what may be taken from the cache.
    preflight: whether a preflight by itself takes it.
    """

    kind: Kind
    group: Group
    help: str
    choices: tuple[str | int, ...] = ()
    low: float = 0
    high: float = 0
    unit: str = ""
    even: bool = False
    optional: bool = False
    tasks: tuple[str, ...] = ()
    required_by: tuple[str, ...] = ()
    file: FileKind | None = None
    read: Callable[[object], object] | None = None
    option: str = ""
    finds: bool = False
    preflight: bool = False

    @property
    def values(self) -> str:
        """Return what a value may be, in few words: `whole number, 1 to 100`."""
        bounds = f"{_plain(self.low)} to {_plain(self.high)}{' ' + self.unit if self.unit else ''}"
        return {
            "file": f"{self.file}",
            "text": f"text, at most {self.high:g} characters",
            "choice": ", ".join(f"`{choice}`" for choice in self.choices),
            "switch": "yes or no",
            "whole": f"whole number, {bounds}",
            "number": f"number, {bounds}",
            "size": f"WIDTHxHEIGHT, each {bounds}{' and even' if self.even else ''}",
            "rate": f"`source`, or {bounds}",
            "person": "`largest`, `center`, a number from 1, or X,Y@SECONDS",
        }[self.kind]


def _plain(value: float) -> str:
    """Return a number without an exponent, and without decimals where it has none."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def fields_of(params: type) -> dict[str, Field]:
    """Return the table that is the body of a dataclass, by name and in its order."""
    return {entry.name: entry.metadata[_METADATA] for entry in dataclasses.fields(params)}


def defaults_of(params: type) -> dict[str, Any]:
    """Return the default of each field that has a fixed one."""
    found = {entry.name: entry.default for entry in dataclasses.fields(params)}
    return {name: value for name, value in found.items() if value is not dataclasses.MISSING}


# --------------------------------------------------------------------------- entries of the table


def file(kind: FileKind, *, help: str, optional: bool = True, **rest: Any) -> Any:
    """Return an input: where a file is, as a URL, `upload:ID` or a path."""
    field = Field(
        kind="file", group="source", help=help, file=kind, low=1, high=MAX_FILE_CHARS, optional=optional, **rest
    )
    return _entry(field, default=None) if optional else _entry(field)


def text(default: str, *, high: int, **rest: Any) -> Any:
    """Return a text of at most `high` characters."""
    return _entry(Field(kind="text", high=high, **rest), default=default)


def choice(default: str | int, choices: tuple[Any, ...], **rest: Any) -> Any:
    """Return one of several values."""
    return _entry(Field(kind="choice", choices=choices, **rest), default=default)


def switch(default: bool, **rest: Any) -> Any:
    """Return a yes or no."""
    return _entry(Field(kind="switch", **rest), default=default)


def whole(default: int | Callable[[], int] | None, low: int, high: int, **rest: Any) -> Any:
    """Return a whole number; a default of None makes it optional, a function draws one."""
    field = Field(kind="whole", low=low, high=high, optional=default is None, **rest)
    return _entry(field, default_factory=default) if callable(default) else _entry(field, default=default)


def number(default: float | None, low: float, high: float, **rest: Any) -> Any:
    """Return a number; a default of None makes it optional."""
    return _entry(Field(kind="number", low=low, high=high, optional=default is None, **rest), default=default)


def size(low: int, high: int, **rest: Any) -> Any:
    """Return a (width, height) that may be left out."""
    return _entry(Field(kind="size", low=low, high=high, unit="px", optional=True, **rest), default=None)


def rate(high: int, **rest: Any) -> Any:
    """Return a frame rate: the source's own, or a whole number."""
    return _entry(Field(kind="rate", low=1, high=high, unit="fps", **rest), default="source")


def person(read: Callable[[object], object], **rest: Any) -> Any:
    """Return who is meant among several, as `read` takes it."""
    return _entry(Field(kind="person", read=read, **rest), default="largest")


def _entry(field: Field, **default: Any) -> Any:
    return dataclasses.field(metadata={_METADATA: field}, **default)
