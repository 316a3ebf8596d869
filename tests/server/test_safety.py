"""A refused picture in the words of each interface, and what becomes of a check where there is no checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from animate_pipelines.errors import ContentRefused
from animate_server.app import create_app
from animate_server.backend import Backend
from animate_server.dialects import load_dialects
from animate_server.jobs import NewJob
from animate_server.ports.callers import Caller

INPUTS = {"image": "https://example.com/a.png", "video": "https://example.com/b.mp4"}
BLOCKED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "native": lambda shown: (shown["error"]["code"], shown["error"]["field"]),
    "segmind": lambda shown: (shown["status"], shown["error"]),
    "openai": lambda shown: (shown["status"], shown["error"]["code"]),
    "runway": lambda shown: (shown["status"], shown["failureCode"]),
    "eachlabs": lambda shown: (shown["status"], shown["output"]["classification"]["category"]),
    "runcomfy": lambda shown: (shown["status"], shown["error"]),
    "runninghub": lambda shown: (shown["status"], shown["errorCode"]),
    "runware": lambda shown: (shown["errors"][0]["status"], shown["errors"][0]["code"]),
}
EXPECTED = {
    "native": ("content_refused", "output"),
    "segmind": ("FAILED", "nsfw in output"),
    "openai": ("failed", "moderation_blocked"),
    "runway": ("FAILED", "SAFETY.OUTPUT.VIDEO"),
    "eachlabs": ("error", "content_policy"),
    "runcomfy": ("failed", "nsfw in output"),
    "runninghub": ("FAILED", "1501"),
    "runware": ("error", "invalidContent"),
}


def test_a_refused_picture_in_each_dialect(backend: Backend, new_job: Callable[..., NewJob]) -> None:
    backend.store.add(new_job())
    running = backend.store.claim("w")
    assert running is not None
    job = backend.store.fail(running, ContentRefused("nsfw in output", field="output", value=0.9, limit=0.5))
    files, caller = create_app(backend).state.ports.files, Caller(owner=job.owner, base_url="http://x")
    shown = {d.name: d.render(job, files, caller) for d in load_dialects(backend.settings.dialects)}
    assert {name: read(shown[name]) for name, read in BLOCKED.items()} == EXPECTED
    assert shown.keys() == EXPECTED.keys()


@pytest.mark.parametrize(("unchecked", "disable", "status"), [("refuse", False, 400), ("refuse", True, 200)])
def test_a_server_may_refuse_what_it_cannot_check(serve: Any, unchecked: str, disable: bool, status: int) -> None:
    with serve(when_no_safety_checker=unchecked) as served:
        served.backend.workers.heartbeat("fake", "ready", {"name": "fake", "turbo_lora": None, "safety_checker": False})
        answer = served.http.post("/segmind/v2/p-video-animate", json=INPUTS | {"disable_safety_checker": disable})
        assert answer.status_code == status
        if status == 400:
            assert answer.json()["error"].startswith("safety_check: the bundle fake has no safety checker")
