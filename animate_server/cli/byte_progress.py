"""Progress of work measured in bytes: a bar with rate and time left, plain lines in a pipe, JSON for machines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from animate_server.cli.console import PLAIN_LINE_S, print_json

OnBytes = Callable[[int], None]
_UNITS = ("B", "kB", "MB", "GB", "TB")


@contextmanager
def byte_progress(title: str, total_bytes: int, *, as_json: bool = False) -> Iterator[OnBytes]:
    """Yield a function to call with the bytes just processed; it shows them on stderr or as JSON on stdout."""
    if not as_json and sys.stderr.isatty():
        with _bar(title, total_bytes) as on_bytes:
            yield on_bytes
        return
    lines = _Lines(title, total_bytes, as_json=as_json)
    yield lines
    lines.show()


class _Lines:
    """A line every ten seconds, and one at the end."""

    def __init__(
        self, title: str, total_bytes: int, *, as_json: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._title, self._total, self._as_json, self._clock = title, total_bytes, as_json, clock
        self._done = 0
        self._started = self._shown_at = clock()

    def __call__(self, num_bytes: int) -> None:
        self._done += num_bytes
        if self._clock() - self._shown_at >= PLAIN_LINE_S:
            self.show()

    def show(self) -> None:
        """Say how far it is."""
        self._shown_at = self._clock()
        seconds = max(self._shown_at - self._started, 1e-9)
        rate = self._done / seconds
        left = (self._total - self._done) / rate if rate else None
        if self._as_json:
            values = {"done_bytes": self._done, "total_bytes": self._total, "bytes_per_s": round(rate)}
            print_json({"status": "running", "task": self._title, "progress": values | {"seconds_left": left}})
            return
        after = f", {left:.0f} s left" if left is not None and self._done < self._total else ""
        line = f"{self._title}: {size(self._done)} of {size(self._total)}, {size(rate)}/s{after}"
        print(line, file=sys.stderr, flush=True)


@contextmanager
def _bar(title: str, total_bytes: int) -> Iterator[OnBytes]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda num_bytes: bar.advance(task, num_bytes)


def size(num_bytes: float) -> str:
    """Such as `34.6 GB`, in powers of 1000 as hubs and disks count."""
    for unit in _UNITS:
        if num_bytes < 1000 or unit == _UNITS[-1]:
            break
        num_bytes /= 1000
    return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
