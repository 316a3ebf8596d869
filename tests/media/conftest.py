"""Small inputs made by FFmpeg at test time, and instruments that read results without any code of ours."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from animate_pipelines.media.limits import MediaLimits

_STRIPES = 8


class Studio:
    """Makes videos in a folder and measures videos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ffmpeg(self, *arguments: object, stdin: bytes | None = None) -> bytes:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def numbered(
        self, name: str, num_frames: int, fps: str, *options: object, size: tuple[int, int] = (64, 48)
    ) -> Path:
        """A video whose frame k shows the bits of k as eight black or white stripes from left to right."""
        width, height = size
        bits = (np.arange(num_frames)[:, None] >> np.arange(_STRIPES)) & 1
        columns = np.arange(width) * _STRIPES // width
        frames = np.repeat((bits[:, columns] * 255).astype(np.uint8)[:, None], height, axis=1)
        raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", fps, "-i", "pipe:0"]
        path = self.folder / name
        self.ffmpeg(*raw, "-pix_fmt", "yuv420p", *options, path, stdin=frames.tobytes())
        return path

    def clapper(
        self, name: str, *options: object, fps: str = "30", seconds: float = 3, audio_seconds: float = 3
    ) -> Path:
        """A video with a white flash of 0.1 s and a click of 20 ms that begin together at 1 s, 2 s, ..."""
        flash = f"color=black:s=64x48:r={fps}:d={seconds},geq=lum='255*between(mod(T,1),0,0.1)*gt(T,0.9)':cb=128:cr=128"
        click = f"aevalsrc='0.8*sin(6000*t)*between(mod(t,1),0,0.02)*gt(t,0.9)':s=48000:d={audio_seconds}"
        inputs = ["-f", "lavfi", "-i", flash, "-f", "lavfi", "-i", click]
        path = self.folder / name
        self.ffmpeg(*inputs, "-pix_fmt", "yuv420p", *options, path)
        return path

    def clapper_offsets(self, path: Path) -> list[float]:
        """Seconds from each flash to the click that belongs to it, as decoded."""
        return [click - flash for flash, click in zip(self.flashes(path), self.clicks(path), strict=True)]

    def flashes(self, path: Path) -> list[float]:
        printed = "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-"
        text = self.ffmpeg("-i", path, "-map", "0:v", "-vf", printed, "-f", "null", "/dev/null").decode()
        times = [float(value) for value in re.findall(r"pts_time:(\S+)", text)]
        levels = [float(value) for value in re.findall(r"YAVG=(\S+)", text)]
        white = np.array(levels) > 128
        return [times[i] for i in range(1, len(white)) if white[i] and not white[i - 1]]

    def clicks(self, path: Path) -> list[float]:
        filled = ["-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", "48000", "-f", "s16le", "-"]
        samples = np.abs(np.frombuffer(self.ffmpeg("-i", path, *filled), np.int16).astype(np.int32))
        loud = np.flatnonzero(samples > 0.4 * samples.max())
        starts = loud[np.concatenate([[True], np.diff(loud) > 12_000])]
        return [float(start) / 48_000 for start in starts]

    def packet_times(self, path: Path, stream: str) -> list[tuple[int, int]]:
        """(pts, duration) of each packet, in ticks."""
        text = self.ffmpeg("-i", path, "-map", f"0:{stream}", "-c", "copy", "-f", "framecrc", "-").decode()
        rows = [line.split(",") for line in text.splitlines() if line.startswith("0,")]
        return [(int(row[2]), int(row[3])) for row in rows]

    def decoded(self, path: Path) -> np.ndarray:
        """All frames as `t h w c` RGB, by FFmpeg."""
        text = self.ffmpeg("-i", path, "-map", "0:v", "-frames:v", "1", "-c", "copy", "-f", "framecrc", "-").decode()
        match = re.search(r"#dimensions 0: (\d+)x(\d+)", text)
        assert match is not None
        data = self.ffmpeg(
            "-i", path, "-map", "0:v", "-f", "rawvideo", "-pix_fmt", "rgb24", "-fps_mode", "passthrough", "-"
        )
        return np.frombuffer(data, np.uint8).reshape(-1, int(match[2]), int(match[1]), 3)

    def information(self, path: Path) -> str:
        """What `ffmpeg -i` prints."""
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
        return subprocess.run(command, capture_output=True, check=False).stderr.decode()


def _numbers(frames: np.ndarray) -> list[int]:
    width = frames.shape[2]
    centres = (np.arange(_STRIPES) * 2 + 1) * width // (2 * _STRIPES)
    bits = frames[:, frames.shape[1] // 2, centres].mean(axis=-1) > 128
    return [int(number) for number in (bits << np.arange(_STRIPES)).sum(axis=1)]


@pytest.fixture(scope="session")
def numbers() -> Callable[[np.ndarray], list[int]]:
    """Reads the number that each frame (`t h w c`) of `Studio.numbered` shows."""
    return _numbers


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return Studio(tmp_path_factory.mktemp("studio"))


@pytest.fixture(scope="session")
def limits() -> MediaLimits:
    return MediaLimits()
