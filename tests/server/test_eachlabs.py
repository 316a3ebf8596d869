"""Eachlabs' interface as its documents and its JavaScript client call it; there is no published Python client."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
import pytest

V1 = "/eachlabs/v1"
MOVE = "wan-v2-2-14b-animate-move"
URLS = {"image_url": "https://example.com/a.png", "video_url": "https://example.com/b.mp4"}
ACT_TWO = {
    "character_type": "image",
    "character_uri": "https://example.com/a.png",
    "reference_uri": "https://example.com/b.mp4",
    "aspect_ratio": "1280:720",
}


@pytest.fixture
def inline(png: bytes, mp4: bytes) -> dict[str, str]:
    return {
        "image_url": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "video_url": f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}",
    }


def ask(model: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": model, "version": "0.0.1", "input": fields} | more


def wait(served: Any, prediction_id: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (shown := served.http.get(f"{V1}/prediction/{prediction_id}").json())["status"] != status:
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)
    return dict(shown)


def test_create_poll_download(served: Any, inline: dict[str, str], mp4: bytes) -> None:
    fields = inline | {"resolution": "580p", "seed": 5, "num_inference_steps": 8, "shift": 3.5}
    answer = served.http.post(f"{V1}/prediction/", json=ask(MOVE, fields))
    assert answer.status_code == 200
    created = answer.json()
    assert created == {
        "status": "success",
        "message": "Prediction created successfully",
        "predictionID": created["predictionID"],
    }
    done = wait(served, created["predictionID"], "success")
    url = f"{served.url}{V1}/prediction/{created['predictionID']}"
    assert done["urls"] == {"cancel": f"{url}/cancel", "get": url}
    assert (done["input"]["seed"], done["logs"], done["metrics"]["cost"]) == (5, None, 0)
    assert httpx.get(done["output"]).content == mp4
    (params,) = served.renderer.seen
    assert (params.mode, params.resolution, params.seed, params.steps, params.shift) == ("animate", "580p", 5, 8, 3.5)


def test_every_model_and_its_defaults(served: Any, inline: dict[str, str]) -> None:
    act_two = ACT_TWO | {"character_uri": inline["image_url"], "reference_uri": inline["video_url"]}
    for model, fields in ((MOVE, inline), ("wan-v2-2-14b-animate-replace", inline), ("runway-act-two", act_two)):
        run = served.http.post(f"{V1}/prediction/run", json=ask(model, fields)).json()
        assert (run["status"], run["error"]) == ("success", "")
        assert run["output"].startswith(f"{served.url}/files/")
    move, replace, performed = served.renderer.seen
    assert (move.mode, move.resolution, move.steps, move.shift) == ("animate", "480p", 20, 5.0)
    assert replace.mode == "replace"
    assert (performed.mode, performed.resolution, performed.steps) == ("animate", "720p", None)


def test_a_prediction_that_fails(serve: Any, inline: dict[str, str]) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        missing = inline | {"video_url": f"{served.url}/files/none?token=x"}
        created = served.http.post(f"{V1}/prediction", json=ask(MOVE, missing)).json()
        output = wait(served, created["predictionID"], "error")["output"]
        assert (output["status"], output["success"], output["retryable"]) == ("ERROR", False, False)
        assert output["error_code"] == "fetch_failed"
        assert output["error"] == output["error_message"]
        assert output["error"].endswith("/files/none?... answered 404")
        run = served.http.post(f"{V1}/prediction/run", json=ask(MOVE, missing)).json()
        assert (run["status"], run["error"], run["output"]) == ("error", output["error"], output)


def test_cancel(served: Any, inline: dict[str, str]) -> None:
    same = {"reference_image": inline["image_url"], "driving_video": inline["video_url"]}
    job = served.http.post("/v1/jobs", json=same | {"prompt": "endless"}).json()
    wait(served, job["id"], "processing")
    answer = served.http.post(f"{V1}/prediction/{job['id']}/cancel/").json()
    assert answer == {
        "status": "cancelled",
        "message": "Prediction canceled successfully",
        "predictionID": job["id"],
    }
    assert wait(served, job["id"], "cancelled")["output"] is None
    done = served.http.post(f"{V1}/prediction/run", json=ask(MOVE, inline)).json()
    late = served.http.post(f"{V1}/prediction/{done['predictionID']}/cancel")
    assert (late.status_code, late.json()["details"]) == (400, "the prediction has ended with success")


def test_presigned_uploads(served: Any, png: bytes, mp4: bytes) -> None:
    urls = {}
    for name, media_type, data in (("image_url", "image/png", png), ("video_url", "video/mp4", mp4)):
        place = served.http.post(f"{V1}/upload/presign", json={"content_type": media_type}).json()
        assert place["required_headers"] == {"Content-Type": media_type}
        assert httpx.put(place["presigned_url"], content=data, headers=place["required_headers"]).status_code == 200
        assert httpx.get(place["public_url"]).content == data
        urls[name] = place["public_url"]
    run = served.http.post(f"{V1}/prediction/run", json=ask(MOVE, urls)).json()
    assert run["status"] == "success"
    path = f"{V1}/files/{place['id']}"
    assert served.http.delete(path, headers={"x-api-key": "key-of-another"}).status_code == 404
    assert served.http.delete(path).status_code == 204
    assert served.http.delete(path).status_code == 404
    assert httpx.get(place["public_url"]).status_code == 404
    gone = served.http.post(f"{V1}/prediction", json=ask(MOVE, urls))
    assert (gone.status_code, gone.json()["error"]) == (400, "Invalid input for model")
    assert httpx.put(f"{served.url}{V1}/upload/put/x", content=png).status_code == 404


def test_catalogue(idle: Any) -> None:
    models = {model["slug"]: model for model in idle.http.get(f"{V1}/models").json()}
    assert set(models) == {MOVE, "wan-v2-2-14b-animate-replace", "runway-act-two"}
    assert set(models[MOVE]["request_schema"]["properties"]) == {
        "image_url",
        "video_url",
        "resolution",
        "seed",
        "num_inference_steps",
        "enable_safety_checker",
        "shift",
        "video_quality",
        "video_write_mode",
        "prompt",
    }
    assert idle.http.get(f"{V1}/model", params={"slug": MOVE}).json() == models[MOVE]
    assert idle.http.get(f"{V1}/model", params={"slug": "x"}).status_code == 404


BAD: list[tuple[dict[str, Any], str]] = [
    (ask(MOVE, URLS | {"resolution": "1080p"}), "resolution must be one of 480p, 580p, 720p, not '1080p'"),
    (ask(MOVE, URLS | {"shift": 11}), "shift must be at most 10, not 11"),
    (ask(MOVE, URLS | {"seed": -1}), "seed must be at least 0, not -1"),
    (ask(MOVE, URLS | {"video_write_mode": "fast"}), "video_write_mode: this server writes videos in one way only"),
    (ask(MOVE, URLS | {"promt": "x"}), "promt is not a field here; did you mean 'prompt'?"),
    (ask(MOVE, URLS | {"image_url": "ftp://x.example/"}), "image_url must be an http(s) URL"),
    (ask("runway-act-two", ACT_TWO | {"character_uri": "ftp://x.example/"}), "character_uri must be an http(s) URL"),
    (ask(MOVE, URLS | {"video_url": "http://10.0.0.1/"}), "10.0.0.1 is not a public address"),
    (ask(MOVE, {"image_url": "https://example.com/a"}), "video_url is required"),
    (ask("runway-act-two", ACT_TWO | {"character_type": "audio"}), "character_type must be one of image, video"),
    (ask("runway-act-two", ACT_TWO | {"expression_intensity": 6}), "expression_intensity must be at most 5"),
    (ask("runway-act-two", ACT_TWO | {"aspect_ratio": "4:3"}), "aspect_ratio must be one of 1280:720, 720:1280"),
    (ask(MOVE, URLS, webhook_url="http://10.0.0.1/hook"), "webhook_url: 10.0.0.1 is not a public address"),
    (ask(MOVE, URLS, webhook_url=5), "webhook_url must be text"),
    (ask("another", URLS), "model: must be one of"),
    ({"model": MOVE}, "input is required"),
]


def test_bad_input_is_400(idle: Any, subtests: pytest.Subtests) -> None:
    for body, words in BAD:
        for path in ("prediction", "prediction/run"):
            with subtests.test(words=words):
                answer = idle.http.post(f"{V1}/{path}", json=body)
                assert (answer.status_code, answer.json()["error"]) == (400, "Invalid input for model")
                assert answer.json()["details"].startswith(words)
    missing = idle.http.post(f"{V1}/prediction", json={"input": URLS})
    assert (missing.status_code, missing.json()) == (400, {"error": "model field is required"})
    malformed = idle.http.post(f"{V1}/prediction", content=b"{")
    assert malformed.json()["error"].startswith("the body is not valid JSON")
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_keys_unknown_ids_and_a_full_queue(serve: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        for headers in ({}, {"x-api-key": "wrong"}):
            answer = httpx.post(f"{idle.url}{V1}/prediction", json=ask(MOVE, URLS), headers=headers)
            assert (answer.status_code, answer.json()) == (401, {"error": "Invalid or missing API key"})
        bearer = {"authorization": "Bearer key-of-one-studio"}
        created = httpx.post(f"{idle.url}{V1}/prediction", json=ask(MOVE, URLS), headers=bearer).json()
        path = f"{V1}/prediction/{created['predictionID']}"
        assert idle.http.get(f"{path}/").json()["status"] == "starting"
        for url, headers in ((path, {"x-api-key": "key-of-another"}), (f"{V1}/prediction/x", {})):
            for method, tail in (("GET", ""), ("POST", "/cancel")):
                unknown = idle.http.request(method, url + tail, headers=headers)
                assert (unknown.status_code, unknown.json()) == (404, {"error": "Prediction not found"})
        full = idle.http.post(f"{V1}/prediction", json=ask(MOVE, URLS))
        assert full.status_code == 429
        assert {name: full.json()[name] for name in ("status", "error")} == {
            "status": 429,
            "error": "too many requests",
        }
        assert idle.http.post(f"{path}/cancel").status_code == 200
        assert idle.http.get(path).json()["status"] == "cancelled"


def test_executions_are_this_keys_predictions(idle: Any) -> None:
    native = {"reference_image": URLS["image_url"], "driving_video": URLS["video_url"]}
    idle.http.post("/v1/jobs", json=native)
    created = [idle.http.post(f"{V1}/prediction", json=ask(MOVE, URLS)).json()["predictionID"] for _ in range(2)]
    listed = idle.http.get(f"{V1}/executions").json()["executions"]
    assert [each["id"] for each in listed] == created[::-1]
    assert listed[0] == idle.http.get(f"{V1}/prediction/{created[1]}").json()
    other = idle.http.get(f"{V1}/executions", headers={"x-api-key": "key-of-another"})
    assert other.json() == {"executions": []}
