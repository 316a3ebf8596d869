"""PyPI `openai`, its videos, unmodified; the driving video goes in `extra_body`."""

from __future__ import annotations

import time
from typing import Any

import openai
import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, decode

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")]


def test_openai(server: str, inputs: Inputs) -> None:
    # docs: openai, PyPI `openai`
    client = openai.OpenAI(api_key=KEY, base_url=server + "/v1", max_retries=0)
    driving = {"driving_video": inputs.video_uri}  # beside input_reference: extra_body=driving
    # end
    with client, openai.OpenAI(api_key="wrong", base_url=server + "/v1", max_retries=0) as stranger:
        asked: dict[str, Any] = {"model": "wan2.2-animate", "prompt": "", "input_reference": inputs.image}
        video = wait(client, client.videos.create(**asked, extra_body=driving).id)
        assert video.status == "completed"
        assert decode(client.videos.download_content(video.id).content) == NUM_FRAMES
        thumbnail = client.videos.download_content(video.id, variant="thumbnail").content
        assert thumbnail[8:12] == b"WEBP"
        with pytest.raises(openai.BadRequestError):
            client.videos.create(**asked, extra_body=driving | {"fps": 1000})
        with pytest.raises(openai.NotFoundError):
            client.videos.retrieve("unknown")
        with pytest.raises(openai.AuthenticationError):
            stranger.videos.retrieve(video.id)
        failed = wait(client, client.videos.create(**asked, extra_body={"driving_video": inputs.missing}).id)
        assert (failed.status, failed.error.code) == ("failed", "fetch_failed")


def wait(client: openai.OpenAI, video_id: str) -> openai.types.Video:
    deadline = time.monotonic() + 240
    while (video := client.videos.retrieve(video_id)).status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return video
