"""A demo pair in files, as a user would have it: a PNG, and an MP4 with sound."""

from __future__ import annotations

import wave
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from animate_weights.puppet.demo import DemoPair


def write_pair(pair: DemoPair, folder: Path, *, sound: bool = True) -> tuple[Path, Path]:
    """Write `reference.png` and `driving.mp4` into an existing folder, and return their paths."""
    image, video, voice = folder / "reference.png", folder / "driving.mp4", folder / "driving.wav"
    Image.fromarray(pair.reference).save(image)
    if sound:
        _write_voice(pair, voice)
    size = (pair.reference.shape[1], pair.reference.shape[0])
    film = imageio_ffmpeg.write_frames(
        str(video),
        size,
        fps=pair.fps,
        audio_path=str(voice) if sound else None,
        macro_block_size=2,
        ffmpeg_log_level="error",
    )
    film.send(None)
    for frame in pair.driving:
        film.send(np.ascontiguousarray(frame))
    film.close()
    voice.unlink(missing_ok=True)
    return image, video


def _write_voice(pair: DemoPair, path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(pair.sample_rate)
        file.writeframes((np.clip(pair.audio, -1, 1) * 32767).astype("<i2").tobytes())
