"""`Stopwatch`: seconds spent in the named parts of a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


class Stopwatch:
    """Counts seconds by part.

    parts: the names; a part that was never entered has 0.0 in `seconds`.

    Time in a part inside another counts for the inner one alone.
    """

    def __init__(self, parts: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted = 0.0
        self.seconds = dict.fromkeys(parts, 0.0)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time inside this context as spent in `part`."""
        began, before = self._clock(), self._counted
        try:
            yield
        finally:
            spent = self._clock() - began
            self.seconds[part] += spent - (self._counted - before)
            self._counted = before + spent
