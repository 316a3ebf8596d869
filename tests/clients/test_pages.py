"""The bodies that services show on their own pages, word for word but for hosts, prompts and the names of uploads."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames, decode

pytestmark = pytest.mark.clients
PAGES = Path(__file__).with_name("pages")


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers={"Authorization": f"Bearer {KEY}"}, timeout=120) as client:
        yield client


@pytest.fixture
def hosted(http: httpx.Client, inputs: Inputs) -> tuple[str, str]:
    """URLs of the image and the video, on a host that input URLs may point at."""
    urls = [
        http.post("/segmind/upload-asset", json={"data_urls": [uri]}).json()["file_urls"][0]
        for uri in (inputs.image_uri, inputs.video_uri)
    ]
    return urls[0], urls[1]


def page(name: str, hosted: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """A page's bodies, with its example addresses pointed at files that exist."""
    text = (PAGES / f"{name}.json").read_text()
    text = re.sub(r"https://(?:HOST|example\.com)/[\w-]+\.(?:jpg|png)", hosted[0], text)
    return dict(json.loads(re.sub(r"https://(?:HOST|example\.com)/[\w-]+\.mp4", hosted[1], text)))


def types_of(body: Any) -> Any:
    """The keys of a body with the types of their values."""
    if isinstance(body, dict):
        return {name: types_of(value) for name, value in body.items()}
    return [types_of(value) for value in body[:1]] if isinstance(body, list) else type(body).__name__


def holds(shown: Any, wanted: Any) -> bool:
    """Whether `shown` has every key of `wanted`, with values of the same types; it may have more."""
    if isinstance(wanted, dict):
        return isinstance(shown, dict) and all(name in shown and holds(shown[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(shown, list) and all(holds(value, wanted[0]) for value in shown)
    return bool(shown == wanted)


def until(look: Callable[[], dict[str, Any]], running: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (shown := look())["status"] in running:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return shown


def test_runware(http: httpx.Client, hosted: tuple[str, str]) -> None:
    bodies = page("runware", hosted)
    answer = http.post("/runware/v1", json=bodies["request"]).json()
    assert "errors" not in answer
    (task,) = bodies["request"]
    look = [{"taskType": "getResponse", "taskUUID": task["taskUUID"]}]
    until(lambda: http.post("/runware/v1", json=look).json()["data"][0], {"processing"})
    shown = http.post("/runware/v1", json=look).json()
    assert holds(types_of(shown), types_of(bodies["response"])), shown
    assert shown["data"][0]["taskUUID"] == task["taskUUID"]
    assert count_frames(shown["data"][0]["videoURL"]) == NUM_FRAMES


def test_segmind(http: httpx.Client, hosted: tuple[str, str]) -> None:
    body = page("segmind", hosted)["request"]
    submitted = http.post("/segmind/v2/p-video-animate", json=body).json()
    path = f"/segmind/v2/requests/{submitted['request_id']}"
    until(lambda: http.get(f"{path}/status").json(), {"QUEUED", "PROCESSING"})
    done = http.get(path).json()
    assert (done["status"], done["seed"], count_frames(done["output"])) == ("COMPLETED", 42, NUM_FRAMES)
    assert decode(http.post("/segmind/v1/p-video-animate", json=body).content) == NUM_FRAMES


def test_runninghub(http: httpx.Client, inputs: Inputs) -> None:
    bodies = page("runninghub")
    route = "/runninghub/openapi/v2"
    unknown = http.post(f"{route}/rhart-video/wan2.2/character-motion-transfer", json=bodies["request"]).json()
    name = bodies["request"]["299##image"].partition(".")[0]
    assert (unknown["errorCode"], f"there is no file {name} here" in unknown["errorMessage"]) == ("1007", True)
    names = []
    for path in (inputs.image, inputs.video):
        with path.open("rb") as file:
            given = http.post(f"{route}/media/upload/binary", files={"file": file}).json()["data"]["fileName"]
        assert re.fullmatch(r"openapi/[0-9a-f]{64}\.(png|mp4)", given)
        names.append(given.removeprefix("openapi/"))  # as their page has it; the whole name does too
    body = dict(zip(bodies["request"], names, strict=True))
    answer = http.post(f"{route}/rhart-video/wan2.2/character-motion-transfer", json=body).json()
    assert holds(types_of(answer), types_of(bodies["response"])), answer
    assert (answer["status"], answer["results"]) == ("RUNNING", None)
    assert types_of(json.loads(answer["promptTips"])) == types_of(json.loads(bodies["response"]["promptTips"]))
    done = until(
        lambda: http.post(f"{route}/query", json={"taskId": answer["taskId"]}).json(), {"CREATE", "QUEUED", "RUNNING"}
    )
    assert (done["status"], count_frames(done["results"][0]["url"])) == ("SUCCESS", NUM_FRAMES)


def test_eachlabs_rules(http: httpx.Client, hosted: tuple[str, str]) -> None:
    """Their page has no body; what it says: a prompt may come, performances last from 3 s, files have up to 50 MB."""
    fields = {
        "character_type": "image",
        "character_uri": hosted[0],
        "reference_uri": hosted[1],
        "aspect_ratio": "1280:720",
        "prompt": "steady and calm",
    }
    answer = http.post("/eachlabs/v1/prediction", json={"model": "runway-act-two", "input": fields})
    assert answer.status_code == 400
    assert answer.json()["details"] == "reference_uri lasts 0.4 s; at least 3 s are needed"
    schema = http.get("/eachlabs/v1/model", params={"slug": "runway-act-two"}).json()["request_schema"]
    assert "At least 3 s" in schema["properties"]["reference_uri"]["description"]
    assert "at most 50 MB" in schema["description"]
    move = {"image_url": hosted[0], "video_url": hosted[1], "prompt": "steady", "num_inference_steps": 1}
    asked = {"model": "wan-v2-2-14b-animate-move", "input": move}
    created = http.post("/eachlabs/v1/prediction", json=asked).json()
    done = until(
        lambda: http.get(f"/eachlabs/v1/prediction/{created['predictionID']}").json(),
        {"created", "starting", "processing"},
    )
    assert (done["status"], done["input"]) == ("success", move)
