from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from animate_pipelines.errors import BundleError, DeviceError
from animate_pipelines.progress.progress import Progress
from animate_pipelines.request.params import RenderParams
from animate_server import worker as worker_module
from animate_server.backend import Backend
from animate_server.jobs import Job, JobStatus, NewJob
from animate_server.logs import configure_logging
from animate_server.renderer import RenderTask
from animate_server.worker import Worker


@pytest.fixture
def stored(backend: Backend, new_job: Callable[..., NewJob], png: bytes, mp4: bytes) -> Callable[..., Job]:
    def add(**values: Any) -> Job:
        image = backend.uploads.save(iter([png]), "owner", field="reference_image", inline=True)
        video = backend.uploads.save(iter([mp4]), "owner", field="driving_video", inline=True)
        params = RenderParams(reference_image=f"upload:{image.id}", driving_video=f"upload:{video.id}", **values)
        return backend.store.add(new_job(params=params, uploads=(image.id, video.id)))

    return add


class SegmentRenderer:
    """Three segments of two steps; goes on where its workspace says. `gate` is called at each step."""

    bundle: dict[str, Any]

    def __init__(self, gate: Callable[[int, int], None]) -> None:
        self.bundle = {"name": "fake"}
        self.gate = gate
        self.rendered: list[int] = []

    def __call__(self, task: RenderTask) -> dict[str, Any]:
        workspace = task.workspace
        workspace.mkdir(parents=True, exist_ok=True)
        first = len(list(workspace.glob("segment-*")))
        for segment in range(first, 3):
            for step in range(2):
                task.report(
                    Progress(stage="render", fraction=0.1, segment=segment, num_segments=3, step=step, num_steps=2)
                )
                self.gate(segment, step)
            (workspace / f"segment-{segment}").write_bytes(b"x")
            self.rendered.append(segment)
        task.destination.write_bytes(b"video")
        return {"segments": 3}


@contextmanager
def running(backend: Backend, renderer: Any, name: str = "w") -> Iterator[Worker]:
    made = Worker(backend, name=name, device="cpu", load=lambda: renderer)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
    finally:
        made.drain()
        thread.join(10)
        assert not thread.is_alive()


def wait_for(backend: Backend, job: Job, *statuses: JobStatus) -> Job:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        now = backend.store.get(job.id)
        if now.status in statuses:
            return now
        time.sleep(0.01)
    raise AssertionError(f"{now.status} after 10 s")


def test_a_drained_worker_finishes_its_segment_and_another_goes_on(backend: Backend, stored: Any) -> None:
    reached, go = threading.Event(), threading.Event()

    def gate(segment: int, step: int) -> None:
        if (segment, step) == (1, 0):
            reached.set()
            assert go.wait(10)

    job = stored()
    first = SegmentRenderer(gate)
    with running(backend, first, "first") as worker:
        assert reached.wait(10)
        worker.drain()
        go.set()
        released = wait_for(backend, job, JobStatus.QUEUED)
    assert first.rendered == [0, 1]
    assert released.attempts == 0
    second = SegmentRenderer(lambda *_: None)
    with running(backend, second, "second"):
        done = wait_for(backend, job, JobStatus.SUCCEEDED)
    assert second.rendered == [2]
    assert done.result == {"segments": 3}
    assert done.artefact is not None
    assert backend.artefacts.path(done.artefact).read_bytes() == b"video"
    assert list(backend.settings.work_dir.iterdir()) == []


def test_several_results_of_one_job(backend: Backend, stored: Any) -> None:
    """The second take is interrupted; another worker renders no segment and no take twice."""
    reached, go = threading.Event(), threading.Event()

    def gate(segment: int, step: int) -> None:
        if len(first.rendered) == 4 and step == 0:
            reached.set()
            assert go.wait(10)

    job = stored(num_results=3, seed=7, output_format="webm")
    first = SegmentRenderer(gate)
    with running(backend, first, "first") as worker:
        assert reached.wait(10)
        assert backend.store.get(job.id).progress["fraction"] == pytest.approx((1 + 0.1) / 3)
        worker.drain()
        go.set()
        wait_for(backend, job, JobStatus.QUEUED)
    second = SegmentRenderer(lambda *_: None)
    with running(backend, second, "second"):
        done = wait_for(backend, job, JobStatus.SUCCEEDED)
    assert (first.rendered, second.rendered) == ([0, 1, 2, 0, 1], [2, 0, 1, 2])
    assert [artefact.seed for artefact in done.artefacts] == [7, 8, 9]
    assert {artefact.media_type for artefact in done.artefacts} == {"video/webm"}
    for artefact in done.artefacts:
        assert backend.artefacts.path(artefact).read_bytes() == b"video"
        assert artefact.name.endswith(".webm")
    assert len({artefact.name for artefact in done.artefacts}) == 3


class AsleepRenderer(SegmentRenderer):
    """Sets `woken` when it has left."""

    woken = threading.Event()

    def __call__(self, task: RenderTask) -> dict[str, Any]:
        try:
            return super().__call__(task)
        finally:
            self.woken.set()


def test_a_worker_that_lost_its_lease_mixes_and_publishes_nothing(backend: Backend, stored: Any, clock: Any) -> None:
    reached, go = threading.Event(), threading.Event()

    def sleep(segment: int, step: int) -> None:
        if (segment, step) == (1, 1):
            reached.set()
            assert go.wait(10)

    def wake_the_other(segment: int, step: int) -> None:
        if (segment, step) == (2, 0):
            go.set()
            assert asleep.woken.wait(10)

    job = stored()
    asleep, awake = AsleepRenderer(sleep), SegmentRenderer(wake_the_other)
    with running(backend, asleep, "asleep"):
        assert reached.wait(10)
        clock.now += 31
        with running(backend, awake, "awake"):
            done = wait_for(backend, job, JobStatus.SUCCEEDED)
    assert (asleep.rendered, awake.rendered) == ([0], [1, 2])
    assert backend.store.get(job.id) == done
    assert len(list(backend.settings.artefacts_dir.iterdir())) == 1


def test_an_unexpected_exception_is_tried_three_times_and_tells_no_secrets(
    backend: Backend, stored: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_PAUSE_S", 0.01)
    configure_logging("info")

    def gate(*_: int) -> None:
        raise RuntimeError("GET https://u:p@films.example/a.mp4?token=hunter2 broke")

    job = stored()
    with running(backend, SegmentRenderer(gate)):
        failed = wait_for(backend, job, JobStatus.FAILED)
    logging.getLogger().handlers.clear()
    assert failed.attempts == 3
    assert failed.error is not None
    assert failed.error.message == "unexpected RuntimeError in the worker (attempt 3 of 3, in stage 'render')"
    logged = capsys.readouterr().err
    assert "https://films.example/a.mp4?..." in logged
    assert "hunter2" not in logged


def test_a_job_that_failed_rests_while_others_run(
    backend: Backend, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RETRY_PAUSE_S", 3600.0)
    failures = iter([RuntimeError("once")])

    def gate(*_: int) -> None:
        for failure in failures:
            raise failure

    first, second = stored(), stored()
    with running(backend, SegmentRenderer(gate)):
        wait_for(backend, second, JobStatus.SUCCEEDED)
    assert (backend.store.get(first.id).status, backend.store.get(first.id).attempts) == (JobStatus.QUEUED, 1)


def test_a_broken_device_gives_the_job_back_and_ends_the_worker(backend: Backend, stored: Any) -> None:
    def gate(*_: int) -> None:
        raise DeviceError("out of memory")

    job = stored()
    made = Worker(backend, name="w", device="cpu", load=lambda: SegmentRenderer(gate))
    with pytest.raises(DeviceError):
        made.run()
    assert backend.store.get(job.id).status is JobStatus.QUEUED
    assert backend.workers.alive() == []


def test_a_bundle_that_cannot_be_loaded_ends_the_worker(backend: Backend) -> None:
    def load() -> Any:
        raise BundleError("broken")

    with pytest.raises(BundleError):
        Worker(backend, name="w", device="cpu", load=load).run()
    assert backend.workers.alive() == []


def test_a_refused_url_fails_the_job_at_once(backend: Backend, new_job: Any) -> None:
    params = RenderParams(reference_image="http://127.0.0.1:1/a?token=hunter2", driving_video="http://127.0.0.1:1/b")
    job = backend.store.add(new_job(params=params))
    with running(backend, SegmentRenderer(lambda *_: None)):
        failed = wait_for(backend, job, JobStatus.FAILED)
    assert failed.attempts == 1
    assert failed.error is not None
    assert (failed.error.code, failed.error.field) == ("fetch_failed", "reference_image")
    assert "hunter2" not in str(failed.error)


def test_a_job_that_does_not_stop_ends_the_process(
    make_settings: Any, stored: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CANCEL_LIMIT_S", 0.05)
    object.__setattr__(backend, "settings", make_settings(heartbeat_s=0.02))
    stuck, ended = threading.Event(), threading.Event()

    def gate(*_: int) -> None:
        stuck.set()
        assert ended.wait(10)

    job = stored()
    made = Worker(backend, name="w", device="cpu", load=lambda: SegmentRenderer(gate), on_stuck=ended.set)
    thread = threading.Thread(target=made.run)
    thread.start()
    assert stuck.wait(10)
    backend.store.request_cancel(job.id, "owner")
    assert ended.wait(10)
    wait_for(backend, job, JobStatus.CANCELED)
    made.drain()
    thread.join(10)


def test_the_sweep_deletes_what_nothing_names(backend: Backend, stored: Any, clock: Any) -> None:
    job = stored()
    with running(backend, SegmentRenderer(lambda *_: None)):
        done = wait_for(backend, job, JobStatus.SUCCEEDED)
    stray = backend.settings.work_dir / "no-such-job"
    stray.mkdir()
    backend.sweep()
    assert not stray.exists()
    assert len(list(backend.settings.uploads_dir.iterdir())) == 2
    clock.now += 8 * 24 * 3600
    backend.sweep()
    assert backend.store.get(done.id).status is JobStatus.EXPIRED
    folders = (backend.settings.uploads_dir, backend.settings.artefacts_dir)
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_an_upload_in_use_outlives_its_time(backend: Backend, stored: Any, clock: Any) -> None:
    stored()
    clock.now += 2 * 24 * 3600
    assert backend.uploads.sweep() == 0
    assert len(list(backend.settings.uploads_dir.iterdir())) == 2
