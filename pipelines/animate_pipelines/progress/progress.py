"""How a render tells where it is, and learns that it should stop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

Stage = Literal["check", "preprocess", "encode", "render", "finish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a render is. Counts are of finished things; `fraction` is of the whole job, 0 to 1.

    seconds_left: estimated from the pace of this render; None before its main stage, when there is nothing to judge by.
    """

    stage: Stage
    fraction: float
    segment: int = 0
    num_segments: int = 0
    step: int = 0
    num_steps: int = 0
    seconds_left: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class OnProgress(Protocol):
    """What a render calls at every boundary between two pieces of work."""

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`. Raise `Canceled` to stop the render here."""


def silent(progress: Progress) -> None:
    """A report for nobody."""
