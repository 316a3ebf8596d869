"""RunComfy's Model API as its command line and its Python client call it; neither is in a package registry."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

V1 = "/runcomfy/v1"
PLAIN = "community/wan-2-2/animate"
MOVE, REPLACE = "community/wan-2-2/animate/move", "community/wan-2-2/animate/replace"
URLS = {"image_url": "https://example.com/a.png", "video_url": "https://example.com/b.mp4"}


@pytest.fixture
def inline(png: bytes, mp4: bytes) -> dict[str, str]:
    return {
        "image_url": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "video_url": f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}",
    }


def wait(served: Any, url: str, *statuses: str) -> None:
    deadline = time.monotonic() + 10
    while (shown := served.http.get(url).json())["status"] not in statuses:
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)


def test_submit_status_result_download(served: Any, inline: dict[str, str], mp4: bytes) -> None:
    fields = inline | {"prompt": "a knight", "resolution": "480p", "fps": 24, "seed": 5, "keep_audio": False}
    answer = served.http.post(f"{V1}/models/{REPLACE}", json=fields)
    submitted = answer.json()
    url = f"{served.url}{V1}/requests/{submitted['request_id']}"
    assert submitted == {
        "request_id": submitted["request_id"],
        "status_url": f"{url}/status",
        "result_url": f"{url}/result",
        "cancel_url": f"{url}/cancel",
    }
    wait(served, submitted["status_url"], "completed")
    status = served.http.get(submitted["status_url"]).json()
    assert {status[name] for name in ("status_url", "result_url")} == {f"{url}/status", f"{url}/result"}
    result = served.http.get(submitted["result_url"]).json()
    assert (result["status"], result["error"], result["output"]["seed"]) == ("succeeded", None, 5)
    assert result["created_at"] <= result["finished_at"]
    assert httpx.get(result["output"]["video"]).content == mp4
    (params,) = served.renderer.seen
    assert (params.mode, params.prompt, params.resolution) == ("replace", "a knight", "480p")
    assert (params.fps, params.seed, params.keep_audio) == (24, 5, False)
    late = served.http.post(submitted["cancel_url"]).json()
    assert (late["status"], late["outcome"]) == ("completed", "not_cancellable")


def test_other_names_of_the_inputs(idle: Any, inline: dict[str, str]) -> None:
    image, video = inline.values()
    for names in (("img_url", "video_url"), ("112_image", "99_video"), ("image_url", "reference_video_url_1")):
        answer = idle.http.post(f"{V1}/models/{MOVE}", json=dict(zip(names, (image, video), strict=True)))
        assert answer.status_code == 200, answer.text
        result = idle.http.get(answer.json()["result_url"]).json()
        assert (result["status"], result["output"], result["finished_at"]) == ("in_queue", None, None)


def test_the_mode_is_said_by_the_id_or_by_the_field(served: Any, inline: dict[str, str]) -> None:
    asked = [(PLAIN, {}), (PLAIN, {"mode": "replace"}), (REPLACE, {"mode": "replace"}), ("pruna/p-video/replace", {})]
    for model, mode in asked:
        submitted = served.http.post(f"{V1}/models/{model}", json=inline | mode).json()
        wait(served, submitted["status_url"], "completed")
    assert [params.mode for params in served.renderer.seen] == ["animate", "replace", "replace", "replace"]
    other = served.http.post(f"{V1}/models/{MOVE}", json=inline | {"mode": "replace"})
    assert (other.status_code, other.json()["detail"]) == (422, "mode")


def test_outputs_from_another_host(serve: Any, inline: dict[str, str]) -> None:
    files = "runcomfy=http://files.local.runcomfy.net:8000/"
    with serve(files_urls=files) as served:
        submitted = served.http.post(f"{V1}/models/{MOVE}", json=inline).json()
        wait(served, submitted["status_url"], "completed")
        url = served.http.get(submitted["result_url"]).json()["output"]["video"]
        assert url.startswith("http://files.local.runcomfy.net:8000/files/")
        assert submitted["result_url"].startswith(served.url)
        native = served.http.get(f"/v1/jobs/{submitted['request_id']}").json()
        assert native["artefact"]["url"].startswith(served.url)


def test_a_request_that_fails(serve: Any, inline: dict[str, str]) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        missing = inline | {"video_url": f"{served.url}/files/none?token=x"}
        submitted = served.http.post(f"{V1}/models/{MOVE}", json=missing).json()
        wait(served, submitted["status_url"], "failed")
        result = served.http.get(submitted["result_url"]).json()
        assert (result["status"], result["output"]) == ("failed", None)
        assert result["error"].endswith("/files/none?... answered 404")


def test_cancel(served: Any, inline: dict[str, str]) -> None:
    submitted = served.http.post(f"{V1}/models/{MOVE}", json=inline | {"prompt": "endless"}).json()
    wait(served, submitted["status_url"], "in_progress")
    assert served.http.post(submitted["cancel_url"]).json()["outcome"] == "cancelled"
    wait(served, submitted["status_url"], "cancelled")
    assert served.http.get(submitted["result_url"]).json()["status"] == "cancelled"
    again = served.http.post(submitted["cancel_url"]).json()
    assert (again["status"], again["outcome"]) == ("cancelled", "not_cancellable")


def test_catalogue(idle: Any) -> None:
    listed = idle.http.get(f"{V1}/models").json()
    assert {model["model_id"] for model in listed["models"]} >= {MOVE, REPLACE, PLAIN}
    assert listed["total"] == len(listed["models"])
    assert all("input_schema" not in model for model in listed["models"])
    found = idle.http.get(
        f"{V1}/models", params={"search": "Animate/Replace", "include_schema": "true", "limit": 5}
    ).json()
    assert [model["model_id"] for model in found["models"]] == [REPLACE]
    assert found["models"] == [idle.http.get(f"{V1}/models/{REPLACE}").json()]
    fields = {"image_url", "video_url", "prompt", "resolution", "fps", "seed", "keep_audio", "mode", "watermark"}
    assert set(found["models"][0]["input_schema"]["properties"]) == fields
    assert idle.http.get(f"{V1}/models", params={"offset": 5}).json() == {"models": [], "total": 5}
    assert idle.http.get(f"{V1}/models", params={"category": "audio"}).json()["total"] == 0
    assert idle.http.get(f"{V1}/models/categories").json() == {"categories": ["video-to-video"]}


BAD: list[tuple[dict[str, Any], int, str, str]] = [
    ({"fps": 0}, 422, "fps", "fps must be at least 1, not 0"),
    ({"watermark": True}, 422, "watermark", "watermark: must be false: this server draws no watermark"),
    ({"resolution": "4k"}, 422, "resolution", "resolution must be one of 480p,"),
    ({"img_url": "https://example.com/c"}, 422, "img_url", "img_url: image_url is given twice"),
    ({"model_id": MOVE}, 422, "model_id", "model_id is not a field here"),
    ({"webhook_url": "x"}, 422, "webhook_url", "webhook_url is not a field here"),
    ({"image_url": "ftp://x.example/"}, 422, "image_url", "image_url must be an http(s) URL"),
    ({"video_url": "http://10.0.0.1/"}, 422, "video_url", "10.0.0.1 is not a public address"),
    ({"video_url": "upload:none"}, 422, "video_url", "video_url: there is no upload 'none'"),
]


def test_bad_fields_are_422(idle: Any, subtests: pytest.Subtests) -> None:
    for change, status, field, words in BAD:
        with subtests.test(change=str(change)):
            answer = idle.http.post(f"{V1}/models/{MOVE}", json=URLS | change)
            body = answer.json()
            assert (answer.status_code, body["error_code"], body["detail"]) == (status, 422001, field)
            assert body["error_message"].startswith(words)
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_keys_unknown_names_and_a_full_queue(serve: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        wrong = httpx.get(f"{idle.url}{V1}/models", headers={"authorization": "Bearer wrong"})
        assert (wrong.status_code, wrong.json()["error_code"]) == (401, 401001)
        malformed = idle.http.post(f"{V1}/models/{MOVE}", content=b"{")
        assert (malformed.status_code, malformed.json()["error_code"]) == (400, 400001)
        submitted = idle.http.post(f"{V1}/models/{MOVE}", json=URLS).json()
        for name in ("status_url", "result_url", "cancel_url"):
            method = "POST" if name == "cancel_url" else "GET"
            other = idle.http.request(method, submitted[name], headers={"x-api-key": "key-of-another"})
            assert (other.status_code, other.json()["error_code"]) == (404, 404001)
        for method in ("GET", "POST"):
            unknown = idle.http.request(method, f"{V1}/models/a/b/c", json=URLS)
            assert (unknown.status_code, unknown.json()["error_code"]) == (404, 404001)
        full = idle.http.post(f"{V1}/models/{MOVE}", json=URLS)
        assert (full.status_code, full.json()["error_code"]) == (429, 429001)
        assert idle.http.post(submitted["cancel_url"]).json()["status"] == "cancelled"


def test_a_queued_request_knows_its_place(idle: Any) -> None:
    ask = {"image_url": "https://example.com/a.png", "video_url": "https://example.com/b.mp4"}
    path = "/runcomfy/v1/models/community/wan-2-2/animate/move"
    first, second = (idle.http.post(path, json=ask).json() for _ in range(2))
    assert [idle.http.get(each["status_url"]).json()["queue_position"] for each in (first, second)] == [0, 1]
    idle.http.post(first["cancel_url"])
    assert idle.http.get(second["status_url"]).json()["queue_position"] == 0
    assert idle.http.get(first["status_url"]).json()["queue_position"] is None


def test_what_their_other_models_send_is_taken(idle: Any) -> None:
    answer = idle.http.post(f"{V1}/models/{MOVE}", json=URLS | {"resolution": "720P", "watermark": False})
    assert answer.status_code == 200
    (job,) = idle.http.get("/v1/jobs").json()["jobs"]
    assert job["status"] == "queued"
