"""A server over a temporary home: a real store and HTTP, and a renderer that only pretends."""

from __future__ import annotations

import math
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from animate_pipelines.errors import DeviceError, NoPersonFound
from animate_pipelines.perception.detection_report import ReportFiles
from animate_pipelines.progress.progress import Progress
from animate_pipelines.request.params import INPUTS, RenderParams
from animate_server.app import create_app
from animate_server.backend import Backend, open_backend
from animate_server.jobs import NewJob
from animate_server.renderer import Renderer, RenderTask
from animate_server.settings import Settings
from animate_server.worker import Worker

KEY, OTHER_KEY = "key-of-one-studio", "key-of-another"
MP4 = struct.pack(">I4s4sI", 24, b"ftyp", b"isom", 512) + b"isommp41" + struct.pack(">I4s", 8, b"mdat") + bytes(5000)


def make_png(width: int = 64, height: int = 64) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@dataclass
class Clock:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeRenderer:
    """Does what the prompt says: `nobody`, `crash`, `device`, `endless`, `slow`; anything else gives a video."""

    bundle: dict[str, Any] = field(default_factory=lambda: {"name": "fake", "turbo_lora": None, "warning": "fake"})
    seen: list[RenderParams] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)  # beside what is always told
    given: dict[str, str] = field(default_factory=dict)  # paths of the optional inputs of the last job
    over: threading.Event = field(default_factory=threading.Event)  # the test has ended, and so does `endless`

    def __call__(self, task: RenderTask) -> dict[str, Any]:
        params, inputs, destination, report = task.params, task.inputs, task.destination, task.report
        assert all(path.stat().st_size > 0 for path in inputs.values())
        self.kinds.append(task.kind)
        self.given = {name: str(path) for name, path in inputs.items() if name not in INPUTS[:2]}
        self.seen.append(params)
        ReportFiles.beside(destination).report.write_text('{"num_frames": 90}')
        ReportFiles.beside(destination).timeline.write_bytes(make_png())
        if params.mode == "replace":
            ReportFiles.beside(destination).masks.write_bytes(make_png())
        if params.prompt == "nobody":
            raise NoPersonFound("no person in 0 of 90 frames", field="driving_video", value=0, limit="at least 1")
        if params.prompt == "crash":
            raise RuntimeError("https://secret.example/?token=hunter2")
        if params.prompt == "device":
            raise DeviceError("out of memory")
        step = 0
        steps = {"endless": math.inf, "slow": 100}.get(params.prompt, 3)
        while step < steps and not self.over.is_set():
            report(Progress(stage="render", fraction=0.5, segment=0, num_segments=1, step=step, num_steps=3))
            time.sleep(0.01)
            step += 1
        destination.write_bytes(MP4)
        safety = "not_checked" if params.safety_check else "off"
        return {"width": 64, "height": 64, "seed": params.seed, "warnings": [], "safety": safety} | self.result


@dataclass
class Served:
    """A running server. `http` has the key KEY."""

    url: str
    backend: Backend
    renderer: FakeRenderer
    http: httpx.Client

    def wait(self, job_id: str, status: str) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            job = dict(self.http.get(f"/v1/jobs/{job_id}").json())
            if job["status"] == status:
                return job
            time.sleep(0.02)
        raise AssertionError(f"the job is {job['status']}, not {status}: {job['error']}")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("ANIMATE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def png() -> bytes:
    return make_png()


@pytest.fixture
def mp4() -> bytes:
    return MP4


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    def make(**values: Any) -> Settings:
        defaults = {"home": tmp_path / "home", "api_keys": f"{KEY},{OTHER_KEY}", "min_free_disk": 0.0}
        return Settings(**defaults | values)

    return make


@pytest.fixture
def backend(make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Backend]:
    with open_backend(make_settings(), clock=clock) as opened:
        yield opened


@pytest.fixture
def new_job() -> Callable[..., NewJob]:
    numbers = iter(range(10**6))

    def make(**values: Any) -> NewJob:
        params = RenderParams(reference_image="https://example.com/a.png", driving_video="https://example.com/b.mp4")
        defaults = {"id": f"job-{next(numbers)}", "owner": "owner", "dialect": "native", "params": params}
        return NewJob(**defaults | values)

    return make


@contextmanager
def _api(backend: Backend) -> Iterator[str]:
    config = uvicorn.Config(
        create_app(backend),
        port=0,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        ws_max_size=backend.settings.max_json_bytes,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        config.app.state.closing.set()
        server.should_exit = True
        thread.join()


@contextmanager
def _crew(backend: Backend, renderer: Renderer) -> Iterator[None]:
    worker = Worker(backend, name="fake", device="cpu", load=lambda: renderer)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        while not backend.workers.ready():
            assert thread.is_alive()
            time.sleep(0.005)
        yield
    finally:
        worker.drain()
        thread.join()


@pytest.fixture
def serve(make_settings: Callable[..., Settings]) -> Callable[..., Any]:
    """Start servers with these settings. `worker=False`: an API without a worker. `real`: what renders instead."""

    @contextmanager
    def start(*, worker: bool = True, real: Renderer | None = None, **values: Any) -> Iterator[Served]:
        renderer = FakeRenderer()
        with (
            open_backend(make_settings(**values)) as backend,
            _api(backend) as url,
            httpx.Client(base_url=url, headers={"x-api-key": KEY}, timeout=20) as http,
            _crew(backend, real or renderer) if worker else nullcontext(),
        ):
            try:
                yield Served(url=url, backend=backend, renderer=renderer, http=http)
            finally:
                renderer.over.set()

    return start


@pytest.fixture
def served(serve: Callable[..., Any]) -> Iterator[Served]:
    with serve() as running:
        yield running


@pytest.fixture
def idle(serve: Callable[..., Any]) -> Iterator[Served]:
    """A server without a worker: jobs stay queued."""
    with serve(worker=False) as running:
        yield running
