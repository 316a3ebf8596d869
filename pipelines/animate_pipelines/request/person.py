"""Which person of the driving video is followed. Standard library only, as `RenderParams` is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from animate_pipelines.errors import InvalidField

MAX_PERSON = 100
_POINT = re.compile(r"(\d*\.?\d+),(\d*\.?\d+)@(\d*\.?\d+)", re.ASCII)
_LIMIT = f"largest, center, a number from 1 to {MAX_PERSON}, or X,Y@SECONDS with X and Y from 0 to 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonAt:
    """Whoever stands at (x, y), fractions of the frame, `time_s` seconds into the driving video's part that is used."""

    x: float
    y: float
    time_s: float


Person = Literal["largest", "center"] | int | PersonAt


def read_person(value: object) -> Person:
    """From a request's value: "largest", "center", 2, "2" or "0.4,0.5@1.2". Raises `InvalidField` on `person`."""
    if value == "largest" or value == "center":
        return "largest" if value == "largest" else "center"
    if isinstance(value, str):
        if match := _POINT.fullmatch(value):
            point = PersonAt(x=float(match[1]), y=float(match[2]), time_s=float(match[3]))
            if point.x <= 1 and point.y <= 1:
                return point
        elif value.isascii() and value.isdigit() and len(value) <= 3:
            value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PERSON:
        return value
    shown = value if isinstance(value, int | float) else str(value)[:80]
    raise InvalidField(f"{{field}} must be {_LIMIT}, not {shown!r}", field="person", value=shown, limit=_LIMIT)
