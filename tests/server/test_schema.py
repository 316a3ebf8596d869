"""The OpenAPI document against the server itself: generated requests, good and bad, to every route of every dialect."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from imageio_ffmpeg import get_ffmpeg_exe
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.request.params import RenderParams
from animate_server.app import create_app
from animate_server.auth import Keyring
from animate_server.backend import Backend, open_backend
from animate_server.errors import JobNotFound
from animate_server.jobs import JobStatus, NewJob
from animate_server.settings import Settings
from animate_server.webhooks import Webhook

KEY = "key-of-one-studio"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
IDS = ("job_id", "task_id", "video_id", "request_id", "prediction_id", "execution_id", "taskId")
URLS = (
    *("reference_image", "driving_video", "image", "video", "image_url", "video_url", "299##image", "275##video"),
    *("character_uri", "reference_uri", "uri", "input_reference"),
)
PARAMS = RenderParams(reference_image="https://example.com/a.png", driving_video="https://example.com/b.mp4")


def make_video(path: Path) -> Path:
    source = ["-f", "lavfi", "-i", "color=s=64x64:r=4:d=1"]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", *source, str(path)], check=True)
    return path


class Jobs:
    """Jobs in every state, for requests that name one."""

    def __init__(self, backend: Backend) -> None:
        self._store, self._artefacts = backend.store, backend.artefacts
        self._folder = backend.settings.home
        self._video = make_video(self._folder / "real.mp4")
        self._owner = Keyring([KEY]).owner({"x-api-key": KEY})
        self._makers = itertools.cycle((self._queued, self._canceled, self._failed, self._succeeded))
        self._dialects = itertools.cycle(("native", "eachlabs", "runninghub"))

    def make(self) -> str:
        return next(self._makers)()

    def cancel_waiting(self, stopped: threading.Event) -> None:
        """No worker runs: those who wait for the end of their job get one so."""
        while not stopped.wait(0.05):
            for job in self._store.list(self._owner, status=JobStatus.QUEUED):
                if job.dialect in ("segmind", "eachlabs") or job.kind == "preflight":
                    with suppress(JobNotFound):  # deleted by a request meanwhile
                        self._store.request_cancel(job.id, self._owner)

    def _queued(self) -> str:
        webhook = Webhook(url="http://10.0.0.1/hook")  # where nobody may be called
        new = NewJob(
            id=str(uuid.uuid4()), owner=self._owner, dialect=next(self._dialects), params=PARAMS, webhooks=(webhook,)
        )
        return self._store.add(new).id

    def _canceled(self) -> str:
        return self._store.request_cancel(self._queued(), self._owner).id

    def _running(self) -> Any:
        for job in self._store.list(self._owner, status=JobStatus.QUEUED, limit=1_000):
            self._store.request_cancel(job.id, self._owner)
        while (job := self._store.claim("w")) is None:  # what waits for its end may have been canceled first
            self._queued()
        return job

    def _failed(self) -> str:
        return self._store.fail(self._running(), NoPersonFound("nobody", field="driving_video", value=0)).id

    def _succeeded(self) -> str:
        file = self._folder / f"{uuid.uuid4()}.mp4"
        shutil.copyfile(self._video, file)
        artefact = self._artefacts.publish(file, seed=5)
        result = {"width": 64, "height": 64, "duration_s": 1.0, "num_frames": 4, "warnings": ["fake"]}
        return self._store.finish(self._running(), [artefact], result).id


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema")


@pytest.fixture(scope="module")
def backend(home: Path) -> Iterator[Backend]:
    many = 10**6
    settings = Settings(
        home=home, api_keys=KEY, min_free_disk=0.0, max_queued=many, max_requests_per_minute=many, lease_s=many
    )
    with open_backend(settings) as opened:
        opened.workers.register("w", "cpu")  # so that the server is ready, and no request fails for that
        opened.workers.heartbeat("w", "ready", {"name": "fake", "turbo_lora": None})
        yield opened


@pytest.fixture(scope="module")
def jobs(backend: Backend) -> Iterator[Jobs]:
    made, stopped = Jobs(backend), threading.Event()
    thread = threading.Thread(target=made.cancel_waiting, args=(stopped,))
    thread.start()
    yield made
    stopped.set()
    thread.join()


@pytest.fixture(scope="module")
def document(backend: Backend) -> Any:
    app = create_app(backend)
    loaded = schemathesis.openapi.from_dict(app.openapi())
    loaded.app = app
    return loaded


@pytest.mark.parametrize(("examples", "min_cases"), [(3, 150), pytest.param(45, 2_000, marks=pytest.mark.requests)])
@pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.HypothesisDeprecationWarning"
)  # schemathesis draws from `random`
def test_every_route_answers_as_documented(examples: int, min_cases: int, document: Any, jobs: Jobs) -> None:
    cases = itertools.count()
    for result in document.get_all_operations():
        operation = result.ok()
        strategy = operation.as_strategy()

        @hypothesis.seed(20261120)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=strategy)
        def check(case: Any) -> None:
            number = next(cases)
            _name_what_exists(case, number, jobs)
            case.call_and_validate(headers={"x-api-key": KEY if number % 10 else "wrong"}, checks=CHECKS)

        check()
    assert next(cases) >= min_cases


def _name_what_exists(case: Any, number: int, jobs: Jobs) -> None:
    """In every second request ids, models and URLs are good ones."""
    if number % 2:
        return
    known = dict.fromkeys(URLS, PARAMS.driving_video) | {"model_id": "community/wan-2-2/animate/move"}
    named = {"path": case.path_parameters, "body": case.body}
    ids = {name: jobs.make() for name in IDS if name in str(named)}
    _fill(named, known | ids)


def _fill(value: Any, known: dict[str, str]) -> None:
    if isinstance(value, dict):
        value.update({name: known[name] for name in value.keys() & known.keys()})
        for inner in value.values():
            _fill(inner, known)
