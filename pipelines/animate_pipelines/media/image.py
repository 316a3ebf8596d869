"""Reads a still image from outside as an array: upright, RGB, opaque."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from animate_pipelines.errors import MediaError
from animate_pipelines.media.child import Bounds, Outcome, run_child
from animate_pipelines.media.container import Container
from animate_pipelines.media.ffmpeg import child_error, header_bounds
from animate_pipelines.media.header import HEAD_BYTES, check_head, check_image_sides
from animate_pipelines.media.limits import MediaLimits

OnNote = Callable[[str], None]
Picture = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

_DECODE = str(Path(__file__).with_name("decode_image.py"))


def read_image(
    path: Path, limits: MediaLimits, *, field: str = "reference_image", on_note: OnNote = lambda note: None
) -> Picture:
    """Read the image at `path` as `h w c`, RGB, uint8.

    It is turned upright by its EXIF tag; transparent parts are laid over white; embedded colour profiles are converted
    to sRGB; 16-bit samples are cut to their upper 8 bits; an animation gives its first picture. Pillow decodes in a
    child with bounds: image decoders are C code that has been broken by files more than once.

    on_note: called with a sentence on what is missing, where something is.
    Raises `MediaError` or `MediaTooLarge` on `field`; sides are checked before decoding.
    """
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    container = check_head(head, "image", path.stat().st_size, limits, field=field).container
    outcome = _decode(path, container, limits, field=field)
    line, _, pixels = outcome.stdout.partition(b"\n")
    answer = json.loads(line)
    if "error" in answer:
        raise MediaError(f"{{field}} cannot be read: {answer['error']}", field=field, value=answer["error"])
    width, height = answer["size"]
    check_image_sides(width, height, limits, field=field)
    if answer["note"]:
        on_note(f"{field}: {answer['note']}")
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _decode(path: Path, container: Container, limits: MediaLimits, *, field: str) -> Outcome:
    header = header_bounds(limits)
    bounds = Bounds(
        memory_bytes=header.memory_bytes,
        cpu_s=header.cpu_s,
        wall_s=header.wall_s,
        stdout_bytes=3 * limits.max_image_pixels + 4096,
    )
    arguments = [sys.executable, "-I", "-B", _DECODE, str(path.resolve()), container, str(limits.max_image_pixels)]
    outcome = run_child(arguments, bounds)
    if outcome.returncode != 0 or outcome.stopped is not None or b"\n" not in outcome.stdout:
        raise child_error(outcome, bounds, field=field, reason=outcome.stderr.strip().rpartition("\n")[2][:300])
    return outcome
