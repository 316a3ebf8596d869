"""`RateLimit`: how many requests that cost something one key may make in a minute."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from animate_server.errors import TooManyRequests


class RateLimit:
    """A bucket of `per_minute` for each owner, refilled evenly. In memory: a restart fills it, which harms nobody."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # owner: what is left, and when that was

    def take(self, owner: str) -> None:
        """Raises `TooManyRequests`, which says when there will be one more."""
        with self._lock:
            now = self._clock()
            left, since = self._buckets.get(owner, (float(self._per_minute), now))
            left = min(self._per_minute, left + (now - since) * self._per_minute / 60)
            if left < 1:
                self._buckets[owner] = (left, now)
                raise self._refusal(left)
            self._buckets[owner] = (left - 1, now)

    def _refusal(self, left: float) -> TooManyRequests:
        wait_s = math.ceil((1 - left) * 60 / self._per_minute)
        error = TooManyRequests(f"more than {self._per_minute} requests in a minute", limit=self._per_minute)
        error.retry_after_s = wait_s
        return error
