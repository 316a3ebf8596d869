"""Published JavaScript clients, unmodified. `make test-clients` installs them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, count_frames, decode

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not (HERE / "node_modules").is_dir(), reason="make test-clients installs the clients"),
]


def run(script: str, server: str, inputs: Inputs, **more: str) -> dict[str, Any]:
    node = shutil.which("node", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert node is not None
    asked = {"SERVER": server, "KEY": KEY, "IMAGE": inputs.image_uri, "VIDEO": inputs.video_uri}
    environment = os.environ | asked | {"MISSING": inputs.missing} | more
    done = subprocess.run([node, str(HERE / script)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_runware(server: str, inputs: Inputs) -> None:
    answers = run("runware.cjs", server, inputs)
    videos = answers.pop("videos")
    assert [(seed, count_frames(url)) for seed, url in videos] == [(5, NUM_FRAMES), (6, NUM_FRAMES)]
    assert answers == {
        "bad": "invalidFps",
        "unknown": "taskFailedOrNotFound",
        "failed": "invalidReferenceVideos",
        "wrongKey": "invalidApiKey",
    }


def test_runway(server: str, inputs: Inputs) -> None:
    answers = run("runway.cjs", server, inputs, RUNWAYML_API_SECRET=KEY, VIDEO_FILE=str(inputs.video))
    assert decode(base64.b64decode(answers.pop("video"))) == NUM_FRAMES
    assert answers == {
        "bad": 400,
        "unknown": 404,
        "failed": "FAILED",
        "wrongKey": 401,
        "deleted": 200,
        "gone": 404,
    }


def test_eachlabs(server: str, inputs: Inputs) -> None:
    answers = run("eachlabs.cjs", server, inputs)
    assert count_frames(answers["url"]) == NUM_FRAMES
    for name, words in (
        ("failed", "answered 404"),
        ("bad", "shift must be at most 10, not 11"),
        ("unknown", "Prediction not found"),
        ("late", "the prediction has ended with success"),
        ("wrongKey", "Invalid or missing API key"),
    ):
        assert words in answers[name]
