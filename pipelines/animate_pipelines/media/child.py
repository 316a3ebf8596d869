"""Runs a child process with bounds on memory, CPU, time and output, that never outlives us. For FFmpeg and Pillow."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

_LAUNCH = str(Path(__file__).with_name("launch.py"))
# Nothing of ours (keys, proxies, preloads) is passed on. One arena: eight of 64 MiB would count against the limit.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "MALLOC_ARENA_MAX": "1"}
_TICK_S = 0.25
_READ_BYTES = 1 << 20
_MAX_STDERR_BYTES = 1 << 18

Stopped = Literal["cpu", "wall", "stdout"]
OnTick = Callable[[bytearray], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The resources that one child may use.

    memory_bytes: address space.
    cpu_s: CPU seconds.
    wall_s: seconds of wall time.
    file_bytes: for each file that it writes.
    stdout_bytes: the most of its output that we keep.
    """

    memory_bytes: int
    cpu_s: int
    wall_s: float
    file_bytes: int = 0
    stdout_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a child.

    stderr: its head and tail where there was too much of it.
    stopped: the bound of ours that ended it; None where none did.
    """

    returncode: int
    stdout: bytearray
    stderr: str
    stopped: Stopped | None


def run_child(
    arguments: Sequence[str], bounds: Bounds, *, stdin: memoryview | None = None, on_tick: OnTick | None = None
) -> Outcome:
    """Run a program to its end within `bounds`.

    arguments: the absolute path of the program first.
    on_tick: called about four times a second with all of stdout so far. An exception from it ends the child at once and
        is raised here: that is how a render is canceled.
    """
    limits = [os.getpid(), bounds.memory_bytes, bounds.cpu_s, bounds.file_bytes]
    command = [sys.executable, "-I", "-S", _LAUNCH, *map(str, limits), *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        bufsize=0,
    )
    with _ended(process):
        talk = _Talk(process, stdin)
        stopped = talk.run(bounds, on_tick)
        if stopped is not None:
            process.kill()
        code = process.wait()
    if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
        stopped = "cpu"
    return Outcome(returncode=code, stdout=talk.stdout, stderr=talk.stderr.decode("utf-8", "replace"), stopped=stopped)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class _Talk:
    """The outputs and the input of a child, moved without one blocking another."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: memoryview | None) -> None:
        self.process = process
        self.stdin = memoryview(b"") if stdin is None else stdin.cast("B")
        self.stdout, self.stderr = bytearray(), bytearray()

    def run(self, bounds: Bounds, on_tick: OnTick | None) -> Stopped | None:
        """Move bytes until the child closes its outputs; returns the bound that was reached first, or None."""
        deadline = time.monotonic() + bounds.wall_s
        next_tick = time.monotonic() + _TICK_S
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            while selector.get_map():
                for key, _ in selector.select(_TICK_S):
                    key.data(selector, key.fileobj)
                now = time.monotonic()
                if now > deadline:
                    return "wall"
                if len(self.stdout) > bounds.stdout_bytes:
                    return "stdout"
                if on_tick is not None and now >= next_tick:
                    on_tick(self.stdout)
                    next_tick = now + _TICK_S
        return None

    def _register(self, selector: selectors.BaseSelector) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        selector.register(self.process.stdout, selectors.EVENT_READ, self._read_stdout)
        selector.register(self.process.stderr, selectors.EVENT_READ, self._read_stderr)
        if self.process.stdin is not None:
            os.set_blocking(self.process.stdin.fileno(), False)
            selector.register(self.process.stdin, selectors.EVENT_WRITE, self._write_stdin)

    def _read_stdout(self, selector: selectors.BaseSelector, stream: IO[bytes]) -> None:
        data = os.read(stream.fileno(), _READ_BYTES)
        self.stdout += data
        if not data:
            selector.unregister(stream)

    def _read_stderr(self, selector: selectors.BaseSelector, stream: IO[bytes]) -> None:
        data = os.read(stream.fileno(), _READ_BYTES)
        # The head tells what the streams are, the tail why it failed; a flood in between is let go.
        self.stderr += data
        if len(self.stderr) > 2 * _MAX_STDERR_BYTES:
            del self.stderr[_MAX_STDERR_BYTES:-_MAX_STDERR_BYTES]
        if not data:
            selector.unregister(stream)

    def _write_stdin(self, selector: selectors.BaseSelector, stream: IO[bytes]) -> None:
        try:
            written = os.write(stream.fileno(), self.stdin[:_READ_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self.stdin)
        self.stdin = self.stdin[written:]
        if not self.stdin:
            selector.unregister(stream)
            stream.close()
