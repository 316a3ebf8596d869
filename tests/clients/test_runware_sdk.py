"""Runs `runware_sdk.py` where `make test-clients` has installed that client: its module has the name of the other's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames

HERE = Path(__file__).parent
PYTHON = HERE / ".venv/bin/python"
pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not PYTHON.exists(), reason="make test-clients installs the client"),
]


def test_runware_sdk(server: str, inputs: Inputs) -> None:
    asked = {"SERVER": server, "KEY": KEY, "IMAGE": inputs.image_uri, "VIDEO": inputs.video_uri}
    command = [str(PYTHON), str(HERE / "runware_sdk.py")]
    environment = os.environ | asked | {"MISSING": inputs.missing}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for transport, seeds in (("rest", [5, 6]), ("websocket", [5])):
        answer = answers[transport]
        assert [seed for seed, _ in answer["videos"]] == seeds
        assert {count_frames(url) for _, url in answer["videos"]} == {NUM_FRAMES}
        assert {name: answer[name] for name in ("bad", "unknown", "failed", "wrong key")} == {
            "bad": "validation",
            "unknown": "notFound",
            "failed": "validation",
            "wrong key": "auth",
        }
