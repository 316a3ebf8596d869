"""Published JavaScript clients, unmodified, against a running server. `make test-clients` installs them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import (  # noqa: F401  fixtures
    KEY,
    _no_settings_from_outside,
    make_settings,
    mp4,
    png,
    serve,
    served,
)

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not (HERE / "node_modules").is_dir(), reason="make test-clients installs the clients")


@pytest.fixture
def files(tmp_path: Path, png: bytes, mp4: bytes) -> dict[str, str]:  # noqa: F811
    (tmp_path / "a.png").write_bytes(png)
    (tmp_path / "b.mp4").write_bytes(mp4)
    return {"IMAGE": str(tmp_path / "a.png"), "VIDEO": str(tmp_path / "b.mp4")}


def run(script: str, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        ["node", str(HERE / script)], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_runway(served: Any, files: dict[str, str], mp4: bytes) -> None:  # noqa: F811
    where = {"RUNWAYML_BASE_URL": f"{served.url}/runway", "RUNWAYML_API_SECRET": KEY}
    assert run("runway.cjs", files | where) == {
        "status": "SUCCEEDED",
        "size": len(mp4),
        "bad": 400,
        "unknown": 404,
        "wrongKey": 401,
        "deleted": 200,
        "gone": 404,
    }


def test_eachlabs(served: Any, files: dict[str, str], mp4: bytes) -> None:  # noqa: F811
    answers = run("eachlabs.cjs", files | {"BASE": f"{served.url}/eachlabs/v1", "KEY": KEY})
    assert (answers["status"], answers["size"], answers["run"]) == ("success", len(mp4), "success")
    for name, words in (
        ("bad", "shift: input should be less than or equal to 10, not 11"),
        ("unknown", "Prediction not found"),
        ("late", "the prediction has ended with success"),
        ("wrongKey", "Invalid or missing API key"),
    ):
        assert words in answers[name]
