"""`animate-server serve --bundle tiny` as a user starts it, and the published client, over a real render."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import imageio_ffmpeg
import pytest
from segmind import SegmindClient
from segmind.files import Files
from segmind.v2 import InferenceFailed

pytestmark = pytest.mark.renders

START_S, RENDER_S = 120, 180


def make_clip(path: Path, source: str) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source]
    subprocess.run(
        [
            *command,
            "-frames:v",
            "1" if path.suffix == ".png" else "6",
            "-pix_fmt",
            "rgb24" if path.suffix == ".png" else "yuv420p",
            str(path),
        ],
        check=True,
    )
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    environment = os.environ | {
        "ANIMATE_HOME": str(tmp_path / "home"),
        "ANIMATE_API_KEYS": "k",
        "ANIMATE_DEVICES": "cpu",
    }
    command = [sys.executable, "-m", "animate_server", "serve", "--bundle", "tiny", "--port", str(port)]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen(command, env=environment, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_ready(url, process, tmp_path / "log")
            yield url, process
        finally:
            process.kill()


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def test_serve_render_and_stop(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    url, process = server
    monkeypatch.setattr(Files, "STORAGE_BASE_URL", f"{url}/segmind")
    video = make_clip(tmp_path / "v.mp4", "testsrc=size=160x120:rate=12")
    flat = make_clip(tmp_path / "flat.mp4", "color=c=gray:size=160x120:rate=12")
    image = make_clip(tmp_path / "i.png", "testsrc=size=120x160:rate=1")
    client = SegmindClient("k", base_url=f"{url}/segmind/v1")
    request.addfinalizer(client._client.close)
    image_url, video_url, flat_url = client.files.upload([image, video, flat])["file_urls"]

    result = client.submit_async("p-video-animate", image=image_url, video=video_url).wait(RENDER_S, 0.2)
    assert httpx.get(result["output"]).content[4:8] == b"ftyp"
    native = client._client.get(f"{url}/v1/jobs/{result['request_id']}").json()
    assert (native["result"]["num_frames"], native["result"]["seed"], native["progress"]["fraction"]) == (6, 42, 1.0)
    assert any("noise" in warning for warning in native["result"]["warnings"])

    with pytest.raises(InferenceFailed, match="no person"):
        client.submit_async("p-video-animate", image=image_url, video=flat_url).wait(RENDER_S, 0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert not subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True).stdout
