"""The programs of `examples/`, run as their first lines show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import KEY, NUM_FRAMES, Inputs, decode

pytestmark = pytest.mark.clients

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = [("bash", "submit.sh"), (sys.executable, "client.py")]


def _run(server: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ANIMATE_SERVER": server, "ANIMATE_API_KEY": KEY}
    return subprocess.run(command, env=environment, cwd=EXAMPLES, capture_output=True, text=True)


@pytest.mark.parametrize(("interpreter", "program"), PROGRAMS)
def test_a_job_is_submitted_awaited_and_downloaded(
    interpreter: str, program: str, server: str, inputs: Inputs, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    done = _run(server, interpreter, program, inputs.image, inputs.video, output)
    assert (done.returncode, done.stdout) == (0, f"{output}\n"), done.stderr
    assert decode(output.read_bytes()) == NUM_FRAMES
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("interpreter", "program"), PROGRAMS)
def test_the_servers_words_are_shown(
    interpreter: str, program: str, server: str, inputs: Inputs, tmp_path: Path
) -> None:
    done = _run(server, interpreter, program, inputs.video, inputs.video, tmp_path / "out.mp4")
    assert done.returncode == 1
    assert "reference_image must be an image" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_rendered_in_several_runs(inputs: Inputs, tmp_path: Path) -> None:
    videos, renders = tmp_path / "videos", tmp_path / "renders"
    videos.mkdir()
    shutil.copy(inputs.video, videos / "first.mp4")
    (videos / "second.MOV").write_bytes(b"not there yet")
    environment = os.environ | {"ANIMATE_HOME": str(tmp_path / "home")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["bash", EXAMPLES / "folder.sh", inputs.image, videos, renders, "--bundle", "tiny", "--device", "cpu"]

    def run() -> int:
        return subprocess.run(command, env=environment, capture_output=True).returncode

    assert run() == 1
    assert [path.name for path in renders.glob("*.mp4")] == ["first.mp4"]
    written = (renders / "first.mp4").stat().st_mtime_ns
    shutil.copy(inputs.video, videos / "second.MOV")
    assert run() == 0
    assert (renders / "first.mp4").stat().st_mtime_ns == written
    assert decode((renders / "second.mp4").read_bytes()) == NUM_FRAMES
