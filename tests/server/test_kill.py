"""Workers that are killed at any moment, and random histories: no job is lost, none ends twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from animate_pipelines.errors import ServerError
from animate_server.backend import open_backend
from animate_server.errors import LeaseLost
from animate_server.jobs import TRANSITIONS, Artefact, Job, JobStatus
from animate_server.store import Store

_WORKER = """
import os, sys, time
from pathlib import Path
from animate_pipelines.progress.progress import Progress
from animate_server.backend import open_backend
from animate_server.settings import Settings
from animate_server.worker import Worker

class Renderer:
    bundle = {"name": "fake"}
    def __call__(self, task):
        for step in range(4):
            task.report(Progress(stage="render", fraction=step / 4, step=step, num_steps=4))
            time.sleep(0.01)
        task.destination.write_bytes(task.params.prompt.encode())
        return {"prompt": task.params.prompt}

settings = Settings(home=sys.argv[1], min_free_disk=0, lease_s=0.5, heartbeat_s=0.1, max_attempts=1000)
with open_backend(settings) as backend:
    Worker(backend, name=f"w-{os.getpid()}", device="cpu", load=Renderer).run()
"""


def _wait(until: Callable[[], object], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.renders
def test_no_job_is_lost_when_workers_are_killed(make_settings: Any, new_job: Any, png: bytes, mp4: bytes) -> None:
    rng = random.Random(7)
    with open_backend(make_settings(lease_s=0.5)) as backend:
        image = backend.uploads.save(iter([png]), "owner", field="reference_image")
        video = backend.uploads.save(iter([mp4]), "owner", field="driving_video")
        params = new_job().params
        for number in range(60):
            values = params.to_json() | {
                "reference_image": f"upload:{image.id}",
                "driving_video": f"upload:{video.id}",
                "prompt": f"job {number}",
            }
            backend.store.add(new_job(params=type(params).from_json(values)))
        command = [sys.executable, "-c", _WORKER, str(backend.settings.home)]
        for _ in range(5):
            done = backend.store.counts()[JobStatus.SUCCEEDED] + rng.randrange(4)
            with subprocess.Popen(command) as process:
                _wait(lambda done=done: backend.store.counts()[JobStatus.SUCCEEDED] > done)  # type: ignore[misc]
                _wait(lambda: backend.store.counts()[JobStatus.RUNNING])
                process.kill()
        with subprocess.Popen(command) as process:
            _wait(lambda: backend.store.counts()[JobStatus.SUCCEEDED] == 60)
            process.terminate()
        jobs = backend.store.list("owner", limit=100)
        assert len(jobs) == 60
        for job in jobs:
            assert job.status is JobStatus.SUCCEEDED
            assert job.artefact is not None
            assert backend.artefacts.path(job.artefact).read_bytes() == job.params.prompt.encode()
            assert job.result == {"prompt": job.params.prompt}
        assert sum(job.attempts for job in jobs) > 60  # some were killed in the middle


def test_random_histories_keep_to_the_transitions(tmp_path: Path, make_settings: Any, new_job: Any, clock: Any) -> None:
    rng = random.Random(11)
    with open_backend(make_settings(), clock=clock) as backend:
        store, seen, held = backend.store, dict[str, Job](), list[Job]()
        for number in range(600):
            _act(store, rng, held, new_job, number)
            clock.now += rng.choice([0, 1, 20, 40])
            for job in store.list("owner", limit=1000):
                before = seen.get(job.id)
                if before is not None and before.status is not job.status:
                    _check_way(before, job)
                seen[job.id] = job
        ended = {job.status for job in seen.values()}
    assert {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED} <= ended


def _act(store: Store, rng: random.Random, held: list[Job], new_job: Any, number: int) -> None:
    action = rng.choice(
        ["add", "claim", "claim", "renew", "finish", "fail", "retry", "release", "cancel", "ask", "lost"]
    )
    if action == "add":
        store.add(new_job())
    elif action == "claim":
        held += filter(None, [store.claim("w")])
    elif action == "lost":
        store.requeue_lost()
    elif held:
        job = rng.choice(held)
        artefact = Artefact(name=f"{number:032}.mp4", seed=5, media_type="video/mp4", size_bytes=1, sha256="0")
        acts: dict[str, Any] = {
            "renew": lambda: store.renew(job),
            "finish": lambda: store.finish(job, [artefact], {}),
            "fail": lambda: store.fail(job, ServerError()),
            "retry": lambda: store.retry(job, ServerError()),
            "release": lambda: store.release(job),
            "cancel": lambda: store.cancel(job),
            "ask": lambda: store.request_cancel(job.id, "owner"),
        }
        with suppress(LeaseLost):
            acts[action]()


def _check_way(before: Job, after: Job) -> None:
    """A job seen now and a little later may have gone two steps: lost and claimed again, or lost and canceled."""
    following = TRANSITIONS[before.status]
    two_steps = set().union(*(TRANSITIONS[status] for status in following))
    assert after.status in following | two_steps
    assert not before.status.is_final or after.status is JobStatus.EXPIRED
    assert after.token >= before.token
