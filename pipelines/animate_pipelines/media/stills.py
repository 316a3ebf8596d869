"""Pictures of a finished video: one from its middle, and a sheet of sixteen from all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from animate_pipelines.media.child import Bounds
from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import THREADS, input_arguments, run_ffmpeg

StillKind = Literal["thumbnail", "spritesheet"]
STILL_TYPES: Mapping[StillKind, str] = {"thumbnail": "image/webp", "spritesheet": "image/jpeg"}
_SIDE = 4  # of the sheet, in pictures
_THUMBNAIL_PX, _SPRITE_PX = 480, 240  # widths
_CODECS: Mapping[StillKind, str] = {"thumbnail": "libwebp", "spritesheet": "mjpeg"}
_BOUNDS = Bounds(memory_bytes=2 * 1024**3, cpu_s=120, wall_s=60.0, stdout_bytes=8 * 1024**2)


def draw_still(video: Path, kind: StillKind, *, container: Container, num_frames: int) -> bytes:
    """Return an image file of the type `STILL_TYPES[kind]`, drawn from a video of ours.

    kind: a sheet goes from left to right and down, 4 by 4, at equal distances; a shorter video leaves the rest black.
    num_frames: the number of frames of the video.
    Raises `ServerError`.
    """
    if kind == "thumbnail":
        filters = f"select=eq(n\\,{num_frames // 2}),scale={_THUMBNAIL_PX}:-2"
    else:
        every = max(1, num_frames // _SIDE**2)
        filters = f"select=not(mod(n\\,{every})),scale={_SPRITE_PX}:-2,tile={_SIDE}x{_SIDE}"
    arguments = ["-threads", str(THREADS), *input_arguments(video, container), "-an", "-vf", filters]
    arguments += ["-frames:v", "1", "-c:v", _CODECS[kind], "-f", "image2pipe", "pipe:1"]
    return bytes(run_ffmpeg(arguments, _BOUNDS, field=None).stdout)
