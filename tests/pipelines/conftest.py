"""A small pair to render: a moving test picture with a tone, and a reference image."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from animate_pipelines.job.input_files import InputFiles


def make_video(path: Path, source: str, *, audio: bool = True) -> Path:
    """An MP4 of an FFmpeg test source, 2 s at 20 frames a second."""
    sound = ["-f", "lavfi", "-i", "sine=440:duration=2"] if audio else []
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"{source}s=160x96:r=20:d=2"]
    subprocess.run([*command, *sound, "-pix_fmt", "yuv420p", str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> InputFiles:
    folder = tmp_path_factory.mktemp("pair")
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(picture).save(folder / "reference.png")
    return InputFiles(
        reference_image=folder / "reference.png", driving_video=make_video(folder / "driving.mp4", "testsrc2=")
    )


@pytest.fixture(scope="session")
def empty_scene(tmp_path_factory: pytest.TempPathFactory, media: InputFiles) -> InputFiles:
    """A driving video of one flat colour: the tiny bundle's detector finds nobody."""
    video = make_video(tmp_path_factory.mktemp("flat") / "flat.mp4", "color=c=orange:", audio=False)
    return InputFiles(reference_image=media.reference_image, driving_video=video)
