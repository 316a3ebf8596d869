"""`doctor` tells the memory plan for a size and a length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from animate_server.cli import app


def test_the_plan_for_a_size_and_a_length(tiny_bundle: Path) -> None:
    arguments = ["doctor", "--bundle", str(tiny_bundle), "--render-area", "256x144", "--frames", "60", "--json"]
    done = CliRunner().invoke(app, arguments)
    findings = {row["subject"]: row for row in json.loads(done.stdout)["findings"]}
    memory = findings["memory 256x144"]
    assert memory["state"] == "ok"
    assert "everything stays: 1.6 GB for segments of 17 frames, predicted" in memory["detail"]
    # each starts 16 frames after the one before
    assert memory["detail"].endswith("60 frames are 4 such pieces, one after the other in the same memory")
    assert "memory 128x72" not in findings


@pytest.mark.parametrize("area", ["wide", "256x", "256*144"])
def test_an_area_that_is_none_is_refused(area: str) -> None:
    done = CliRunner().invoke(app, ["doctor", "--render-area", area])
    assert done.exit_code == 65
    assert "--render-area must be WIDTHxHEIGHT" in done.stderr
