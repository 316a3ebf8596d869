"""The bounds of a child hold, and nothing of it remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from animate_pipelines.errors import MediaError, MediaTooLarge, ServerError
from animate_pipelines.media.child import Bounds, run_child
from animate_pipelines.media.ffmpeg import last_error, run_ffmpeg
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from tests.media.conftest import Studio

ENDLESS = ["-f", "lavfi", "-i", "color=black:s=320x240:r=30", "-f", "null", "-"]


def bounds(**changes: float) -> Bounds:
    return Bounds(**{"memory_bytes": 1 << 30, "cpu_s": 20, "wall_s": 20.0} | changes)


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.mark.parametrize(
    ("changes", "what", "limit"),
    [({"wall_s": 0.3}, "time", "0.3 s"), ({"cpu_s": 1}, "processor time", "1 s")],
)
def test_an_endless_decode_is_ended(changes: dict[str, float], what: str, limit: str) -> None:
    with pytest.raises(MediaTooLarge) as caught:
        run_ffmpeg(ENDLESS, bounds(**changes), field="driving_video")
    assert (caught.value.field, caught.value.value, caught.value.limit) == ("driving_video", what, limit)
    assert children() == []


def test_memory_is_bounded_and_enough_for_the_largest_picture(
    studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    source = studio.folder / "large.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "color=gray:s=4096x2304:r=24:d=0.5", "-preset", "ultrafast", source)
    info = probe_video(source, limits)
    small = MediaLimits(memory_bytes=100_000_000)
    with pytest.raises(MediaTooLarge) as caught:
        write_mezzanine(source, tmp_path / "m.mp4", info, small)
    assert (caught.value.value, caught.value.limit) == ("memory", "100000000 bytes")
    assert list(tmp_path.iterdir()) == []
    assert write_mezzanine(source, tmp_path / "m.mp4", info, limits).num_frames == 12


def test_the_written_file_is_bounded(studio: Studio, tmp_path: Path) -> None:
    source = studio.folder / "noise.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=2", source)
    limits = MediaLimits(max_mezzanine_bytes=50_000)
    with pytest.raises(MediaTooLarge) as caught:
        write_mezzanine(source, tmp_path / "m.mp4", probe_video(source, limits), limits)
    assert (caught.value.value, caught.value.limit) == ("disk", "50000 bytes")
    assert list(tmp_path.iterdir()) == []


def test_what_the_tick_raises_ends_the_child() -> None:
    def stop(stdout: bytearray) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_ffmpeg(ENDLESS, bounds(), field="driving_video", on_tick=stop)
    assert children() == []


def test_no_orphan_when_the_parent_is_killed() -> None:
    program = (
        "from animate_pipelines.media.child import Bounds, run_child\n"
        "import threading, psutil, sys\n"
        f"from animate_pipelines.media.ffmpeg import run_ffmpeg\n"
        f"run_ffmpeg({ENDLESS!r}, Bounds(memory_bytes=1 << 30, cpu_s=60, wall_s=60.0), field='x')\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    found = _wait_for(lambda: [p for p in psutil.Process(parent.pid).children() if "ffmpeg" in p.name()])
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _wait_for(lambda: not found[0].is_running() or found[0].status() == psutil.STATUS_ZOMBIE)


def _wait_for(condition: object) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        value = condition()  # type: ignore[operator]
        if value:
            return value if isinstance(value, list) else []
        os.sched_yield()
    pytest.fail("it did not happen within 20 s")


def test_the_child_has_no_network_beyond_itself_and_none_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANIMATE_API_KEYS", "secret")
    program = "import os, sys; print(sorted(os.environ), os.getcwd(), os.listdir('/sys/class/net'))"
    outcome = run_child([sys.executable, "-I", "-c", program], bounds())
    assert b"secret" not in outcome.stdout
    assert b"ANIMATE" not in outcome.stdout


def test_input_and_output_larger_than_pipes_do_not_block() -> None:
    data = os.urandom(5_000_000)
    outcome = run_child(
        [sys.executable, "-I", "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        bounds(),
        stdin=memoryview(data),
    )
    assert outcome.stdout == data
    outcome = run_child([sys.executable, "-I", "-c", "print('x' * 10_000_000)"], bounds(stdout_bytes=1_000_000))
    assert outcome.stopped == "stdout"


def test_failures_of_our_own_files_are_ours(tmp_path: Path) -> None:
    missing = ["-f", "mov", "-i", f"file:{tmp_path}/none.mp4", "-f", "null", "-"]
    with pytest.raises(ServerError, match="No such file"):
        run_ffmpeg(missing, bounds(), field=None)
    with pytest.raises(MediaError) as caught:
        run_ffmpeg(missing, bounds(), field="driving_video")
    assert str(tmp_path) not in caught.value.message


def test_the_last_useful_line() -> None:
    stderr = (
        "[info] Input #0, mov\n"
        "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x55d0] [error] moov atom not found\n"
        "[in#0 @ 0x55d1] [error] Error opening input: Invalid data in file:/srv/jobs/a1/in.mp4: bad\n"
        "[fatal] Conversion failed!\n"
    )
    assert last_error(stderr) == "Error opening input: Invalid data in the file: bad"
    assert last_error("") == ""
