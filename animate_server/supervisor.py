"""`Supervisor`: one worker process a device, started again when it dies, and none left behind."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from animate_pipelines.errors import InvalidField
from animate_server.backend import Backend

log = logging.getLogger(__name__)

TICK_S = 0.2
MAX_BACK_OFF_S = 60.0
AGAIN_S = 5.0
STABLE_S = 60.0  # a worker that lived this long starts afresh without delay

Spawn = Callable[[str], subprocess.Popen[bytes]]


@dataclass(slots=True, kw_only=True)
class _Post:
    """A device and the process that serves it now. Times are of the monotonic clock."""

    device: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Use it as a context. `spawn` starts the worker of a device.

    One thread does everything: the kernel ties a child's death signal to the thread that started it, so this thread
    must be the last to go.
    """

    backend: Backend
    devices: Sequence[str]
    spawn: Spawn
    drain_s: float
    _stopping: threading.Event = field(default_factory=threading.Event)
    _killing: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Supervisor:
        self._thread = threading.Thread(target=self._watch, name="supervisor")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drain the workers, and kill those that take longer than `drain_s`."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def stop(self) -> None:
        """Begin to drain; the second time, kill. Safe in a signal handler."""
        (self._killing if self._stopping.is_set() else self._stopping).set()

    def _watch(self) -> None:
        posts = [_Post(device=device) for device in self.devices]
        while not self._stopping.wait(TICK_S):
            for post in posts:
                try:
                    self._look_after(post)
                except Exception:  # an outer wall: this thread must not end, its workers would end with it
                    log.exception("the worker on %s could not be looked after; again in %g s", post.device, AGAIN_S)
                    post.start_at = time.monotonic() + AGAIN_S
        self._drain([post.process for post in posts if post.process is not None])

    def _look_after(self, post: _Post) -> None:
        now = time.monotonic()
        if post.process is None:
            if now >= post.start_at:
                post.process, post.started_at = self.spawn(post.device), now
            return
        code = post.process.poll()
        if code is None:
            self._kill_silent(post.process, post.device, now - post.started_at)
            return
        self._give_back(post.process, post.device)
        post.failures = 0 if now - post.started_at > STABLE_S else post.failures + 1
        delay = 0.0 if post.failures == 0 else min(2.0 ** (post.failures - 1), MAX_BACK_OFF_S)
        log.warning("the worker on %s ended with %d; the next starts in %g s", post.device, code, delay)
        post.process, post.start_at = None, now + delay

    def _kill_silent(self, process: subprocess.Popen[bytes], device: str, age_s: float) -> None:
        """Kill a worker whose heartbeat has stopped: it may hold the device for ever."""
        silent_s = self.backend.settings.lease_s
        if age_s < 2 * silent_s:
            return  # it may still be importing
        if not any(worker.name == name_of(device, process.pid) for worker in self.backend.workers.alive()):
            log.error("the worker on %s has been silent for %g s: killed", device, silent_s)
            process.kill()

    def _give_back(self, process: subprocess.Popen[bytes], device: str) -> None:
        name = name_of(device, process.pid)
        self.backend.workers.unregister(name)
        for job in self.backend.store.requeue_lost(worker=name):
            log.warning("job %s: its worker died; now %s", job.id, job.status)

    def _drain(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.drain_s
        while any(process.poll() is None for process in processes):
            if time.monotonic() > deadline or self._killing.wait(TICK_S / 4):
                break
        for process in processes:
            if process.poll() is None:
                log.error("worker %d did not finish its segment in time: killed", process.pid)
                process.kill()
            process.wait()


def spawn_worker(settings_env: dict[str, str], device: str) -> subprocess.Popen[bytes]:
    """Start a worker in its own process group: Ctrl-C in the terminal reaches only us, and we forward it."""
    command = [sys.executable, "-m", "animate_server", "worker", "--device", device, "--parent", str(os.getpid())]
    return subprocess.Popen(command, env=os.environ | settings_env, start_new_session=True)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends, even by SIGKILL. Linux only."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(0)


def name_of(device: str, pid: int) -> str:
    """Return a worker's name, unique among those that share a database on one machine."""
    return f"{device}-{pid}"


def find_devices(wanted: Sequence[str]) -> list[str]:
    """Return the devices: for `auto` every GPU, or the CPU where there is none or torch is built without.

    torch is not imported.
    Raises `InvalidField` for a device that is named and not there.
    """
    gpus = _list_gpus()
    if list(wanted) == ["auto"]:
        return gpus or ["cpu"]
    for name in wanted:
        if name not in ("cpu", *gpus) and not (name == "cuda" and gpus):
            there = ", ".join(["cpu", *gpus])
            message = f"there is no device {name!r} here; there are {there}" if gpus else _no_gpu(name)
            raise InvalidField(message, field="device", value=name, limit=there)
    return list(wanted)


def _list_gpus() -> list[str]:
    if importlib.metadata.version("torch").endswith("+cpu"):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([entry for entry in visible.split(",") if entry.strip() not in ("", "-1")])
    else:
        count = len(list(Path("/dev").glob("nvidia[0-9]*")))
    return [f"cuda:{index}" for index in range(count)]


def _no_gpu(name: str) -> str:
    """Return why a device is not there on a machine without GPUs that can be used."""
    if importlib.metadata.version("torch").endswith("+cpu"):
        reason = "torch is built without CUDA"
    else:
        reason = "no GPU is seen: /dev/nvidia* is missing, or CUDA_VISIBLE_DEVICES hides all"
    return f"there is no device {name!r} here, only cpu: {reason}"
