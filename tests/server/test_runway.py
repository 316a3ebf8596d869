"""The published client, unmodified, against our /runway; only its pause between polls is shortened."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import runwayml
from runwayml.lib import polling

KEY = "key-of-one-studio"
URLS = {
    "model": "act_two",
    "character": {"type": "image", "uri": "https://example.com/a.png"},
    "reference": {"type": "video", "uri": "https://example.com/b.mp4"},
}
CREATE = "/runway/v1/character_performance"


@pytest.fixture(autouse=True)
def _poll_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "POLL_TIME", 0.05)
    monkeypatch.setattr(polling, "POLL_JITTER", 0.0)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., runwayml.RunwayML]]:
    """As in production: the client finds the server through its environment."""
    made: list[runwayml.RunwayML] = []

    def make(served: Any, key: str = KEY) -> runwayml.RunwayML:
        monkeypatch.setenv("RUNWAYML_BASE_URL", f"{served.url}/runway")
        monkeypatch.setenv("RUNWAYML_API_SECRET", key)
        made.append(runwayml.RunwayML(max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def inline(png: bytes, mp4: bytes) -> dict[str, Any]:
    def uri(media_type: str, data: bytes) -> str:
        return f"data:{media_type};base64,{base64.b64encode(data).decode()}"

    return {
        "model": "act_two",
        "character": {"type": "image", "uri": uri("image/png", png)},
        "reference": {"type": "video", "uri": uri("video/mp4", mp4)},
    }


def test_create_wait_download_delete(served: Any, connect: Any, inline: dict[str, Any], mp4: bytes) -> None:
    client = connect(served)
    created = client.character_performance.create(
        **inline,
        ratio="1280:720",
        seed=5,
        body_control=False,
        expression_intensity=5,
        content_moderation={"public_figure_threshold": "auto"},
    )
    assert created.estimated_cost.credits == 0
    task = created.wait_for_task_output(timeout=10)
    assert (task.status, task.id, task.cost.credits) == ("SUCCEEDED", created.id, 0)
    assert abs(task.created_at.timestamp() - time.time()) < 10
    assert (task.ratio, task.seed, task.warnings, task.safety) == ("64:64", 5, [], "not_checked")
    (url,) = task.output
    answer = httpx.get(url)
    assert (answer.content, answer.headers["content-type"]) == (mp4, "video/mp4")
    (params,) = served.renderer.seen
    assert (params.output_size, params.body_control, params.expression, params.safety_check) == (
        (1280, 720),
        False,
        5,
        True,
    )
    assert (params.seed, params.mode, params.resolution, params.fps) == (5, "animate", "720p", "source")
    client.tasks.delete(created.id)
    with pytest.raises(runwayml.NotFoundError) as gone:
        client.tasks.retrieve(created.id)
    assert gone.value.body == {"error": f"Task {created.id} not found"}
    assert httpx.get(url).status_code == 404


def test_uploads(served: Any, connect: Any, tmp_path: Path, png: bytes, mp4: bytes) -> None:
    (tmp_path / "a.png").write_bytes(png)
    client = connect(served)
    image = client.uploads.create_ephemeral(file=tmp_path / "a.png", file_metadata="x").uri
    video = client.uploads.create_ephemeral(file=("b.mp4", mp4)).uri
    assert image.startswith("runway://")
    character, reference = {"type": "image", "uri": image}, {"type": "video", "uri": video}
    created = client.character_performance.create(model="act_two", character=character, reference=reference)
    assert created.wait_for_task_output(timeout=10).status == "SUCCEEDED"
    with pytest.raises(runwayml.BadRequestError) as refused:
        connect(served, "key-of-another").character_performance.create(
            model="act_two", character=character, reference=reference
        )
    assert refused.value.body["issues"][0]["path"] == ["character", "uri"]


def test_a_character_may_be_a_video(served: Any, connect: Any, inline: dict[str, Any]) -> None:
    served.renderer.result = {"warnings": ["the reference is the frame at 1.2 s of the character's video"]}
    moving = inline | {"character": inline["reference"]}
    task = connect(served).character_performance.create(**moving).wait_for_task_output(timeout=10)
    assert task.warnings == served.renderer.result["warnings"]
    assert served.renderer.seen[0].reference_kind == "video"
    picture = connect(served).character_performance
    with pytest.raises(runwayml.BadRequestError) as refused:
        picture.create(**inline | {"character": {"type": "video", "uri": inline["character"]["uri"]}})
    assert refused.value.body["issues"][0]["path"] == ["character", "uri"]


def test_an_upload_url_takes_one_file_and_no_forgery(idle: Any, png: bytes) -> None:
    started = idle.http.post("/runway/v1/uploads", json={"filename": "a.png", "type": "ephemeral"}).json()
    url = started["uploadUrl"]
    assert httpx.post(url, files={"file": b"no media"}).status_code == 400
    assert httpx.post(url, files={"other": png}).status_code == 400
    assert httpx.post(url, files={"file": png}).status_code == 204
    again = httpx.post(url, files={"file": png})
    assert (again.status_code, again.json()["issues"][0]["message"]) == (400, "this upload URL has been used")
    read = httpx.get(f"{idle.url}/files/uploads/{started['runwayUri'].removeprefix('runway://')}")
    assert read.content == png
    owner = url.rpartition("/")[2].split(".")[1]
    for forged in (url[:-1], url.replace(owner, "anonymous"), f"{idle.url}/runway/uploads/x"):
        answer = httpx.post(forged, files={"file": png})
        assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_a_task_that_fails(serve: Any, connect: Any, inline: dict[str, Any]) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        unreachable = {"type": "video", "uri": f"{served.url}/files/none?token=x"}
        created = connect(served).character_performance.create(**inline | {"reference": unreachable})
        with pytest.raises(polling.TaskFailedError) as failed:
            created.wait_for_task_output(timeout=10)
        details = failed.value.task_details
        assert (details.status, details.failure_code, details.cost.credits) == ("FAILED", "ASSET.INVALID", 0)
        assert details.failure.endswith("/files/none?... answered 404")


def test_deleting_stops_a_running_task(served: Any, connect: Any, inline: dict[str, Any]) -> None:
    same = {"reference_image": inline["character"]["uri"], "driving_video": inline["reference"]["uri"]}
    job = served.http.post("/v1/jobs", json=same | {"prompt": "endless"}).json()
    client = connect(served)
    deadline = time.monotonic() + 10
    while (task := client.tasks.retrieve(job["id"])).status != "RUNNING" or task.progress != 0.5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    client.tasks.delete(job["id"])
    with pytest.raises(runwayml.NotFoundError):
        client.tasks.retrieve(job["id"])
    served.wait(job["id"], "canceled")


def test_a_queued_task(idle: Any, connect: Any) -> None:
    client = connect(idle)
    created = client.character_performance.create(**URLS)
    task = client.tasks.retrieve(created.id)
    assert (task.status, task.estimated_cost.credits, task.to_dict().keys()) == (
        "PENDING",
        0,
        {"id", "status", "createdAt", "estimatedCost"},
    )
    organization = client.organization.retrieve()
    assert organization.usage.models["act_two"].daily_generations == 1
    assert organization.tier.models["act_two"].max_concurrent_generations is None
    client.tasks.delete(created.id)
    for call in (client.tasks.retrieve, client.tasks.delete):
        with pytest.raises(runwayml.NotFoundError):
            call(created.id)


def _character(**change: Any) -> dict[str, Any]:
    return {"character": URLS["character"] | change}  # type: ignore[operator]


BAD: list[tuple[dict[str, Any], list[str], str]] = [
    (_character(type="audio"), ["character", "type"], "character.type must be one of image, video"),
    (_character(uri="ftp://x.example/"), ["character", "uri"], "character.uri must be an http(s) URL"),
    (_character(uri="http://10.0.0.1/"), ["character", "uri"], "10.0.0.1 is not a public address"),
    (_character(uri="runway://none"), ["character", "uri"], "character.uri: there is no upload 'none'"),
    (_character(url="x"), ["character", "url"], "character.url is not a field here"),
    ({"reference": {"type": "video"}}, ["reference", "uri"], "reference.uri is required"),
    ({"model": "act_one"}, ["model"], "model must be one of act_two, not 'act_one'"),
    ({"ratio": "16:9"}, ["ratio"], "ratio must be one of 1280:720,"),
    ({"seed": 2**32}, ["seed"], "seed must be at most 4294967295, not 4294967296"),
    ({"bodyControl": "no"}, ["bodyControl"], "bodyControl must be true or false"),
    ({"expressionIntensity": 6}, ["expressionIntensity"], "expressionIntensity must be at most 5"),
    ({"contentModeration": {"publicFigureThreshold": "high"}}, ["contentModeration", "publicFigureThreshold"], ""),
    ({"promptText": "x"}, ["promptText"], "promptText is not a field here"),
]


def test_bad_fields_are_400_in_their_shape(idle: Any, subtests: pytest.Subtests) -> None:
    for change, path, words in BAD:
        with subtests.test(change=str(change)):
            answer = idle.http.post(CREATE, json=URLS | change)
            body = answer.json()
            assert (answer.status_code, body["error"], set(body)) == (
                400,
                "Validation of body failed",
                {"error", "issues", "docUrl"},
            )
            (issue,) = body["issues"]
            assert issue["path"] == path
            assert issue["message"].startswith(words)
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_errors_of_the_client(idle: Any, connect: Any) -> None:
    with pytest.raises(runwayml.BadRequestError) as refused:
        connect(idle).character_performance.create(**URLS, expression_intensity=6)
    assert refused.value.body["issues"][0]["path"] == ["expressionIntensity"]
    with pytest.raises(runwayml.AuthenticationError) as wrong:
        connect(idle, "wrong").tasks.retrieve("x")
    assert wrong.value.body == {"error": "Invalid API key"}
    assert idle.http.post(CREATE, content=b"{").json()["error"].startswith("the body is not valid JSON")
    assert idle.http.put(CREATE).status_code == 405
    created = connect(idle).character_performance.create(**URLS)
    with pytest.raises(runwayml.NotFoundError):
        connect(idle, "key-of-another").tasks.retrieve(created.id)


def test_a_full_queue(serve: Any, connect: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        client = connect(idle)
        client.character_performance.create(**URLS)
        with pytest.raises(runwayml.RateLimitError) as refused:
            client.character_performance.create(**URLS)
        assert refused.value.response.headers["retry-after"] == "30"


def test_the_asynchronous_client(served: Any, inline: dict[str, Any], mp4: bytes) -> None:
    async def run() -> list[str]:
        async with runwayml.AsyncRunwayML(api_key=KEY, base_url=f"{served.url}/runway", max_retries=0) as client:
            uri = (await client.uploads.create_ephemeral(file=("b.mp4", mp4))).uri
            fields = inline | {"reference": {"type": "video", "uri": uri}}
            created = await client.character_performance.create(**fields)
            task = await created.wait_for_task_output(timeout=10)
            return list(task.output)

    (url,) = asyncio.run(run())
    assert httpx.get(url).content == mp4
