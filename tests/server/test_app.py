from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from animate_pipelines.errors import AnimateError
from animate_pipelines.request.params import RenderParams
from animate_server.addresses import AddressPolicy, check_url
from animate_server.auth import Keyring
from animate_server.dialects import native
from animate_server.dialects.native.schema import JobRequest
from animate_server.jobs import NewJob
from animate_server.logs import configure_logging


def test_the_http_side_imports_no_torch() -> None:
    script = (
        "import sys, animate_server.app, animate_server.serving, animate_server.cli;"
        "print([n for n in ('torch', 'numpy', 'cv2', 'PIL', 'diffusers', 'transformers', 'onnxruntime', 'alembic')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_health(serve: Any) -> None:
    with serve(worker=False) as idle:
        assert httpx.get(f"{idle.url}/health/live").json()["status"] == "live"
        assert httpx.get(f"{idle.url}/health/ready").status_code == 503
    with serve() as served:
        ready = httpx.get(f"{served.url}/health/ready")
        assert ready.status_code == 200
        assert ready.json()["workers"] == [
            {"name": "fake", "device": "cpu", "state": "ready", "bundle": "fake", "warning": "fake"}
        ]


def test_metrics(served: Any, png: bytes, mp4: bytes) -> None:
    job = served.http.post("/v1/jobs", files={"reference_image": png, "driving_video": mp4}).json()
    done = served.wait(job["id"], "succeeded")
    text = httpx.get(f"{served.url}/metrics").text
    for line in (
        'animate_jobs{status="succeeded"} 1.0',
        'animate_jobs_ended_total{status="succeeded"} 1.0',
        'animate_job_run_seconds_count{status="succeeded"} 1.0',
        "animate_queue_depth 0.0",
        'animate_worker_up{device="cpu",worker="fake"} 1.0',
    ):
        assert line in text
    assert done["artefact"]["url"].rpartition("/")[2] not in text


def test_keys(idle: Any) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"authorization": "Basic abc"}):
        answer = httpx.get(f"{idle.url}/v1/jobs", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "not_authorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    for headers in ({"x-api-key": "key-of-another"}, {"authorization": "bearer key-of-another"}):
        assert httpx.get(f"{idle.url}/v1/jobs", headers=headers).status_code == 200


def test_without_keys_everybody_is_one_owner(serve: Any) -> None:
    with serve(worker=False, api_keys="") as idle:
        assert httpx.get(f"{idle.url}/v1/jobs").status_code == 200


def test_no_key_is_stored(idle: Any) -> None:
    idle.http.post("/v1/jobs", json={"reference_image": "https://a.example/", "driving_video": "https://b.example/"})
    home = idle.backend.settings.home
    assert not any(b"key-of-one-studio" in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_secrets_reach_no_answer_log_or_metric(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug")
    secret = "http://127.0.0.1:1/a.mp4?X-Amz-Signature=hunter2"
    inputs = {"reference_image": secret, "driving_video": secret}
    answers = [served.http.post("/v1/jobs", json=inputs), served.http.get("/v1/jobs", params={"token": "hunter2"})]
    with served.http.stream("GET", "/v1/jobs?token=hunter2") as answer:
        answer.read()
        answers.append(answer)
    answers.append(served.http.post("/v1/jobs", json=inputs | {"driving_video": secret + "\n"}))
    answers.append(served.http.post("/v1/jobs", json=inputs | {"driving_video": secret + "x" * 9000}))
    allowed = AddressPolicy.of(["127.0.0.1"])
    params = RenderParams(reference_image=secret, driving_video=secret)
    job = served.backend.store.add(NewJob(id="job", owner=Keyring([]).owner({}), dialect="native", params=params))
    while not (failed := served.backend.store.get(job.id)).status.is_final:
        time.sleep(0.02)
    with pytest.raises(AnimateError) as refused:
        check_url(secret + "\\", allowed)
    said = [answer.text for answer in answers] + [str(failed.error), str(refused.value.to_json())]
    said += [httpx.get(f"{served.url}/metrics").text, capsys.readouterr().err]
    logging.getLogger().handlers.clear()
    assert "job job: failed" in said[-1]
    assert not [text for text in said if "hunter2" in text]


def test_unknown_paths_and_methods_speak_the_dialect(idle: Any) -> None:
    native_answer = idle.http.get("/v1/nothing")
    assert (native_answer.status_code, native_answer.json()["error"]["code"]) == (404, "not_found")
    assert idle.http.put("/v1/jobs").status_code == 405
    theirs = idle.http.post("/segmind/v2/another-model", json={})
    assert (theirs.status_code, set(theirs.json())) == (404, {"error"})
    wrong = idle.http.get("/v1/jobs", params={"limit": 1000})
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "limit")


def test_no_path_reaches_the_disk(idle: Any) -> None:
    for name in ("../../etc/passwd", "%2e%2e%2fanimate.sqlite3", "a" * 300, "%00", "x" * 32 + ".mp4"):
        for folder in ("files", "files/uploads", "v1/jobs", "segmind/v2/requests"):
            assert idle.http.get(f"/{folder}/{name}").status_code == 404


def test_what_was_not_foreseen_is_a_500_that_tells_nothing(idle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(idle.backend.store, "list", broken)
    answer = idle.http.get("/v1/jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_failed")
    assert "hunter2" not in answer.text


def _properties(openapi: dict[str, Any], path: str, media_type: str = "application/json") -> dict[str, Any]:
    body = openapi["paths"][path]["post"]["requestBody"]
    return dict(body["content"][media_type]["schema"]["properties"])


def _bounds(schema: dict[str, Any]) -> set[str]:
    inner = [_bounds(choice) for choice in schema.get("anyOf", [])]
    return set(schema).union(*inner)


def test_every_field_is_documented_with_its_limits(idle: Any) -> None:
    openapi = httpx.get(f"{idle.url}/openapi.json").json()
    bounded = {"enum", "const", "maximum", "maxLength", "pattern"}
    for path in ("/v1/jobs", "/segmind/v2/p-video-animate", "/segmind/v1/p-video-animate"):
        for name, schema in _properties(openapi, path).items():
            kinds = {schema.get("type")} | {choice.get("type") for choice in schema.get("anyOf", [])}
            assert "boolean" in kinds or name in ("image", "video", "webhook") or _bounds(schema) & bounded, (
                path,
                name,
            )
            assert schema.get("description") or "enum" in schema, (path, name)
    own = {*RenderParams.__dataclass_fields__, "webhook", "aspect_ratio"}
    assert set(_properties(openapi, "/v1/jobs")) == own
    assert set(_properties(openapi, "/v1/jobs", "multipart/form-data")) == own
    assert len(_properties(openapi, "/segmind/v2/p-video-animate")) == 10


EDGES = [
    ("seed", 2**53 - 1, 2**53),
    ("seed", 0, -1),
    ("steps", 100, 101),
    ("steps", 1, 0),
    ("shift", 0.1, 0.09),
    ("shift", 20.0, 20.1),
    ("guidance_scale", 1.0, 0.99),
    ("guidance_scale", 20.0, 20.1),
    ("num_frames", 1, 0),
    ("num_frames", 10**6, 10**6 + 1),
    ("overlap", 5, 2),
    ("mode", "replace", "dance"),
    ("resolution", "1080p", "8k"),
    ("prompt", "x" * 2000, "x" * 2001),
    ("negative_prompt", "x" * 2000, "x" * 2001),
]


@pytest.mark.parametrize(("name", "good", "bad"), EDGES)
def test_the_documented_limits_are_the_real_ones(name: str, good: Any, bad: Any) -> None:
    inputs = {"reference_image": "https://a.example/", "driving_video": "https://b.example/"}
    native.parse(inputs | {name: good})
    JobRequest.model_validate(inputs | {name: good})
    with pytest.raises(AnimateError):
        native.parse(inputs | {name: bad})
    with pytest.raises(ValueError, match=name):
        JobRequest.model_validate(inputs | {name: bad})


def test_the_documented_defaults_are_the_real_ones() -> None:
    inputs = {"reference_image": "https://a.example/", "driving_video": "https://b.example/"}
    documented = JobRequest.model_validate(inputs).model_dump() | {"seed": 1}
    assert documented == native.parse(inputs | {"seed": 1}).to_json() | {"webhook": None, "aspect_ratio": "source"}
