"""Runware's interface as its documents and clients speak it: arrays of tasks by POST, frames over a WebSocket."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PATH = "/runware/v1"
KEY, OTHER_KEY = "key-of-one-studio", "key-of-another"
ANIMATE, REPLACE = "prunaai:p-video@animate", "prunaai:p-video@replace"
URLS = {"referenceImages": ["https://example.com/a.png"], "referenceVideos": ["https://example.com/b.mp4"]}
Ask = Callable[..., dict[str, Any]]


def task(**fields: Any) -> dict[str, Any]:
    known = {"taskType": "videoInference", "taskUUID": str(uuid.uuid4()), "model": ANIMATE, "inputs": URLS}
    return known | {"deliveryMethod": "async"} | fields


def uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def inputs(png: bytes, mp4: bytes) -> dict[str, list[str]]:
    return {"referenceImages": [uri("image/png", png)], "referenceVideos": [uri("video/mp4", mp4)]}


def post(served: Any, *tasks: dict[str, Any]) -> dict[str, Any]:
    answer = served.http.post(PATH, json=list(tasks))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(served: Any, *tasks: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    answer = served.http.post(PATH, json=list(tasks))
    assert set(answer.json()) == {"errors"}
    return answer.status_code, answer.json()["errors"][0]


@pytest.fixture
def opened() -> Iterator[Callable[[Any], ClientConnection]]:
    with ExitStack() as stack:

        def open_socket(served: Any) -> ClientConnection:
            url = served.url.replace("http", "ws") + f"{PATH}?sdk=js&version=1.3.2"
            return stack.enter_context(connect(url, max_size=None))

        yield open_socket


@pytest.fixture
def signed_in(opened: Any) -> Callable[[Any], ClientConnection]:
    def sign_in(served: Any, key: str = KEY) -> ClientConnection:
        socket = opened(served)
        say(socket, taskType="authentication", apiKey=key)
        assert hear(socket)["data"][0]["taskType"] == "authentication"
        return socket

    return sign_in


def say(socket: ClientConnection, **fields: Any) -> None:
    socket.send(json.dumps([fields]))


def hear(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=10)))


# -------------------------------------------------------------------- POST


def test_a_sync_task_is_answered_when_its_video_is_there(served: Any, inputs: Any, mp4: bytes) -> None:
    asked = task(
        deliveryMethod="sync",
        inputs=inputs,
        positivePrompt="a knight",
        resolution="1080p",
        fps=24,
        seed=5,
        settings={"preserveAudio": False},
        outputFormat="WEBM",
        outputQuality=60,
        outputType="URL",
        includeCost=True,
        safety={"checkContent": True},
    )
    (item,) = post(served, asked)["data"]
    assert item == {
        "taskType": "videoInference",
        "taskUUID": asked["taskUUID"],
        "status": "success",
        "videoUUID": item["videoUUID"],
        "videoURL": item["videoURL"],
        "seed": 5,
        "safety": "not_checked",
        "warnings": [],
        "cost": 0.0,
    }
    assert uuid.UUID(item["videoUUID"]).version == 4
    answer = httpx.get(item["videoURL"])
    assert (answer.content, answer.headers["content-type"]) == (mp4, "video/webm")
    (params,) = served.renderer.seen
    assert (params.mode, params.prompt, params.resolution, params.fps) == ("animate", "a knight", "1080p", 24)
    assert (params.keep_audio, params.output_format, params.quality) == (False, "webm", 60)


def test_an_async_task_with_bare_base64_and_several_results(served: Any, png: bytes, mp4: bytes) -> None:
    image, video = (base64.b64encode(data).decode() for data in (png, mp4))
    asked = task(model=REPLACE, inputs={"video": video, "referenceImages": [image]}, numberResults=3, seed=7)
    assert post(served, asked) == {"data": [{"taskType": "videoInference", "taskUUID": asked["taskUUID"]}]}
    served.wait(asked["taskUUID"], "succeeded")
    items = post(served, {"taskType": "getResponse", "taskUUID": asked["taskUUID"]})["data"]
    assert [(item["status"], item["seed"]) for item in items] == [("success", 7), ("success", 8), ("success", 9)]
    assert len({item["videoUUID"] for item in items}) == 3
    assert {httpx.get(item["videoURL"]).content for item in items} == {mp4}
    assert "cost" not in items[0]
    assert {params.mode for params in served.renderer.seen} == {"replace"}


def test_many_tasks_in_one_request_and_the_key_in_the_first(idle: Any) -> None:
    sign_in = {"taskType": "authentication", "apiKey": KEY}
    good, bad = task(), task(model="runware:101@1")
    answer = httpx.post(f"{idle.url}{PATH}", json=[sign_in, good, bad, {"taskType": "ping", "ping": True}])
    assert answer.status_code == 200
    session, accepted, pong = answer.json()["data"]
    assert uuid.UUID(session["connectionSessionUUID"])
    assert accepted == {"taskType": "videoInference", "taskUUID": good["taskUUID"]}
    assert pong == {"taskType": "ping", "pong": True}
    (error,) = answer.json()["errors"]
    assert (error["code"], error["parameter"], error["taskUUID"]) == ("invalidModel", "model", bad["taskUUID"])
    poll = post(idle, {"taskType": "getResponse", "taskUUID": good["taskUUID"]})["data"]
    assert poll == [accepted | {"status": "processing", "progress": 0}]
    alone = idle.http.post(PATH, json={"taskType": "ping", "ping": True})
    assert alone.json() == {"data": [pong]}


def test_keys(idle: Any) -> None:
    for key in ({}, {"authorization": "Bearer wrong"}):
        answer = httpx.post(f"{idle.url}{PATH}", json=[task()], headers=key)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["taskType"]) == (401, "invalidApiKey", "authentication")
    inside = [{"taskType": "authentication", "apiKey": "wrong"}, task()]
    assert httpx.post(f"{idle.url}{PATH}", json=inside).status_code == 401
    late = [task(positivePrompt="x" * 5000), {"taskType": "authentication", "apiKey": KEY}]
    assert httpx.post(f"{idle.url}{PATH}", json=late).status_code == 401
    known = post(idle, task())["data"][0]["taskUUID"]
    stranger = httpx.post(
        f"{idle.url}{PATH}", json=[{"taskType": "getResponse", "taskUUID": known}], headers={"x-api-key": OTHER_KEY}
    )
    assert (stranger.status_code, stranger.json()["errors"][0]["code"]) == (404, "taskFailedOrNotFound")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"taskUUID": "1"}, "invalidTaskUUID", "taskUUID"),
    ({"inputs": None}, "invalidInputs", "inputs"),
    ({"inputs": {"referenceVideos": ["x"]}}, "missingReferenceImages", "inputs.referenceImages"),
    ({"inputs": {"referenceImages": ["x"]}}, "missingReferenceVideos", "inputs.referenceVideos"),
    ({"inputs": URLS | {"referenceImages": ["a", "b"]}}, "unsupportedReferenceImages", "inputs.referenceImages"),
    ({"inputs": URLS | {"referenceVideos": ["a", "b"]}}, "invalidReferenceVideos", "inputs.referenceVideos"),
    ({"inputs": URLS | {"video": "x"}}, "unsupportedVideo", "inputs.video"),
    ({"inputs": URLS | {"mask": "x"}}, "unsupportedMask", "inputs.mask"),
    ({"model": REPLACE}, "unsupportedReferenceVideos", "inputs.referenceVideos"),
    ({"inputs": URLS | {"referenceImages": ["nonsense"]}}, "invalidReferenceImages", "inputs.referenceImages"),
    ({"inputs": URLS | {"referenceVideos": ["http://10.0.0.1/"]}}, "invalidReferenceVideos", "inputs.referenceVideos"),
    ({"resolution": "480p"}, "invalidResolution", "resolution"),
    ({"fps": 30}, "invalidFps", "fps"),
    ({"numberResults": 5}, "invalidNumberResults", "numberResults"),
    ({"outputFormat": "GIF"}, "invalidOutputFormat", "outputFormat"),
    ({"outputType": "base64Data"}, "invalidOutputType", "outputType"),
    ({"uploadEndpoint": "http://10.0.0.1/put"}, "invalidUploadEndpoint", "uploadEndpoint"),
    ({"uploadEndpoint": "https://e.com/", "numberResults": 2}, "unsupportedUploadEndpoint", "uploadEndpoint"),
    ({"ttl": 10**7}, "invalidTtl", "ttl"),
    ({"width": 1280}, "unsupportedWidth", "width"),
    ({"taskType": "imageInference"}, "unsupportedTaskType", "taskType"),
]


def test_bad_parameters(idle: Any, subtests: pytest.Subtests) -> None:
    for change, code, parameter in BAD:
        with subtests.test(change=str(change)):
            asked = task() | change
            status, error = refused(idle, asked)
            assert (status, error["code"], error["parameter"]) == (400, code, parameter)
            assert error["taskUUID"] == asked["taskUUID"]
            assert error["message"]
    for body in (b"{", b"[]", b"[1]", b"null"):
        answer = idle.http.post(PATH, content=body)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalidRequestBody")
    assert idle.http.get(PATH).json()["errors"][0]["code"] == "unsupportedMethod"
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_a_task_id_is_taken_once(idle: Any) -> None:
    asked = task()
    post(idle, asked)
    status, error = refused(idle, asked)
    assert (status, error["code"], error["taskUUID"]) == (400, "conflictTaskUUID", asked["taskUUID"])
    assert len(idle.http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_task_that_fails(serve: Any, inputs: Any) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        asked = task(
            deliveryMethod="sync", inputs=inputs | {"referenceVideos": [f"{served.url}/files/none.mp4?token=x"]}
        )
        (error,) = post(served, asked)["errors"]
        assert (error["code"], error["status"]) == ("invalidReferenceVideos", "error")
        assert error["message"].endswith("/files/none.mp4?... answered 404")
        assert post(served, {"taskType": "getResponse", "taskUUID": asked["taskUUID"]})["errors"] == [error]
        nobody = task(deliveryMethod="sync", inputs=inputs, positivePrompt="nobody")
        assert post(served, nobody)["errors"][0]["message"] == "no person in 0 of 90 frames"
        canceled = task(inputs=inputs, positivePrompt="endless")
        post(served, canceled)
        served.http.delete(f"/v1/jobs/{canceled['taskUUID']}")
        served.wait(canceled["taskUUID"], "canceled")
        (error,) = post(served, {"taskType": "getResponse", "taskUUID": canceled["taskUUID"]})["errors"]
        assert error["code"] == "taskCancelled"


def test_a_caller_who_hangs_up_finds_the_task_again(served: Any, inputs: Any) -> None:
    asked = task(deliveryMethod="sync", inputs=inputs, positivePrompt="slow")
    with pytest.raises(httpx.ReadTimeout):
        served.http.post(PATH, json=[asked], timeout=0.8)
    assert served.wait(asked["taskUUID"], "succeeded")["cancel_requested"] is False


def test_media_is_stored_named_by_uuid_and_deleted(serve: Any, png: bytes, mp4: bytes) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        new = {"taskUUID": str(uuid.uuid4())}
        (image,) = post(served, new | {"taskType": "imageUpload", "image": uri("image/png", png)})["data"]
        assert (image["taskType"], httpx.get(image["imageURL"]).content) == ("imageUpload", png)
        bare = new | {"taskType": "mediaStorage", "operation": "upload", "media": base64.b64encode(mp4).decode()}
        (video,) = post(served, bare)["data"]
        fetched = post(served, new | {"taskType": "mediaStorage", "media": video["mediaURL"]})["data"][0]
        assert httpx.get(fetched["mediaURL"]).content == mp4
        given = {"referenceImages": [image["imageUUID"]], "referenceVideos": [video["mediaUUID"]]}
        (item,) = post(served, task(deliveryMethod="sync", inputs=given))["data"]
        again = {"referenceImages": [image["imageUUID"]], "referenceVideos": [item["videoUUID"]]}
        (second,) = post(served, task(deliveryMethod="sync", inputs=again))["data"]
        assert second["status"] == "success"
        delete = new | {"taskType": "mediaStorage", "operation": "delete", "media": video["mediaUUID"]}
        (gone,) = post(served, delete)["data"]
        assert (gone["operation"], gone["mediaUUID"]) == ("delete", video["mediaUUID"])
        assert refused(served, delete)[0] == 404
        status, error = refused(served, task(inputs=given))
        assert (status, error["code"]) == (400, "invalidReferenceVideos")
        for media, code in (("http://10.0.0.1/", "invalidMedia"), ("x" * 200, "invalidMedia")):
            assert refused(served, bare | {"media": media})[1]["code"] == code


def test_an_earlier_result_drives_the_next_in_every_spelling(served: Any, inputs: Any) -> None:
    (first,) = post(served, task(deliveryMethod="sync", inputs=inputs))["data"]
    for name in (first["videoUUID"], first["videoUUID"].upper(), first["taskUUID"], first["videoURL"]):
        chained = inputs | {"referenceVideos": [name]}
        assert post(served, task(deliveryMethod="sync", inputs=chained))["data"][0]["status"] == "success"
        answer = httpx.post(f"{served.url}{PATH}", json=[task(inputs=chained)], headers={"x-api-key": OTHER_KEY})
        assert answer.status_code == (200 if name == first["videoURL"] else 400)
    status, error = refused(served, task(inputs=inputs | {"referenceImages": [first["videoUUID"]]}))
    assert (status, error["code"]) == (400, "invalidReferenceImages")
    assert "is a generated video" in error["message"]


def test_details_show_what_was_asked_without_secrets(idle: Any) -> None:
    asked = task(inputs=URLS | {"referenceVideos": ["https://example.com/b.mp4?signature=secret"]}, ttl=600)
    post(idle, asked)
    (details,) = post(idle, {"taskType": "getTaskDetails", "taskUUID": asked["taskUUID"]})["data"]
    assert details["taskType"] == "getTaskDetails"
    shown = asked | {"inputs": URLS | {"referenceVideos": ["https://example.com/b.mp4?..."]}}
    assert details["request"] == [shown]
    assert details["response"]["data"][0]["status"] == "processing"


def test_ttl(serve: Any, inputs: Any) -> None:
    with serve(job_retention_s=1000.0) as served:
        (item,) = post(served, task(deliveryMethod="sync", inputs=inputs, ttl=60))["data"]
        job = served.backend.store.get(item["taskUUID"])
        assert job.expires_at - job.finished_at == pytest.approx(60)
        status, error = refused(served, task(inputs=inputs, ttl=1001))
        assert (status, error["message"]) == (400, "a result is kept for 1000 s at most")


def test_a_full_queue(serve: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        post(idle, task())
        status, error = refused(idle, task())
        assert (status, error["code"]) == (429, "rateLimitExceeded")


# -------------------------------------------------------------------- WebSocket


def test_the_end_of_a_task_comes_unasked(served: Any, signed_in: Any, inputs: Any, mp4: bytes) -> None:
    socket = signed_in(served)
    for delivery in ("async", "sync"):
        asked = task(deliveryMethod=delivery, inputs=inputs, numberResults=2)
        say(socket, **asked)
        if delivery == "async":
            assert hear(socket) == {"data": [{"taskType": "videoInference", "taskUUID": asked["taskUUID"]}]}
        items = hear(socket)["data"]
        assert [(item["taskUUID"], item["status"]) for item in items] == [(asked["taskUUID"], "success")] * 2
        assert httpx.get(items[0]["videoURL"]).content == mp4
        assert items[0]["videoURL"].startswith(served.url + "/files/")


def test_another_socket_hears_the_end_of_what_it_asked_about(served: Any, signed_in: Any, inputs: Any) -> None:
    asked = task(inputs=inputs, positivePrompt="slow")
    first = signed_in(served)
    say(first, **asked)
    hear(first)
    first.close()
    second = signed_in(served)
    say(second, taskType="getResponse", taskUUID=asked["taskUUID"])
    assert hear(second)["data"][0]["status"] == "processing"
    assert hear(second)["data"][0]["status"] == "success"


def test_sessions_pings_and_keys(idle: Any, opened: Any) -> None:
    socket = opened(idle)
    say(socket, taskType="ping", ping=True)
    assert hear(socket) == {"data": [{"taskType": "ping", "pong": True}]}
    asked = task()
    say(socket, **asked)
    (error,) = hear(socket)["errors"]
    assert (error["code"], error["taskUUID"]) == ("invalidApiKey", asked["taskUUID"])
    say(socket, taskType="authentication", apiKey="wrong")
    assert hear(socket) == {
        "errors": [
            {
                "code": "invalidApiKey",
                "message": "Invalid API key",
                "parameter": "apiKey",
                "taskType": "authentication",
            }
        ]
    }
    session = str(uuid.uuid4())
    say(socket, taskType="authentication", apiKey=KEY, connectionSessionUUID=session)
    assert hear(socket) == {"data": [{"taskType": "authentication", "connectionSessionUUID": session}]}


def test_one_error_a_frame_and_frames_that_are_none(idle: Any, signed_in: Any) -> None:
    socket = signed_in(idle)
    first, second = task(fps=30), task(model="x")
    socket.send(json.dumps([first, second]))
    heard = [hear(socket)["errors"] for _ in range(2)]
    assert sorted(len(errors) for errors in heard) == [1, 1]
    assert {errors[0]["taskUUID"] for errors in heard} == {first["taskUUID"], second["taskUUID"]}
    for frame in ("{", "[]", "[1]", b"\xff"):
        socket.send(frame)
        assert hear(socket)["errors"][0]["code"] == "invalidRequestBody"
    say(socket, taskType="getResponse", taskUUID="unknown")
    assert hear(socket)["errors"][0]["code"] == "taskFailedOrNotFound"


def test_a_fault_of_ours_is_answered(idle: Any, signed_in: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("https://secret.example/?token=hunter2")

    socket = signed_in(idle)
    monkeypatch.setattr("animate_server.adapters.jobs.StoredJobs.get", broken)
    say(socket, taskType="getResponse", taskUUID="x")
    (error,) = hear(socket)["errors"]
    assert (error["code"], error["taskUUID"]) == ("internalServerError", "x")
    assert "hunter2" not in str(error)


def test_strangers_may_not_stay(idle: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("animate_server.dialects.runware.session.SIGN_IN_S", 0.1)
    with pytest.raises(ConnectionClosed) as closed:
        opened(idle).recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_failed_task_over_the_socket(served: Any, signed_in: Any, inputs: Any) -> None:
    socket = signed_in(served)
    asked = task(inputs=inputs, positivePrompt="nobody")
    say(socket, **asked)
    hear(socket)
    (error,) = hear(socket)["errors"]
    assert (error["code"], error["taskUUID"], error["status"]) == ("invalidReferenceVideos", asked["taskUUID"], "error")


def test_the_account_and_the_models(idle: Any) -> None:
    post(idle, task())
    number = str(uuid.uuid4())
    asked = {"taskType": "accountManagement", "taskUUID": number, "operation": "getDetails"}
    (account,) = post(idle, asked)["data"]
    assert (account["taskUUID"], account["balance"], account["usage"]["today"]["requests"]) == (number, 0.0, 1)
    search = {"taskType": "modelSearch", "taskUUID": number}
    for change, models in (
        ({}, [ANIMATE, REPLACE]),
        ({"search": "REPLACE"}, [REPLACE]),
        ({"category": "lora"}, []),
        ({"tags": ["anime"]}, []),
        ({"limit": 1, "offset": 1}, [REPLACE]),
    ):
        (found,) = post(idle, search | change)["data"]
        assert [model["air"] for model in found["results"]] == models
    assert post(idle, search | {"limit": 1})["data"][0]["totalResults"] == 2
    for wrong, code in (({"operation": "createKey"}, "invalidOperation"), ({"colour": 1}, "unsupportedColour")):
        assert refused(idle, asked | wrong)[1]["code"] == code


@pytest.mark.parametrize("task_uuid", ["a1b2c3d4-e5f6-7890-abcd-ef1234567890", "01900000-0000-7000-8000-000000000001"])
def test_any_canonical_uuid_is_a_tasks_id(idle: Any, task_uuid: str) -> None:
    (accepted,) = post(idle, task(taskUUID=task_uuid, deliveryMethod="async"))["data"]
    assert accepted["taskUUID"] == task_uuid


@pytest.mark.parametrize("form", ["", "x", "{}", "a1b2c3d4e5f67890abcdef1234567890"])
def test_what_is_no_uuid_is_refused(idle: Any, form: str) -> None:
    _, error = refused(idle, task(taskUUID=form))
    assert error["parameter"] == "taskUUID"
    assert "must be a UUID such as" in error["message"]
