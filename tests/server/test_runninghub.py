"""RunningHub's interface as its published example client and its documents call it; everything is HTTP 200."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import pytest

V2, OLD = "/runninghub/openapi/v2", "/runninghub/task/openapi"
SUBMIT = f"{V2}/rhart-video/wan2.2/character-motion-transfer"
KEY = "key-of-one-studio"
URLS = {"299##image": "https://example.com/a.png", "275##video": "https://example.com/b.mp4"}

PROMPT_TIPS = {"result": True, "error": None, "outputs_to_execute": ["299"], "node_errors": {}}


@pytest.fixture
def inline(png: bytes, mp4: bytes) -> dict[str, str]:
    return {
        "299##image": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "275##video": f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}",
    }


def nodes(fields: dict[str, str]) -> list[dict[str, str]]:
    pairs = [(name.split("##"), value) for name, value in fields.items()]
    return [{"nodeId": node, "fieldName": field, "fieldValue": value} for (node, field), value in pairs]


def wait(served: Any, task_id: str, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while (shown := served.http.post(f"{V2}/query", json={"taskId": task_id}).json())["status"] != status:
        assert time.monotonic() < deadline, shown
        time.sleep(0.02)
    return dict(shown)


def old(served: Any, call: str, **fields: Any) -> dict[str, Any]:
    """With the key in the body only."""
    answer = httpx.post(f"{served.url}{OLD}/{call}", json={"apiKey": KEY} | fields)
    assert answer.status_code == 200
    return dict(answer.json())


def test_upload_submit_query_download(served: Any, png: bytes, mp4: bytes) -> None:
    names = []
    for data, kind in ((png, "image"), (mp4, "video")):
        answer = served.http.post(f"{V2}/media/upload/binary", files={"file": ("x", data)}).json()
        assert (answer["code"], answer["message"], answer["data"]["type"]) == (0, "success", kind)
        assert answer["data"]["fileName"] == answer["data"]["filename"]
        assert httpx.get(answer["data"]["download_url"]).content == data
        names.append(answer["data"]["fileName"])
    task = served.http.post(SUBMIT, json={"299##image": names[0], "275##video": names[1], "webhookUrl": ""}).json()
    assert (task["status"], task["errorCode"], task["errorMessage"], task["results"]) == ("RUNNING", "", "", None)
    assert re.fullmatch("[0-9a-f]{32}", task["clientId"])
    assert json.loads(task["promptTips"]) == PROMPT_TIPS
    assert (len(task["taskId"]), task["taskId"].isdigit(), int(task["taskId"]) < 2**63) == (19, True, True)
    done = wait(served, task["taskId"], "SUCCESS")
    assert (done["errorCode"], done["errorMessage"]) == ("", "")
    (result,) = done["results"]
    assert (result["outputType"], httpx.get(result["url"]).content) == ("mp4", mp4)
    (params,) = served.renderer.seen
    assert (params.mode, params.keep_audio, params.fps) == ("replace", True, "source")


def test_the_older_calls(served: Any, png: bytes, mp4: bytes) -> None:
    names = []
    for data, suffix in ((png, ".png"), (mp4, ".mp4")):
        form = {"apiKey": KEY, "fileType": "input"}
        answer = httpx.post(f"{served.url}{OLD}/upload", data=form, files={"file": ("x", data)}).json()
        assert (answer["code"], answer["msg"]) == (0, "success")
        assert answer["data"]["fileName"].startswith("api/")
        assert answer["data"]["fileName"].endswith(suffix)
        names.append(answer["data"]["fileName"])
    fields = nodes({"299##image": names[0], "275##video": names[1]})
    created = old(served, "create", workflowId="1904136902449209346", nodeInfoList=fields)
    assert (created["code"], created["data"]["taskStatus"]) == (0, "RUNNING")
    task_id = created["data"]["taskId"]
    wait(served, task_id, "SUCCESS")
    assert old(served, "status", taskId=task_id) == {"code": 0, "msg": "success", "data": "SUCCESS"}
    outputs = old(served, "outputs", taskId=task_id)
    assert (outputs["code"], outputs["data"][0]["fileType"]) == (0, "mp4")
    assert httpx.get(outputs["data"][0]["fileUrl"]).content == mp4
    assert old(served, "cancel", taskId=task_id)["code"] == 807


def test_runs_of_apps_and_workflows(served: Any, inline: dict[str, str], mp4: bytes) -> None:
    fields = nodes({"7##image": inline["299##image"], "9##video": inline["275##video"]})
    more = {"instanceType": "plus", "usePersonalQueue": "false", "addMetadata": True}
    for run in ("ai-app/1937084629516193794", "workflow/1904136902449209346"):
        task = served.http.post(f"{V2}/run/{run}", json={"nodeInfoList": fields} | more).json()
        (result,) = wait(served, task["taskId"], "SUCCESS")["results"]
        assert httpx.get(result["url"]).content == mp4
    run = old(served, "ai-app/run", webappId=1937084629516193794, nodeInfoList=fields)
    assert (run["code"], run["data"]["taskStatus"]) == (0, "RUNNING")
    wait(served, run["data"]["taskId"], "SUCCESS")
    assert {(params.mode, params.longest_s) for params in served.renderer.seen} == {("replace", 30.0)}


def test_an_earlier_task_is_the_next_ones_video(served: Any, inline: dict[str, str], mp4: bytes) -> None:
    first = served.http.post(SUBMIT, json=inline).json()["taskId"]
    wait(served, first, "SUCCESS")
    second = served.http.post(SUBMIT, json=inline | {"275##video": first}).json()
    wait(served, second["taskId"], "SUCCESS")
    unknown = served.http.post(SUBMIT, json=inline | {"275##video": "1" * 19}).json()
    assert unknown["errorCode"] == "1007"


def test_the_limit_of_30_s_can_be_lifted(serve: Any, inline: dict[str, str]) -> None:
    with serve(hosted_limits="lift") as served:
        wait(served, served.http.post(SUBMIT, json=inline).json()["taskId"], "SUCCESS")
        assert served.renderer.seen[0].longest_s is None


def test_a_task_behind_others_of_its_key(serve: Any, inline: dict[str, str]) -> None:
    with serve(max_running_per_key=1) as served:
        same = {"reference_image": inline["299##image"], "driving_video": inline["275##video"]}
        first = served.http.post("/v1/jobs", json=same | {"prompt": "endless"}).json()["id"]
        wait(served, first, "RUNNING")
        task_id = served.http.post(SUBMIT, json=inline).json()["taskId"]
        wait(served, task_id, "CREATE")
        assert old(served, "status", taskId=task_id)["data"] == "QUEUED"
        served.http.delete(f"/v1/jobs/{first}")
        wait(served, task_id, "SUCCESS")


def test_a_task_that_fails(serve: Any, inline: dict[str, str]) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        missing = inline | {"275##video": f"{served.url}/files/none?token=x"}
        task = served.http.post(SUBMIT, json=missing).json()
        failed = wait(served, task["taskId"], "FAILED")
        assert (failed["errorCode"], failed["results"]) == ("1001", None)
        assert failed["errorMessage"].endswith("/files/none?... answered 404")
        assert failed["failedReason"]["exception_message"] == failed["errorMessage"]
        outputs = old(served, "outputs", taskId=task["taskId"])
        assert (outputs["code"], outputs["data"]["failedReason"]) == (805, failed["failedReason"])


def test_cancel_while_queued_and_while_running(serve: Any, inline: dict[str, str]) -> None:
    with serve(worker=False) as idle:
        task_id = idle.http.post(SUBMIT, json=URLS).json()["taskId"]
        assert old(idle, "status", taskId=task_id)["data"] == "QUEUED"
        assert old(idle, "outputs", taskId=task_id)["code"] == 813
        account = httpx.post(f"{idle.url}/runninghub/uc/openapi/accountStatus", json={"apikey": KEY}).json()
        assert (account["code"], account["data"]["currentTaskCounts"]) == (0, "1")
        assert old(idle, "cancel", taskId=task_id) == {"code": 0, "msg": "success", "data": None}
        shown = wait(idle, task_id, "CANCEL")
        assert (shown["errorCode"], shown["errorMessage"]) == ("", "")
        assert old(idle, "status", taskId=task_id)["data"] == "FAILED"
        assert old(idle, "outputs", taskId=task_id)["code"] == 805
    with serve() as served:
        same = {"reference_image": inline["299##image"], "driving_video": inline["275##video"]}
        task_id = served.http.post("/v1/jobs", json=same | {"prompt": "endless"}).json()["id"]
        wait(served, task_id, "RUNNING")
        assert old(served, "outputs", taskId=task_id)["code"] == 804
        assert old(served, "cancel", taskId=task_id)["code"] == 0
        wait(served, task_id, "CANCEL")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"webhookUrl": "http://10.0.0.1/hook"}, "1007", "webhookUrl: 10.0.0.1 is not a public address"),
    ({"colour": "red"}, "1007", "colour is not a field here"),
    ({"299##image": 5}, "1007", "299##image must be text"),
    ({"299##image": "ftp://x.example/"}, "1007", "299##image must be an http(s) URL"),
    ({"299##image": f"openapi/{'0' * 64}.png"}, "1007", f"299##image: there is no file {'0' * 64} here"),
    ({"275##video": f"{'1' * 64}.mp4"}, "1007", f"275##video: there is no file {'1' * 64} here"),
    ({"275##video": "http://10.0.0.1/"}, "1001", "10.0.0.1 is not a public address"),
    ({"275##video": "data:video/mp4;base64,AAAA"}, "1013", "275##video"),
]


def test_bad_fields(idle: Any, subtests: pytest.Subtests) -> None:
    for change, code, words in BAD:
        with subtests.test(change=str(change)):
            answer = idle.http.post(SUBMIT, json=URLS | change)
            body = answer.json()
            assert (answer.status_code, body["errorCode"], body["status"]) == (200, code, "FAILED")
            assert body["errorMessage"].startswith(words)
    missing = idle.http.post(SUBMIT, json={"299##image": "https://example.com/a"}).json()
    assert (missing["errorCode"], missing["errorMessage"]) == ("1007", "275##video is required")
    for fields, words in (
        (nodes(URLS) + nodes(URLS), "nodeInfoList: image is given twice"),
        (nodes(URLS | {"1##text": "x"}), "nodeInfoList: text is not a field of this app; there are image, video"),
        ([{"nodeId": "299"}], "nodeInfoList.0.fieldName is required"),
    ):
        refused = old(idle, "create", workflowId="1", nodeInfoList=fields)
        assert (refused["code"], refused["msg"].startswith(words), refused["data"]) == (803, True, None)
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_asking_how_things_are_is_not_counted(serve: Any) -> None:
    with serve(worker=False, max_requests_per_minute=1) as idle:
        task_id = idle.http.post(SUBMIT, json=URLS).json()["taskId"]
        for _ in range(3):
            assert idle.http.post(f"{V2}/query", json={"taskId": task_id}).json()["status"] == "QUEUED"
            assert old(idle, "status", taskId=task_id)["code"] == 0
        assert idle.http.post(SUBMIT, json=URLS).json()["errorCode"] == "1003"


def test_fields_of_create_that_change_nothing(idle: Any) -> None:
    more = {"instanceType": "plus", "usePersonalQueue": True, "webhookUrl": ""}
    assert old(idle, "create", workflowId="1", nodeInfoList=nodes(URLS), **more)["code"] == 0
    hooked = old(idle, "create", workflowId="1", nodeInfoList=nodes(URLS), webhookUrl="http://10.0.0.1/")
    assert hooked["code"] == 301


def test_keys_unknown_tasks_limits_and_a_full_queue(serve: Any, png: bytes) -> None:
    with serve(worker=False, max_queued=1, max_json_bytes=10_000) as idle:
        wrong = httpx.post(f"{idle.url}{SUBMIT}", json=URLS, headers={"authorization": "Bearer wrong"})
        assert (wrong.status_code, wrong.json()["errorCode"]) == (200, "1002")
        for key in ({}, {"apiKey": "wrong"}, {"apiKey": 5}):
            refused = httpx.post(f"{idle.url}{OLD}/status", json={"taskId": "x"} | key).json()
            assert refused["code"] == 802
        task_id = idle.http.post(SUBMIT, json=URLS).json()["taskId"]
        other = idle.http.post(
            f"{V2}/query", json={"taskId": task_id}, headers={"authorization": "Bearer key-of-another"}
        )
        assert (other.status_code, other.json()["errorCode"]) == (200, "1004")
        assert old(idle, "outputs", taskId="unknown")["code"] == 807
        full = idle.http.post(SUBMIT, json=URLS).json()
        assert (full["errorCode"], full["code"]) == ("1520", 421)
        large = idle.http.post(SUBMIT, json=URLS | {"colour": "x" * 10_001}).json()
        assert (large["errorCode"], large["code"]) == ("1008", 809)
        assert idle.http.post(SUBMIT, content=b"{").json()["errorCode"] == "1007"
        assert idle.http.get(SUBMIT).json()["errorCode"] == "1009"
        stranger = httpx.post(f"{idle.url}{OLD}/status", json={"taskId": "x" * 2**20}).json()
        assert stranger["code"] == 809


def test_a_video_of_31_s_is_refused_at_submit_where_it_is_here(idle: Any, tmp_path: Path) -> None:
    film = tmp_path / "long.mp4"
    source = ["-f", "lavfi", "-i", "color=red:s=64x48:r=2:d=31", "-pix_fmt", "yuv420p"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, str(film)], check=True)
    given = idle.http.post(f"{V2}/media/upload/binary", files={"file": film.read_bytes()}).json()["data"]["fileName"]
    answer = idle.http.post(SUBMIT, json=URLS | {"275##video": given}).json()
    assert (answer["errorCode"], "lasts 30.9 s; the limit is 30 s" in answer["errorMessage"]) == ("1008", True)
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_an_upload_is_named_by_its_bytes_for_its_owner_alone(served: Any, png: bytes, mp4: bytes) -> None:
    data = [("x.png", png), ("y.mp4", mp4)]
    names = [
        served.http.post(f"{V2}/media/upload/binary", files={"file": file}).json()["data"]["fileName"] for file in data
    ]
    assert names == [f"openapi/{hashlib.sha256(file).hexdigest()}.{name[2:]}" for name, file in data]
    bare = [name.removeprefix("openapi/").partition(".")[0] for name in names]
    for image, video in (names, bare, [f"{bare[0]}.png", f"api/{bare[1]}.mp4"]):
        task = served.http.post(SUBMIT, json={"299##image": image, "275##video": video}).json()
        wait(served, task["taskId"], "SUCCESS")
    stranger = {"Authorization": "Bearer key-of-another"}
    refused = served.http.post(SUBMIT, json={"299##image": names[0], "275##video": names[1]}, headers=stranger).json()
    assert refused["errorCode"] == "1007"
