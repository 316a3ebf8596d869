"""The published client, unmodified, against our /segmind."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from segmind import SegmindClient
from segmind.exceptions import SegmindError
from segmind.files import Files
from segmind.v2 import InferenceFailed

from animate_server.dialects import segmind

SLUG = "p-video-animate"
KEY = "key-of-one-studio"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], SegmindClient]]:
    made: list[SegmindClient] = []

    def make(served: Any, key: str = KEY) -> SegmindClient:
        monkeypatch.setattr(Files, "STORAGE_BASE_URL", f"{served.url}/segmind")
        made.append(SegmindClient(key, base_url=f"{served.url}/segmind/v1"))
        return made[-1]

    yield make
    for client in made:
        client._client.close()


@pytest.fixture
def pair(png: bytes, mp4: bytes) -> dict[str, str]:
    return {
        "image": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "video": f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}",
    }


def test_submit_wait_download(served: Any, connect: Any, pair: dict[str, str], mp4: bytes) -> None:
    job = connect(served).submit_async(SLUG, **pair, resolution="1080p", target_fps="24", seed=5, save_audio=False)
    assert job.submit_response["status"] == "QUEUED"
    assert job.submit_response["poll_url"] == f"{served.url}/segmind/v1/requests/{job.request_id}"
    result = job.wait(timeout=10, interval=0.05)
    assert (result["status"], result["error"], result["request_id"]) == ("COMPLETED", None, job.request_id)
    assert set(result["metrics"]) == {
        "inference_time",
        "queue_time",
        "total_time",
        "cost",
        "remaining_credits",
        "retry_count",
    }
    answer = httpx.get(result["output"])
    assert (answer.content, answer.headers["content-type"]) == (mp4, "video/mp4")
    assert httpx.get(job.submit_response["poll_url"], headers={"x-api-key": KEY}).json() == result
    (params,) = served.renderer.seen
    assert (params.resolution, params.fps, params.seed, params.keep_audio) == ("1080p", 24, 5, False)


def test_ignored_audio_is_left_out(served: Any, connect: Any, pair: dict[str, str]) -> None:
    connect(served).submit_async(SLUG, **pair, ignore_audio=True).wait(timeout=10, interval=0.05)
    assert served.renderer.seen[0].keep_audio is False


def test_defaults_and_a_drawn_seed(served: Any, connect: Any, pair: dict[str, str]) -> None:
    client = connect(served)
    client.submit_async(SLUG, **pair).wait(timeout=10, interval=0.05)
    client.submit_async(SLUG, **pair, seed=-1).wait(timeout=10, interval=0.05)
    default, drawn = served.renderer.seen
    assert (default.seed, default.fps, default.resolution, default.turbo) == (42, "source", "720p", False)
    assert default.keep_audio
    assert default.mode == "animate"
    assert drawn.seed not in (-1, 42)


def test_run_sync_gives_the_bytes(served: Any, connect: Any, pair: dict[str, str], mp4: bytes) -> None:
    response = connect(served).run_sync(SLUG, **pair, seed=9)
    assert response.content == mp4
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["x-seed-value"] == "9"
    assert float(response.headers["x-generation-time"]) > 0
    assert served.backend.store.get(response.headers["x-request-id"]).status == "succeeded"
    for name in ("x-cost", "x-remaining-credits"):
        assert float(response.headers[name]) == 0


def test_a_failed_job_is_422_everywhere(served: Any, connect: Any, pair: dict[str, str]) -> None:
    client = connect(served)
    job = client.submit_async(SLUG, **pair, instruction_prompt="nobody")
    with pytest.raises(InferenceFailed) as failed:
        job.wait(timeout=10, interval=0.05)
    assert failed.value.detail == "no person in 0 of 90 frames"
    assert failed.value.status_body["status"] == "FAILED"
    for url in (job.status_url, job.response_url):
        answer = httpx.get(url, headers={"x-api-key": KEY})
        assert (answer.status_code, answer.json()["status"]) == (422, "FAILED")
    with pytest.raises(SegmindError) as sync:
        client.run_sync(SLUG, **pair, instruction_prompt="nobody")
    assert (sync.value.status, sync.value.detail) == (422, "no person in 0 of 90 frames")


BAD = [
    ({"resolution": "480p"}, "resolution must be one of 720p, 1080p, not '480p'"),
    ({"target_fps": "30"}, "target_fps must be one of original, 24, 48, not '30'"),
    ({"seed": -2}, "seed must be at least -1, not -2"),
    ({"seed": 10**15}, "seed must be at most 999999999999999, not 1000000000000000"),
    ({"save_audio": "yes"}, "save_audio must be true or false, not 'yes'"),
    ({"fps": 24}, "fps is not a field here"),
    ({"turbo": True}, "turbo is not available: the bundle fake has no few-step LoRA"),
    ({"image": "ftp://example.com/a"}, "image must be an http(s) URL, a data URI, or upload:ID"),
    ({"video": "http://10.0.0.1/v.mp4"}, "10.0.0.1 is not a public address"),
]


def test_bad_fields_are_400(served: Any, connect: Any, pair: dict[str, str], subtests: pytest.Subtests) -> None:
    client = connect(served)
    for change, words in BAD:
        for call in (client.submit_async, client.run_sync):
            with subtests.test(change=str(change)):
                with pytest.raises(SegmindError) as refused:
                    call(SLUG, **pair | change)
                assert refused.value.status == 400
                assert str(refused.value.detail).startswith(words)
    assert served.http.get("/v1/jobs").json()["jobs"] == []


def test_the_words_of_a_bad_resolution(served: Any, pair: dict[str, str]) -> None:
    answer = served.http.post(f"/segmind/v2/{SLUG}", json=pair | {"resolution": "480p"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "resolution must be one of 720p, 1080p, not '480p'"}
    missing = served.http.post(f"/segmind/v2/{SLUG}", json={"image": pair["image"]})
    assert (missing.status_code, missing.json()) == (400, {"error": "video is required"})


def test_unknown_ids_are_404(served: Any, connect: Any) -> None:
    client = connect(served)
    job = client.submit_async(SLUG, image="https://example.com/a", video="https://example.com/b")
    for url in (job.status_url, job.response_url, job.submit_response["poll_url"]):
        answer = httpx.get(url.replace(job.request_id, "unknown"), headers={"x-api-key": KEY})
        assert (answer.status_code, answer.json()) == (404, {"error": "Request unknown not found"})
        other = httpx.get(url, headers={"x-api-key": "key-of-another"})
        assert (other.status_code, other.json()) == (404, {"error": f"Request {job.request_id} not found"})


def test_keys(served: Any, connect: Any) -> None:
    with pytest.raises(SegmindError) as refused:
        connect(served, "wrong").submit_async(SLUG, image="https://example.com/a", video="https://example.com/b")
    assert (refused.value.status, refused.value.detail) == (401, "Invalid API key")
    answer = httpx.post(f"{served.url}/segmind/v2/{SLUG}", json={})
    assert (answer.status_code, answer.json()) == (401, {"error": "Missing Authorization or x-api-key in header"})


def test_uploaded_assets_are_taken_back(served: Any, connect: Any, tmp_path: Path, png: bytes, mp4: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png)
    (tmp_path / "b.mp4").write_bytes(mp4)
    client = connect(served)
    uploaded = client.files.upload([tmp_path / "a.png", tmp_path / "b.mp4"])
    image, video = uploaded["file_urls"]
    assert uploaded["message"] == "2 files uploaded"
    result = client.submit_async(SLUG, image=image, video=video).wait(timeout=10, interval=0.05)
    assert result["status"] == "COMPLETED"
    gone = image[:-4] + "0000"
    with pytest.raises(SegmindError) as refused:
        client.submit_async(SLUG, image=gone, video=video)
    assert refused.value.status == 400


def test_a_caller_who_hangs_up_cancels_the_sync_job(served: Any, pair: dict[str, str]) -> None:
    def call() -> None:
        with pytest.raises(httpx.ReadTimeout):
            served.http.post(f"/segmind/v1/{SLUG}", json=pair | {"instruction_prompt": "endless"}, timeout=0.5)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    (job,) = served.http.get("/v1/jobs").json()["jobs"]
    started = time.monotonic()
    served.wait(job["id"], "canceled")
    assert time.monotonic() - started < 5


def test_an_expired_request_is_unknown(serve: Any, pair: dict[str, str]) -> None:
    with serve(job_retention_s=0.01) as served:
        job = served.http.post(f"/segmind/v2/{SLUG}", json=pair).json()
        served.wait(job["request_id"], "succeeded")
        time.sleep(0.05)
        served.backend.sweep()
        assert served.http.get(job["status_url"]).status_code == 404


def test_urls_follow_the_proxy_or_the_setting(serve: Any) -> None:
    body = {"image": "https://example.com/a", "video": "https://example.com/b"}
    with serve(worker=False) as idle:
        proxied = {"x-forwarded-proto": "https", "x-forwarded-host": "studio.example, inner"}
        answer = idle.http.post(f"/segmind/v2/{SLUG}", json=body, headers=proxied).json()
        assert answer["status_url"].startswith("https://studio.example/segmind/v2/requests/")
        forged = idle.http.post(f"/segmind/v2/{SLUG}", json=body, headers={"x-forwarded-host": "a/b?c"}).json()
        assert forged["status_url"].startswith(idle.url)
    with serve(worker=False, public_url="https://fixed.example/") as idle:
        answer = idle.http.post(f"/segmind/v2/{SLUG}", json=body).json()
        assert answer["status_url"].startswith("https://fixed.example/segmind/")


def test_a_request_is_known_for_an_hour_and_its_file_for_longer(
    served: Any, pair: dict[str, str], mp4: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = served.http.post(f"/segmind/v2/{SLUG}", json=pair).json()
    served.wait(submitted["request_id"], "succeeded")
    output = served.http.get(submitted["response_url"]).json()["output"]
    monkeypatch.setattr(segmind, "RECORD_S", 0.0)
    for name in ("status_url", "response_url", "poll_url"):
        gone = served.http.get(submitted[name])
        assert (gone.status_code, gone.json()) == (404, {"error": f"Request {submitted['request_id']} not found"})
    assert httpx.get(output).content == mp4
