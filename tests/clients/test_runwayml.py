"""PyPI `runwayml` 5.24.0, unmodified, synchronous and asynchronous; only its pause between polls is shortened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import runwayml
from runwayml.lib import polling

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames

pytestmark = pytest.mark.clients


@pytest.fixture(autouse=True)
def _poll_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "POLL_TIME", 0.3)
    monkeypatch.setattr(polling, "POLL_JITTER", 0.0)


def ask(inputs: Inputs, video: str) -> dict[str, Any]:
    character, reference = {"type": "image", "uri": inputs.image_uri}, {"type": "video", "uri": video}
    return {"model": "act_two", "character": character, "reference": reference, "seed": 5}


def test_runwayml(server: str, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    # docs: runway, PyPI `runwayml`
    monkeypatch.setenv("RUNWAYML_BASE_URL", server + "/runway")
    monkeypatch.setenv("RUNWAYML_API_SECRET", KEY)
    # end
    with runwayml.RunwayML(max_retries=0) as client, runwayml.RunwayML(max_retries=0, api_key="wrong") as stranger:
        uploaded = client.uploads.create_ephemeral(file=inputs.video).uri
        asked = ask(inputs, uploaded)
        task = client.character_performance.create(**asked, ratio="960:960").wait_for_task_output(timeout=240)
        assert count_frames(task.output[0]) == NUM_FRAMES
        moving = asked | {"character": {"type": "video", "uri": uploaded}}
        task = client.character_performance.create(**moving).wait_for_task_output(timeout=240)
        assert count_frames(task.output[0]) == NUM_FRAMES
        assert any("of the character's video" in warning for warning in task.warnings)
        with pytest.raises(runwayml.BadRequestError):
            client.character_performance.create(**asked, ratio="16:9")
        with pytest.raises(runwayml.NotFoundError):
            client.tasks.retrieve("00000000-0000-4000-8000-000000000000")
        with pytest.raises(runwayml.AuthenticationError):
            stranger.tasks.retrieve(task.id)
        failing = client.character_performance.create(**ask(inputs, inputs.missing))
        with pytest.raises(polling.TaskFailedError) as failed:
            failing.wait_for_task_output(timeout=60)
        assert failed.value.task_details.failure_code == "ASSET.INVALID"


def test_runwayml_async(server: str, inputs: Inputs) -> None:
    async def run() -> str:
        async with runwayml.AsyncRunwayML(api_key=KEY, base_url=server + "/runway", max_retries=0) as client:
            created = await client.character_performance.create(**ask(inputs, inputs.video_uri))
            task = await created.wait_for_task_output(timeout=240)
            with pytest.raises(runwayml.BadRequestError):
                await client.character_performance.create(**ask(inputs, "ftp://x.example/"))
            with pytest.raises(runwayml.NotFoundError):
                await client.tasks.retrieve("unknown")
            with pytest.raises(runwayml.AuthenticationError):
                await client.with_options(api_key="wrong").tasks.retrieve(task.id)
            failing = await client.character_performance.create(**ask(inputs, inputs.missing))
            with pytest.raises(polling.TaskFailedError):
                await failing.wait_for_task_output(timeout=60)
            return str(task.output[0])

    assert count_frames(asyncio.run(run())) == NUM_FRAMES
