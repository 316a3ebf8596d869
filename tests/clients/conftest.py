"""A server over the tiny bundle, started as the README says, and small inputs for real renders."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import imageio_ffmpeg
import pytest

START_S = 180
KEY, NUM_FRAMES = "key-of-a-team", 5


@dataclass(frozen=True)
class Inputs:
    """An image and a video as files, and as data URIs. missing: a URL that answers 404."""

    image: Path
    video: Path
    missing: str

    @property
    def image_uri(self) -> str:
        return f"data:image/png;base64,{base64.b64encode(self.image.read_bytes()).decode()}"

    @property
    def video_uri(self) -> str:
        return f"data:video/mp4;base64,{base64.b64encode(self.video.read_bytes()).decode()}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL, `http://host:port`."""
    folder = tmp_path_factory.mktemp("server")
    environment = os.environ | {"ANIMATE_HOME": str(folder / "home"), "ANIMATE_DEVICES": "cpu"}
    environment |= {"ANIMATE_API_KEYS": KEY, "ANIMATE_FETCH_ALLOW": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "animate_server", "serve", "--bundle", "tiny", "--port"]
    port = str(20_000 + os.getpid() % 20_000)
    with (folder / "log").open("wb") as log, subprocess.Popen([*command, port], env=environment, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_ready(url, process, folder / "log")
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def inputs(server: str, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("inputs")
    image = _make(folder / "a.png", "testsrc=size=120x160:rate=1", "-frames:v", "1")
    video = _make(folder / "b.mp4", "testsrc=size=160x120:rate=12", "-frames:v", str(NUM_FRAMES), "-pix_fmt", "yuv420p")
    return Inputs(image=image, video=video, missing=f"{server}/files/none.mp4")


def count_frames(url: str) -> int:
    """Of the video there, fetched without a key and decoded."""
    answer = httpx.get(url, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    return decode(answer.content)


def decode(data: bytes) -> int:
    """How many frames the MP4 holds."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "-", "-f", "framecrc", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    assert done.stderr == b""
    return sum(line.startswith(b"0,") for line in done.stdout.splitlines())


def _make(path: Path, source: str, *options: str) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, *options, str(path)]
    subprocess.run(command, check=True)
    return path


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text())
