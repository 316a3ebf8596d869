"""`animate-server weights`: what people and machines are told, and the exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from animate_server.cli import app
from animate_server.cli.byte_progress import _Lines, byte_progress, size


@pytest.fixture
def call(home: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    assert tiny_bundle.parent == home / "bundles"
    monkeypatch.setenv("ANIMATE_HOME", str(home))
    return lambda *arguments: CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_list_says_what_a_bundle_needs(call: Any) -> None:
    listed = call("list")
    assert listed.exit_code == 0
    assert re.search(r"transformer +34\.\d GB +generates", listed.stdout)
    assert "without it turbo is refused" in listed.stdout
    assert "licence AGPL-3.0, unverified: https://github.com/THU-MIG/yolov10" in listed.stdout
    rows = json.loads(call("list", "tiny", "--json").stdout)
    assert rows["layout"] == "diffusers"
    there = {row["name"]: row["there"] for row in rows["items"]}
    assert there["transformer"] is there["person detector"] is True
    licences = {row["name"]: row["licence"] for row in rows["items"]}
    assert (licences["image encoder"], licences["transformer"]) == ("MIT", "Apache-2.0")
    assert there["relighting LoRA"] is there["mask network"] is False


def test_a_bundle_travels_and_is_made_smaller(call: Any, tmp_path: Path) -> None:
    assert call("bundle", "tiny", tmp_path / "tiny.tar").exit_code == 0
    brought = call("import", tmp_path / "tiny.tar", tmp_path / "new")
    assert (brought.exit_code, brought.stdout.strip()) == (0, str(tmp_path / "new"))
    smaller = call("quantize", tmp_path / "new", tmp_path / "fp8", "--json")
    assert json.loads(smaller.stdout.splitlines()[-1]) == {"status": "succeeded", "output": str(tmp_path / "fp8")}
    checked = call("verify", tmp_path / "fp8")
    assert checked.exit_code == 0
    assert "233 tensors (169 bfloat16, 64 float8_e4m3fn)" in checked.stdout


def test_verify_fails_with_1(call: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    call("import", tiny_bundle, tmp_path / "new")
    (tmp_path / "new/process_checkpoint/det/yolov10m.onnx").unlink()
    checked = call("verify", tmp_path / "new")
    assert checked.exit_code == 1
    assert re.search(r"bad +person detector +the bundle lacks process_checkpoint/det/yolov10m\.onnx", checked.stdout)
    unread = call("verify", tmp_path / "new", "--no-hashes")
    assert "not checked: left out" in unread.stdout


def test_errors_have_codes(call: Any, tmp_path: Path) -> None:
    unknown = call("verify", "nowhere")
    assert (unknown.exit_code, "there is no bundle 'nowhere'" in unknown.stderr) == (69, True)
    absent = call("import", tmp_path / "absent.tar", tmp_path / "new", "--json")
    assert absent.exit_code == 65
    assert json.loads(absent.stdout)["error"]["field"] == "source"
    (tmp_path / "empty").mkdir()
    assert call("import", tmp_path / "empty", tmp_path / "new").exit_code == 69


def test_lines_tell_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = _Lines("fetch", 4_000_000, as_json=False, clock=lambda: now[0])
    lines(500_000)
    now[0] = 10.0
    lines(500_000)
    assert capsys.readouterr().err == "fetch: 1.0 MB of 4.0 MB, 100.0 kB/s, 30 s left\n"
    with byte_progress("verify", 10, as_json=True) as on_bytes:
        on_bytes(10)
    assert json.loads(capsys.readouterr().out)["progress"]["done_bytes"] == 10


@pytest.mark.parametrize(("num_bytes", "text"), [(0, "0 B"), (999, "999 B"), (34.55e9, "34.5 GB"), (2e15, "2000.0 TB")])
def test_sizes(num_bytes: float, text: str) -> None:
    assert size(num_bytes) == text
