from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from animate_server import supervisor as supervisor_module
from animate_server.backend import Backend
from animate_server.jobs import JobStatus
from animate_server.supervisor import Supervisor, name_of

SLEEPER = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"


class Children:
    """Spawns `script` for each device and remembers the processes."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, device: str) -> subprocess.Popen[bytes]:
        self.started.append(subprocess.Popen([sys.executable, "-c", self.script], stdout=subprocess.PIPE))
        return self.started[-1]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def children() -> Any:
    made: list[Children] = []

    def make(script: str) -> Children:
        made.append(Children(script))
        return made[-1]

    yield make
    for process in (process for child in made for process in child.started):
        assert process.poll() is not None
        assert process.stdout is not None
        process.stdout.close()


def test_a_dead_worker_is_replaced_and_its_job_given_back_at_once(
    backend: Backend, new_job: Any, children: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "TICK_S", 0.02)
    spawn = children(SLEEPER)
    job = backend.store.add(new_job())
    with Supervisor(backend=backend, devices=["cpu"], spawn=spawn, drain_s=5):
        wait_until(lambda: spawn.started)
        backend.store.claim(name_of("cpu", spawn.started[0].pid))
        spawn.started[0].kill()
        wait_until(lambda: backend.store.get(job.id).status is JobStatus.QUEUED)
        wait_until(lambda: len(spawn.started) == 2)  # after one second of back-off
    assert spawn.started[1].returncode == -signal.SIGTERM


def test_a_worker_that_cannot_be_started_is_tried_again(
    backend: Backend, children: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "TICK_S", 0.02)
    monkeypatch.setattr(supervisor_module, "AGAIN_S", 0.05)
    spawn, failures = children(SLEEPER), iter([OSError("no more processes"), None])

    def start(device: str) -> subprocess.Popen[bytes]:
        if failure := next(failures):
            raise failure
        return spawn(device)

    with Supervisor(backend=backend, devices=["cpu"], spawn=start, drain_s=5):
        wait_until(lambda: spawn.started)


def test_one_worker_a_device(backend: Backend, children: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "TICK_S", 0.02)
    spawn = children(SLEEPER)
    with Supervisor(backend=backend, devices=["cuda:0", "cuda:1"], spawn=spawn, drain_s=5):
        wait_until(lambda: len(spawn.started) == 2)
        time.sleep(0.1)
        assert len(spawn.started) == 2


@pytest.mark.parametrize("how", ["the limit", "a second signal"])
def test_a_worker_that_does_not_drain_is_killed(
    backend: Backend, children: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(supervisor_module, "TICK_S", 0.02)
    spawn = children(STUBBORN)
    drain_s = 0.2 if how == "the limit" else 60
    with Supervisor(backend=backend, devices=["cpu"], spawn=spawn, drain_s=drain_s) as crew:
        wait_until(lambda: spawn.started)
        assert spawn.started[0].stdout.read(1) == b"x"
        if how == "a second signal":
            crew.stop()
            crew.stop()
    assert spawn.started[0].returncode == -signal.SIGKILL


_PARENT = """
import os, subprocess, sys
child = "import os, sys, time; from animate_server.supervisor import die_with_parent;" \\
        "die_with_parent(int(sys.argv[1])); print(os.getpid(), flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child, str(os.getpid())], start_new_session=True).wait()
"""


def test_no_worker_outlives_a_killed_server() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: _is_gone(child))


def _is_gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True


def test_a_worker_that_starts_too_late_ends() -> None:
    late = "from animate_server.supervisor import die_with_parent; die_with_parent(1); print('still here')"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=True)
    assert done.stdout == "" or os.getppid() == 1
