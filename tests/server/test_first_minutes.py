"""What a newcomer meets on the command line: outputs, devices, ports, versions and stopped renders."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from animate_pipelines.errors import InvalidField
from animate_pipelines.job.workspace import Workspace, find_seed
from animate_pipelines.request.params import RenderParams
from animate_server import __version__
from animate_server.cli import app
from animate_server.cli.outputs import VIDEO_SUFFIXES, check_output, format_of
from animate_server.serving import address_of, bind
from animate_weights.puppet.demo import demo_pair
from animate_weights.puppet.files import write_pair


@pytest.fixture
def pair(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("ANIMATE_HOME", str(home))
    image, video = write_pair(demo_pair(3, size=(96, 96), num_frames=24), tmp_path, sound=False)
    return ["--image", str(image), "--video", str(video), "--bundle", "tiny"]


@pytest.mark.parametrize("name", ["x.avi", "x", "x.mp4.gif"])
def test_an_output_of_an_unknown_kind_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"--output must end in \.mp4 or \.mov or \.webm"):
        check_output(tmp_path / name, VIDEO_SUFFIXES)


def test_the_suffix_decides_the_format() -> None:
    assert [format_of(Path(f"x.{name}"), None) for name in ("mp4", "webm", "mov", "MP4")] == [
        "mp4",
        "webm",
        "mov",
        "mp4",
    ]
    assert format_of(Path("x.webm"), "webm") == "webm"
    with pytest.raises(InvalidField, match=r"is mov, and --output ends in \.webm: leave one of them out"):
        format_of(Path("x.webm"), "mov")


def test_a_place_that_cannot_be_written_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidField, match=r"--output: .*/file/below cannot be written to: Not a directory"):
        check_output(tmp_path / "file" / "below" / "x.mp4", VIDEO_SUFFIXES)
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(InvalidField, match="--output is a folder"):
        check_output(tmp_path / "x.mp4", VIDEO_SUFFIXES)
    assert check_output(tmp_path / "new" / "x.webm", VIDEO_SUFFIXES).parent.is_dir()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "x.avi"], "--output must end in"),
        (["--output", "/proc/none/x.mp4"], "cannot be written to"),
        (["--device", "cuda:7"], "there is no device 'cuda:7' here"),
        (["--image", "nobody.png"], "--image: there is no file nobody.png"),
    ],
)
def test_what_cannot_work_is_found_without_torch(
    options: list[str], words: str, pair: list[str], tmp_path: Path
) -> None:
    script = (
        "import sys; from animate_server.cli import app\ntry: app(sys.argv[1:])\nfinally: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "render", *pair, "--output", "/tmp/x.mp4", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (65, "False")
    assert words in done.stderr


def test_a_preflight_picture_is_a_png(pair: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["preflight", *pair, "--output", str(tmp_path / "x.xyz")])
    assert (done.exit_code, done.stderr.startswith("error: --output must end in .png")) == (65, True)


def test_version_and_exit_codes_are_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"animate-server {__version__}\n"
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    for words in ("65 inputs or values that cannot be used", "75 try again later", "--install-completion"):
        assert words in shown


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidField, match=f"port {port} of 127.0.0.1 is taken by another process"):
            bind("127.0.0.1", port)
    with bind("0.0.0.0", 0) as listening:
        assert address_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_stopped_render_keeps_its_seed(tmp_path: Path) -> None:
    params = RenderParams(reference_image="é.png", driving_video="b.mp4", output_size=(96, 96))
    Workspace.claim(tmp_path / "work", {"params": params.to_json(), "bundle": "x"})
    again = RenderParams(reference_image="é.png", driving_video="b.mp4", output_size=(96, 96))
    assert find_seed(tmp_path / "work", again) == params.seed
    assert find_seed(tmp_path / "work", RenderParams(reference_image="c.png", driving_video="b.mp4")) is None
    assert find_seed(tmp_path / "none", again) is None


@pytest.mark.renders
def test_a_rerun_without_a_seed_goes_on(pair: list[str], tmp_path: Path) -> None:
    output, workspace = tmp_path / "x.mp4", tmp_path / ".x.mp4.render"
    command = [sys.executable, "-m", "animate_server", "render", *pair, "--output", str(output), "--resolution", "480p"]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(workspace.glob("state-*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    seed = json.loads((workspace / "job.json").read_text())["params"]["seed"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"going on with seed {seed} of the render that was stopped" in done.stderr
    assert f"seed {seed}" in done.stdout
    assert not workspace.exists()
