"""`Worker`: takes one job after the other, and brings each to an end or gives it back.

Runs in a process of its own, one a device: a broken accelerator takes no API down, and a process that holds a broken
one is thrown away whole.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from animate_pipelines.errors import (
    AnimateError,
    BundleError,
    Canceled,
    DeviceError,
    RequestError,
    ServerError,
)
from animate_pipelines.media.durable import written_whole
from animate_pipelines.progress.progress import OnProgress, Progress
from animate_pipelines.request.params import RenderParams
from animate_server.backend import Backend
from animate_server.errors import LeaseLost
from animate_server.estimate import estimate_render
from animate_server.fetch import fetch
from animate_server.files import check_free_disk
from animate_server.jobs import Artefact, Job
from animate_server.references import UPLOAD
from animate_server.renderer import Load, Renderer, RenderTask
from animate_server.workers import WorkerState

log = logging.getLogger(__name__)

POLL_S = 0.2
REPORT_S = 0.25  # progress is written, and cancellation read, at most this often
CANCEL_LIMIT_S = 30.0
RETRY_PAUSE_S = 2.0


class Drained(Exception):
    """Not an error: raised through `render_video()` where the job can be resumed, because the worker is told to go."""


class Worker:
    """Renders the jobs of one device.

    on_stuck: called from the heartbeat thread when a job did not stop 30 s after it should; must end the process.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        name: str,
        device: str,
        load: Load,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._backend = backend
        self._settings = backend.settings
        self._device = device
        self._load = load
        self._on_stuck = on_stuck
        self._draining = threading.Event()
        self._left = threading.Event()
        self._state: WorkerState = "starting"
        self._bundle: dict[str, Any] | None = None
        self._job: Job | None = None
        self._resting: dict[str, float] = {}  # jobs that failed here, and until when they wait while others run
        self._policy = self._settings.address_policy

    def drain(self) -> None:
        """Take no further job; give the running one back at its next segment boundary. Safe in a signal handler."""
        self._draining.set()

    def run(self) -> None:
        """Take jobs until drained.

        Raises `BundleError` when the bundle cannot be loaded, `DeviceError` when the device fails.
        """
        self._backend.workers.register(self.name, self._device)
        heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heart.start()
        try:
            renderer = self._load()
            self._bundle, self._state = renderer.bundle, "ready"
            self._backend.workers.heartbeat(self.name, "ready", renderer.bundle)
            log.info("%s has loaded %s", self.name, renderer.bundle.get("name"))
            if renderer.bundle.get("warning"):
                log.warning("%s", renderer.bundle["warning"])
            while not self._draining.is_set():
                self._take_one(renderer)
        finally:
            self._left.set()
            heart.join()
            self._backend.workers.unregister(self.name)

    # ---------------------------------------------------------------- one job

    def _take_one(self, renderer: Renderer) -> None:
        now = time.monotonic()
        self._resting = {job_id: until for job_id, until in self._resting.items() if until > now}
        job = self._backend.store.claim(self.name, resting=self._resting.keys())
        if job is None:
            self._draining.wait(POLL_S)
            return
        log.info("job %s: attempt %d by %s", job.id, job.attempts, self.name)
        self._job, self._state = job, "busy"
        try:
            self._attempt(job, renderer)
        except LeaseLost as lost:
            log.warning("job %s: %s", job.id, lost.message)  # another worker has it: its workspace is not ours to drop
        finally:
            self._job, self._state = None, "draining" if self._draining.is_set() else "ready"

    def _attempt(self, job: Job, renderer: Renderer) -> None:
        """Run the job and store what came of it. Raises `LeaseLost`, and `DeviceError` after it is stored."""
        store = self._backend.store
        folder = self._settings.work_dir / job.id
        try:
            ended = self._render(job, renderer, folder)
        except LeaseLost:
            raise
        except Drained:
            ended = store.release(job)
        except Canceled:
            ended = store.cancel(job)
        except (RequestError, BundleError) as error:
            ended = store.fail(job, error)
        except DeviceError as error:
            store.retry(job, error)
            raise
        except AnimateError as error:
            ended = store.retry(job, error)
        except Exception as error:
            log.exception("job %s: unexpected", job.id)
            ended = store.retry(job, ServerError(f"unexpected {type(error).__name__} in the worker"))
        log.info("job %s: %s%s", job.id, ended.status, f": {ended.error.message}" if ended.error else "")
        if ended.status.is_final:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            self._resting[job.id] = time.monotonic() + RETRY_PAUSE_S  # what has just failed would fail again at once

    def _render(self, job: Job, renderer: Renderer, folder: Path) -> Job:
        report = _JobReport(self._backend, job, self._draining)
        report(Progress(stage="check", fraction=0.0))
        check_free_disk(self._settings.home, self._settings.min_free_disk)
        workspace = _take_over(folder, job.token)
        inputs = {field: self._input(job, field, workspace, report) for field in job.params.inputs}
        takes = [self._take(job, renderer, params, inputs, workspace, report) for params in report.takes()]
        self._backend.store.renew(job)  # refused here, a late attempt publishes nothing
        return self._publish(job, takes)

    def _take(
        self,
        job: Job,
        renderer: Renderer,
        params: RenderParams,
        inputs: Mapping[str, Path],
        workspace: Path,
        report: OnProgress,
    ) -> _Take:
        """Render one result, unless an earlier attempt has."""
        suffix = "png" if job.kind == "preflight" else params.output_format
        destination = workspace / f"output-{params.seed}.{suffix}"
        notes = destination.with_suffix(".json")
        if not (notes.is_file() and destination.is_file()):
            task = RenderTask(
                kind=job.kind,
                params=params,
                inputs=inputs,
                destination=destination,
                workspace=workspace / f"render-{params.seed}",
                report=report,
            )
            try:
                result = renderer(task)
            finally:
                self._backend.reports.keep(job.id, destination)
            if job.kind == "preflight":
                history = self._backend.store.recent_results()
                result |= {"estimate": estimate_render(result["plan"], renderer.bundle["name"], history)}
            with written_whole(notes) as partial:
                partial.write_text(json.dumps(result))
        return _Take(file=destination, seed=params.seed, result=json.loads(notes.read_text()))

    def _publish(self, job: Job, takes: Sequence[_Take]) -> Job:
        artefacts: list[Artefact] = []
        try:
            for take in takes:
                artefacts.append(self._backend.artefacts.publish(take.file, take.seed))
            return self._backend.store.finish(job, artefacts, takes[0].result)
        except BaseException:
            self._backend.artefacts.remove(artefacts)
            raise

    def _input(self, job: Job, field: str, workspace: Path, report: _JobReport) -> Path:
        """Return the file of an input; a URL is fetched once for all attempts."""
        reference: str = getattr(job.params, field)
        if reference.startswith(UPLOAD):
            return self._backend.uploads.path(reference.removeprefix(UPLOAD))
        path = workspace / field
        if path.is_file():
            return path
        arriving = workspace / f"{field}.{job.token}.part"
        fetch(
            reference,
            arriving,
            field=field,
            limit_bytes=min(filter(None, (self._settings.max_file_bytes, job.params.largest_bytes))),
            timeout_s=self._settings.fetch_timeout_s,
            policy=self._policy,
            on_chunk=report.pulse,
        )
        return arriving.rename(path)

    # ---------------------------------------------------------------- heartbeat thread

    def _beat(self) -> None:
        """Report that we live, and keep the lease of the job in hand, also while one step takes long."""
        stuck_since: float | None = None
        while not self._left.wait(self._settings.heartbeat_s):
            try:
                self._backend.workers.heartbeat(self.name, self._shown_state(), self._bundle)
                stuck_since = self._keep_lease(stuck_since)
            except Exception:
                log.exception("%s could not say that it lives", self.name)  # the next beat may; the lease decides

    def _shown_state(self) -> WorkerState:
        return "draining" if self._draining.is_set() else self._state

    def _keep_lease(self, stuck_since: float | None) -> float | None:
        job = self._job
        if job is None:
            return None
        try:
            stuck = self._backend.store.renew(job).cancel_requested
        except LeaseLost:
            stuck = self._job is job  # not when the job has just ended
        if not stuck:
            return None
        since = time.monotonic() if stuck_since is None else stuck_since
        if time.monotonic() - since > CANCEL_LIMIT_S:
            log.error("job %s did not stop within %g s", job.id, CANCEL_LIMIT_S)
            self._on_stuck()
        return since


def _take_over(folder: Path, token: int) -> Path:
    """Return the workspace of attempt `token`, with what the attempt before it has left.

    It is renamed, not shared: an earlier worker that was only asleep finds its files gone, and cannot mix its frames
    with ours.
    """
    mine = folder / str(token)
    earlier = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    if earlier:
        (folder / str(max(earlier))).rename(mine)
    mine.mkdir(parents=True, exist_ok=True)
    return mine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Take:
    """One rendered result of a job, not published yet."""

    file: Path
    seed: int
    result: dict[str, Any]


class _JobReport:
    """Writes progress to the store and learns from it. Raises `Canceled`, `Drained` and `LeaseLost`.

    What it is told is of one take, what it writes is of the whole job.
    """

    def __init__(self, backend: Backend, job: Job, draining: threading.Event) -> None:
        self._backend = backend
        self._job = job
        self._draining = draining
        self._last: Progress | None = None
        self._written_at = 0.0
        self._take = 0

    def takes(self) -> Iterator[RenderParams]:
        """Yield the params of each take, while what is reported is about it."""
        for take, params in enumerate(self._job.params.takes()):
            self._take = take
            yield params

    def __call__(self, progress: Progress) -> None:
        before, self._last = self._last, progress
        boundary = before is None or (progress.stage, progress.segment) != (before.stage, before.segment)
        if boundary or progress.fraction >= 1 or time.monotonic() - self._written_at >= REPORT_S:
            self._write(progress)
        # Between segments everything is in files; inside one, its work would be lost.
        if self._draining.is_set() and progress.stage != "finish" and (boundary or progress.stage != "render"):
            raise Drained

    def pulse(self) -> None:
        """Report again what was reported last: for work that has no progress of its own."""
        if self._last is not None:
            self(self._last)

    def _write(self, progress: Progress) -> None:
        self._written_at = time.monotonic()
        if self._backend.store.renew(self._job, self._of_the_job(progress)).cancel_requested:
            raise Canceled

    def _of_the_job(self, progress: Progress) -> Progress:
        number = self._job.params.num_results
        left = progress.seconds_left if self._take == number - 1 else None
        return replace(progress, fraction=(self._take + progress.fraction) / number, seconds_left=left)
