"""From a wheelhouse and a packed bundle to a video, in a network namespace where there is no network.

Not in the default run: it writes 4 GB and takes minutes. `make test-airgap`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import imageio_ffmpeg
import pytest
from wheelhouse import required, write_wheel

ROOT = Path(__file__).parents[2]
NO_NETWORK = ("unshare", "--map-root-user", "--net")
pytestmark = [pytest.mark.airgap, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, and one for everything it needs."""
    folder = tmp_path_factory.mktemp("wheelhouse")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    try:
        subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
        needed = required(next(folder.glob("*.whl")), "cpu")
    except (PackageNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no wheelhouse can be made here: {error}")
    for installed in needed:
        write_wheel(installed, folder)
    return folder


@pytest.fixture(scope="module")
def command(wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`animate-server`, installed without an index in an environment of its own."""
    if shutil.which("unshare") is None or subprocess.run([*NO_NETWORK, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no network namespaces")
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin/pip"), "install", "--quiet", "--no-index", "--find-links", str(wheelhouse)]
    subprocess.run([*NO_NETWORK, *install, "animate-server[cpu]"], check=True)
    return folder / "bin/animate-server"


def test_a_box_without_a_network_installs_imports_verifies_and_renders(
    command: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANIMATE_HOME": str(tmp_path / "home")}
    environment |= {"PYTHONWARNINGS": "error::ResourceWarning", "OMP_NUM_THREADS": "1"}

    def run(*arguments: str | Path) -> str:
        done = subprocess.run(
            [*NO_NETWORK, command, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("weights", "bundle", tiny_bundle, "tiny.tar")
    run("weights", "import", "tiny.tar", "carried")
    verified = json.loads(run("weights", "verify", "carried", "--json").splitlines()[-1])
    assert verified["status"] == "succeeded"
    assert {"subject": "bytes", "state": "ok", "detail": "17 files are what they were"} in verified["verdicts"]
    for name, options in (("a.png", ["-frames:v", "1"]), ("b.mp4", ["-frames:v", "6", "-pix_fmt", "yuv420p"])):
        source = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=12"]
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, *options, tmp_path / name], check=True)
    pair = ["--image", "a.png", "--video", "b.mp4", "--output", "out.mp4", "--resolution", "480p"]
    shown = json.loads(run("render", *pair, "--bundle", "carried", "--json").splitlines()[-1])
    assert (shown["status"], shown["result"]["num_frames"]) == ("succeeded", 6)
    assert (tmp_path / "out.mp4").read_bytes()[4:8] == b"ftyp"
