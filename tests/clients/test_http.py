"""Services without a client in a package registry, by plain HTTP as their examples have it."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames

pytestmark = pytest.mark.clients


def test_runninghub(server: str, inputs: Inputs) -> None:
    # docs: runninghub, plain HTTP
    base_url = server + "/runninghub/openapi/v2"  # their example client: RH_API_BASE_URL
    http = httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    # end

    def call(path: str, **fields: Any) -> dict[str, Any]:
        answer = http.post(f"{base_url}/{path}", json=fields)
        assert answer.status_code == 200
        return dict(answer.json())

    def ended(task_id: str) -> dict[str, Any]:
        while (task := call("query", taskId=task_id))["status"] in ("QUEUED", "RUNNING"):
            time.sleep(0.3)
        return task

    with http, inputs.image.open("rb") as image, inputs.video.open("rb") as video:
        names = [
            http.post(f"{base_url}/media/upload/binary", files={"file": file}).json()["data"]["fileName"]
            for file in (image, video)
        ]
        submit = "rhart-video/wan2.2/character-motion-transfer"
        pair = {"299##image": names[0], "275##video": names[1]}
        done = ended(call(submit, **pair)["taskId"])
        assert (done["status"], count_frames(done["results"][0]["url"])) == ("SUCCESS", NUM_FRAMES)
        values = zip(("image", "video"), names, strict=True)
        run = [{"nodeId": "7", "fieldName": field, "fieldValue": name} for field, name in values]
        assert ended(call("run/ai-app/1937084629516193794", nodeInfoList=run)["taskId"])["status"] == "SUCCESS"
        assert call(submit, **pair, colour="red")["errorCode"] == "1007"
        assert call("query", taskId="unknown")["errorCode"] == "1004"
        failed = ended(call(submit, **pair | {"275##video": inputs.missing})["taskId"])
        assert (failed["status"], failed["errorMessage"].endswith("answered 404")) == ("FAILED", True)
        http.headers["Authorization"] = "Bearer wrong"
        assert call("query", taskId=done["taskId"])["errorCode"] == "1002"


def test_runcomfy(server: str, inputs: Inputs) -> None:
    # docs: runcomfy, plain HTTP
    base_url = server + "/runcomfy/v1"  # their command line: RUNCOMFY_MODEL_API_BASE
    http = httpx.Client(headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    # end
    model = f"{base_url}/models/community/wan-2-2/animate/move"
    asked = {"image_url": inputs.image_uri, "video_url": inputs.video_uri, "resolution": "480p"}

    def ended(**fields: Any) -> dict[str, Any]:
        urls = http.post(model, json=asked | fields).json()
        while http.get(urls["status_url"]).json()["status"] in ("in_queue", "in_progress"):
            time.sleep(0.3)
        return dict(http.get(urls["result_url"]).json())

    with http:
        done = ended()
        assert (done["status"], count_frames(done["output"]["video"])) == ("succeeded", NUM_FRAMES)
        assert http.post(model, json=asked | {"fps": 0}).status_code == 422
        assert http.get(f"{base_url}/requests/unknown/result").status_code == 404
        failed = ended(video_url=inputs.missing)
        assert (failed["status"], failed["error"].endswith("answered 404")) == ("failed", True)
        assert http.get(f"{base_url}/models", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_eachlabs(server: str, inputs: Inputs) -> None:
    # docs: eachlabs, plain HTTP
    base_url = server + "/eachlabs/v1"
    http = httpx.Client(headers={"X-API-Key": KEY}, timeout=60)
    # end
    fields: dict[str, Any] = {"image_url": inputs.image_uri, "video_url": inputs.video_uri, "num_inference_steps": 1}
    asked = {"model": "wan-v2-2-14b-animate-replace", "input": fields}

    def ended(**change: Any) -> dict[str, Any]:
        created = http.post(f"{base_url}/prediction", json=asked | {"input": fields | change}).json()
        url = f"{base_url}/prediction/{created['predictionID']}"
        while (prediction := http.get(url).json())["status"] in ("created", "starting", "processing"):
            time.sleep(0.3)
        return dict(prediction)

    with http:
        done = ended()
        assert (done["status"], count_frames(done["output"])) == ("success", NUM_FRAMES)
        assert http.post(f"{base_url}/prediction", json=asked | {"input": fields | {"shift": 11}}).status_code == 400
        assert http.get(f"{base_url}/prediction/unknown").status_code == 404
        failed = ended(video_url=inputs.missing)
        assert (failed["status"], failed["output"]["error"].endswith("answered 404")) == ("error", True)
        assert http.get(f"{base_url}/models", headers={"X-API-Key": "wrong"}).status_code == 401
