"""PyPI `runware` 0.5.24, unmodified, which speaks over a WebSocket only."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from runware import IVideoInference, Runware
from runware.types import IModelSearch, IVideoInputs
from runware.utils import RunwareAPIError

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames

pytestmark = [
    pytest.mark.clients,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    """The client leaves its sockets to the collector, which must find them before the next test."""
    yield
    gc.collect()


def ask(pair: Inputs, **fields: Any) -> IVideoInference:
    given = IVideoInputs(referenceImages=[str(pair.image)], referenceVideos=[str(pair.video)])
    known: dict[str, Any] = {"model": "prunaai:p-video@animate", "inputs": given, "seed": 5}
    return IVideoInference(**known | fields)


def test_runware(server: str, inputs: Inputs) -> None:
    async def run(key: str) -> None:
        # docs: runware, PyPI `runware`
        client = Runware(api_key=key, url=server.replace("http", "ws") + "/runware/v1")
        await client.connect()
        # end
        accepted = await client.videoInference(requestVideo=ask(inputs))
        (video,) = await client.getResponse(taskUUID=accepted.taskUUID)
        assert (video.seed, count_frames(video.videoURL)) == (5, NUM_FRAMES)
        replaced = ask(
            inputs,
            model="prunaai:p-video@replace",
            inputs=IVideoInputs(
                referenceImages=[str(inputs.image)], video=(await client.uploadMedia(str(inputs.video))).mediaUUID
            ),
            deliveryMethod="sync",
            numberResults=2,
        )
        both = await client.videoInference(requestVideo=replaced)
        assert [(one.seed, count_frames(one.videoURL)) for one in both] == [(5, NUM_FRAMES), (6, NUM_FRAMES)]
        details = await client.getTaskDetails(taskUUID=accepted.taskUUID)
        assert details.request[0].model == "prunaai:p-video@animate"
        (model,) = (await client.modelSearch(IModelSearch(search="@replace"))).results
        assert model.air == "prunaai:p-video@replace"
        for wrong, code in (
            (client.videoInference(requestVideo=ask(inputs, fps=30)), "invalidFps"),
            (client.getResponse(taskUUID="00000000-0000-4000-8000-000000000000"), "taskFailedOrNotFound"),
            (client.videoInference(requestVideo=ask(inputs, taskUUID=accepted.taskUUID)), "conflictTaskUUID"),
        ):
            with pytest.raises(RunwareAPIError) as refused:
                await wrong
            assert refused.value.code == code
        missing = IVideoInputs(referenceImages=[str(inputs.image)], referenceVideos=[inputs.missing])
        failing = await client.videoInference(requestVideo=ask(inputs, inputs=missing))
        with pytest.raises(RunwareAPIError, match="answered 404") as failed:
            await client.getResponse(taskUUID=failing.taskUUID)
        assert failed.value.code == "invalidReferenceVideos"
        await client.disconnect()

    asyncio.run(run(KEY))


def test_a_wrong_key(server: str, inputs: Inputs) -> None:
    async def run() -> None:
        client = Runware(api_key="wrong", url=server.replace("http", "ws") + "/runware/v1")
        await client.connect()
        with pytest.raises(Exception, match="Invalid API key"):
            await client.videoInference(requestVideo=ask(inputs))
        await client.disconnect()

    asyncio.run(run())
