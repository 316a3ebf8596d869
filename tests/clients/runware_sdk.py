"""PyPI `runware-sdk` 1.8.0, unmodified, over both of its transports. Runs in an environment of its own."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from runware import Runware, RunwareError

key, server = os.environ["KEY"], os.environ["SERVER"]
INPUTS = {"referenceImages": [os.environ["IMAGE"]], "referenceVideos": [os.environ["VIDEO"]]}
TASK = {"taskType": "videoInference", "model": "prunaai:p-video@animate", "inputs": INPUTS, "seed": 5}


async def code(call: Any) -> str:
    try:
        await call
    except RunwareError as error:
        return error.code
    return "none"


async def main() -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for transport in ("rest", "websocket"):
        # docs: runware, PyPI `runware-sdk`
        urls = {"http_base_url": server + "/runware/v1", "ws_base_url": server.replace("http", "ws") + "/runware/v1"}
        client = Runware(api_key=key, transport=transport, **urls)
        # end
        async with client:
            videos = await client.run(TASK | {"numberResults": 2 if transport == "rest" else 1})
            missing = TASK | {"inputs": INPUTS | {"referenceVideos": [os.environ["MISSING"]]}}
            unknown = {"taskUUID": "00000000-0000-4000-8000-000000000000"}
            answers[transport] = {
                "videos": [(video["seed"], video["videoURL"]) for video in videos],
                "bad": await code(client.run(TASK | {"fps": 30})),
                "unknown": await code(client.get_response(unknown)),
                "failed": await code(client.run(missing)),
            }
        stranger = Runware(api_key="wrong", transport=transport, **urls)
        answers[transport]["wrong key"] = await code(use(stranger))
    return answers


async def use(client: Runware) -> None:
    async with client:
        await client.run(TASK)


print(json.dumps(asyncio.run(main())))
