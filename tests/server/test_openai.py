"""The published client, unmodified, against our /v1/videos."""

from __future__ import annotations

import asyncio
import base64
import io
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from animate_pipelines.request.params import DEFAULT_PROMPT
from animate_server.dialects.openai import dialect
from animate_server.jobs import Artefact

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
KEY = "key-of-one-studio"
URLS = {"input_reference": {"image_url": "https://example.com/a.png"}, "driving_video": "https://example.com/b.mp4"}


@pytest.fixture
def connect() -> Iterator[Callable[..., openai.OpenAI]]:
    made: list[openai.OpenAI] = []

    def make(served: Any, key: str = KEY) -> openai.OpenAI:
        made.append(openai.OpenAI(api_key=key, base_url=f"{served.url}/v1", max_retries=0))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def video_uri(mp4: bytes) -> str:
    return f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}"


def wait(client: openai.OpenAI, video_id: str, status: str) -> Any:
    deadline = time.monotonic() + 10
    while (video := client.videos.retrieve(video_id)).status != status:
        assert time.monotonic() < deadline, video
        time.sleep(0.02)
    return video


def test_create_wait_download_delete(served: Any, connect: Any, png: bytes, mp4: bytes, video_uri: str) -> None:
    client = connect(served)
    video = client.videos.create(
        prompt="a knight",
        model="wan2.2-animate",
        input_reference=("who.png", png),
        size="1920x1080",
        seconds="4",
        extra_body={"driving_video": video_uri, "seed": 5, "fps": 24, "keep_audio": False},
    )
    assert (video.object, video.status, video.progress, video.model) == ("video", "queued", 0, "wan2.2-animate")
    assert (video.error, video.completed_at, video.size) == (None, None, None)
    assert abs(video.created_at - time.time()) < 5
    done = wait(client, video.id, "completed")
    assert (done.progress, done.size, done.prompt) == (100, "64x64", "a knight")
    assert done.created_at <= done.completed_at < done.expires_at
    content = client.videos.download_content(video.id)
    assert (content.content, content.response.headers["content-type"]) == (mp4, "video/mp4")
    (params,) = served.renderer.seen
    assert (params.resolution, params.fps, params.num_frames, params.seed) == ("1080p", 24, 96, 5)
    assert (params.keep_audio, params.mode) == (False, "animate")
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)
    assert not [path for path in served.backend.settings.artefacts_dir.rglob("*") if path.is_file()]


def test_a_large_data_uri_in_the_form(served: Any, connect: Any, png: bytes, mp4: bytes) -> None:
    large = base64.b64encode(mp4 + bytes(2**20)).decode()
    body = {"driving_video": f"data:video/mp4;base64,{large}"}
    video = connect(served).videos.create(prompt="", input_reference=png, extra_body=body)
    wait(connect(served), video.id, "completed")


def test_the_text_of_a_form_has_a_limit(serve: Any, connect: Any, png: bytes) -> None:
    with serve(worker=False, max_json_bytes=1000) as idle:
        with pytest.raises(openai.BadRequestError) as refused:
            connect(idle).videos.create(prompt="x" * 1001, input_reference=png)
        assert refused.value.code == "body_too_large"


def test_references_by_url_by_id_and_as_json(idle: Any, connect: Any, png: bytes, mp4: bytes) -> None:
    image, video = (idle.http.post("/v1/uploads", content=data).json() for data in (png, mp4))
    client = connect(idle)
    for reference in ({"image_url": image["url"]}, {"file_id": image["id"]}):
        for driving in (video["url"], video["id"]):
            client.videos.create(prompt="", extra_body={"input_reference": reference, "driving_video": driving})
    posted = idle.http.post("/v1/videos", json={"input_reference": image["id"], "driving_video": video["url"]})
    assert posted.status_code == 200
    assert (posted.json()["prompt"], posted.json()["size"]) == (DEFAULT_PROMPT, None)


def test_a_failed_video_says_why(served: Any, connect: Any, png: bytes, video_uri: str) -> None:
    client = connect(served)
    made = client.videos.create(prompt="nobody", input_reference=png, extra_body={"driving_video": video_uri})
    failed = wait(client, made.id, "failed")
    assert (failed.error.code, failed.error.message) == ("no_person_found", "no person in 0 of 90 frames")
    assert failed.completed_at is None


def test_an_input_that_cannot_be_fetched_fails_the_video(serve: Any, connect: Any, video_uri: str) -> None:
    with serve(fetch_allow="127.0.0.1") as served:
        client = connect(served)
        reference = {"image_url": f"{served.url}/files/none?token=x"}
        made = client.videos.create(prompt="", extra_body={"input_reference": reference, "driving_video": video_uri})
        error = wait(client, made.id, "failed").error
        assert (error.code, error.param) == ("fetch_failed", "input_reference")
        assert error.message.endswith("/files/none?... answered 404")


def test_deleting_stops_the_render(served: Any, connect: Any, png: bytes, video_uri: str) -> None:
    client = connect(served)
    made = client.videos.create(prompt="endless", input_reference=png, extra_body={"driving_video": video_uri})
    running = wait(client, made.id, "in_progress")
    deadline = time.monotonic() + 5
    while running.progress != 50:
        assert time.monotonic() < deadline
        running = client.videos.retrieve(made.id)
    assert client.videos.delete(made.id).deleted
    assert list(client.videos.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.videos.delete(made.id)
    served.wait(made.id, "canceled")


def test_lists_are_paged_both_ways_and_private(idle: Any, connect: Any) -> None:
    client = connect(idle)
    ids = [idle.http.post("/v1/videos", json=URLS).json()["id"] for _ in range(4)]
    client.videos.delete(ids.pop(1))
    assert [video.id for video in client.videos.list(limit=2)] == ids[::-1]
    assert [video.id for video in client.videos.list(limit=2, order="asc")] == ids
    first = client.videos.list(limit=2)
    assert ([video.id for video in first.data], first.has_more, first.last_id) == (ids[:0:-1], True, ids[1])
    assert list(connect(idle, "key-of-another").videos.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.videos.list(after="unknown")


BAD = [
    ({"seconds": "8"}, "seconds", "seconds: the driving video says how long the video is"),
    ({"seconds": "long"}, "seconds", "seconds must be a number"),
    ({"size": "100x100"}, "size", "size: the shorter side must be one of 480, 580, 720, 1024, 1080, not 100"),
    ({"size": "large"}, "size", "size must have the form"),
    ({"model": "sora-2"}, "model", "model must be one of wan2.2-animate, wan2.2-replace, not 'sora-2'"),
    ({"fps": 0}, "fps", "fps must be at least 1, not 0"),
    ({"seed": -1}, "seed", "seed must be at least 0, not -1"),
    ({"colour": "red"}, "colour", "colour is not a field here"),
    ({"driving_video": "ftp://example.com/"}, "driving_video", "driving_video must be an http(s) URL"),
    ({"driving_video": "http://10.0.0.1/"}, "driving_video", "10.0.0.1 is not a public address"),
    ({"driving_video": "upload:none"}, "driving_video", "driving_video: there is no upload 'none'"),
    ({"input_reference": {}}, "input_reference", "input_reference: give either image_url or file_id"),
    ({"input_reference": "ftp://example.com/"}, "input_reference", "input_reference must be an http(s) URL"),
]


def test_bad_fields_are_400_and_name_the_field(idle: Any, subtests: pytest.Subtests) -> None:
    for change, param, words in BAD:
        with subtests.test(change=str(change)):
            answer = idle.http.post("/v1/videos", json=URLS | change)
            error = answer.json()["error"]
            assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
            assert error["message"].startswith(words)
    assert idle.http.get("/v1/videos").json()["data"] == []


def test_the_clients_errors(idle: Any, connect: Any, png: bytes) -> None:
    client = connect(idle)
    with pytest.raises(openai.BadRequestError) as missing:
        client.videos.create(prompt="", input_reference=png)
    assert (missing.value.param, missing.value.code) == ("driving_video", "invalid_field")
    with pytest.raises(openai.AuthenticationError) as refused:
        connect(idle, "wrong").videos.list()
    assert refused.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.videos.retrieve("video_unknown")
    assert unknown.value.body["message"] == "Video video_unknown not found"
    made = idle.http.post("/v1/videos", json=URLS).json()
    with pytest.raises(openai.NotFoundError):
        connect(idle, "key-of-another").videos.retrieve(made["id"])
    for variant, words in (
        ("video", "the video is queued"),
        ("thumbnail", "the video is queued"),
        ("gif", "variant must be one of"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            client.videos.download_content(made["id"], variant=variant)


@pytest.mark.parametrize(("frames", "shown"), [(40, 16), (6, 6)])
def test_pictures_of_a_video(idle: Any, connect: Any, tmp_path: Path, frames: int, shown: int) -> None:
    made = idle.http.post("/v1/videos", json=URLS).json()
    job, video = idle.backend.store.claim("w"), tmp_path / "a.mp4"
    source = f"color=c=red:s=96x64:r=20:d={frames / 20}"
    subprocess.run([get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, str(video)], check=True)
    artefact = idle.backend.artefacts.publish(video, seed=5)
    idle.backend.store.finish(job, [artefact], {"num_frames": frames})
    videos = connect(idle).videos
    pictures = {
        variant: Image.open(io.BytesIO(videos.download_content(made["id"], variant=variant).read()))
        for variant in ("thumbnail", "spritesheet")
    }
    assert [(picture.format, picture.size) for picture in pictures.values()] == [
        ("WEBP", (480, 320)),
        ("JPEG", (960, 640)),
    ]
    red = np.asarray(pictures["spritesheet"].convert("RGB"))[80::160, 120::240, 0].reshape(-1) > 128
    assert red.tolist() == [True] * shown + [False] * (16 - shown)


def test_a_full_queue(serve: Any, connect: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        idle.http.post("/v1/videos", json=URLS)
        with pytest.raises(openai.RateLimitError) as refused:
            connect(idle).videos.create(prompt="", extra_body=URLS)
        assert (refused.value.code, refused.value.response.headers["retry-after"]) == ("rate_limit_exceeded", "30")


def test_an_expired_video_is_unknown(serve: Any, connect: Any, png: bytes, mp4: bytes) -> None:
    with serve(job_retention_s=0.01) as served:
        files = {"input_reference": png, "driving_video": mp4}
        made = served.http.post("/v1/videos", files=files).json()
        served.wait(made["id"], "succeeded")
        time.sleep(0.05)
        served.backend.sweep()
        with pytest.raises(openai.NotFoundError):
            connect(served).videos.retrieve(made["id"])


def test_the_finished_video_says_how_long_and_how_large(idle: Any, new_job: Any) -> None:
    store = idle.backend.store
    store.add(new_job())
    artefact = Artefact(name="a" * 32, seed=5, media_type="video/mp4", size_bytes=1, sha256="")
    result = {"width": 832, "height": 480, "duration_s": 2.5, "warnings": ["noise"]}
    finished = store.finish(store.claim("worker"), [artefact], result)
    shown = dialect.render(finished, idle.backend, None)  # type: ignore[arg-type]  # neither is looked at
    assert (shown["size"], shown["seconds"], shown["warnings"]) == ("832x480", "2.5", ["noise"])


def test_the_asynchronous_client(served: Any, png: bytes, mp4: bytes, video_uri: str) -> None:
    async def run() -> bytes:
        async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{served.url}/v1", max_retries=0) as client:
            made = await client.videos.create_and_poll(
                prompt="", input_reference=png, extra_body={"driving_video": video_uri}, poll_interval_ms=20
            )
            assert made.status == "completed"
            return (await client.videos.download_content(made.id)).content

    assert asyncio.run(run()) == mp4


def test_other_paths_of_v1_stay_native(idle: Any) -> None:
    theirs = idle.http.put("/v1/videos").json()["error"]
    assert (theirs["type"], theirs["code"]) == ("invalid_request_error", "method_not_allowed")
    assert set(idle.http.get("/v1/videosjobs").json()["error"]) == {"code", "message"}
    with_key = httpx.get(f"{idle.url}/v1/videos", headers={"x-api-key": KEY})
    assert with_key.status_code == 200
