"""`Progress`: the report of a render on its way, and the hook that may stop it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

Stage = Literal["check", "preprocess", "encode", "render", "finish"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a render. Counts are of finished things.

    fraction: of the whole job, 0 to 1.
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
        """Return the fields as JSON values."""
        return asdict(self)


class OnProgress(Protocol):
    """The callback of a render at every boundary between two pieces of work."""

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`. Raise `Canceled` to stop the render here."""


def silent(progress: Progress) -> None:
    """Ignore the progress."""
