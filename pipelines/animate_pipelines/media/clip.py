"""`Clip`: the frames of the driving video, a few at a time, at a rate of choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Literal

import decord
import numpy as np

from animate_pipelines.errors import ServerError
from animate_pipelines.media.mezzanine import GOP_FRAMES, Mezzanine

Frames = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]
Frame = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


class Clip:
    """Random access to the frames of a mezzanine, resampled to `fps`. Close it, or use it in `with`.

    size: (width, height) of every frame.
    source_fps: the rate of the mezzanine.
    fps: the rate of this clip, exact.
    num_frames: the number of frames of this clip.
    indices: the mezzanine frame of each frame of this clip.
    positions: the place of each frame of this clip between the mezzanine's frames, for interpolation.

    Memory does not grow with length: 16 bytes a frame, and the few frames that are being read.
    """

    def __init__(
        self, mezzanine: Mezzanine, *, fps: Literal["source"] | int = "source", max_frames: int | None = None
    ) -> None:
        self.mezzanine = mezzanine
        self.size = mezzanine.width, mezzanine.height
        self.source_fps = mezzanine.fps
        self.fps = mezzanine.fps if fps == "source" else Fraction(fps)
        self.positions = frame_positions(mezzanine.num_frames, mezzanine.fps, self.fps)[:max_frames]
        self.indices: Indices = np.round(self.positions).astype(np.int64)
        self.num_frames = len(self.indices)
        with _name_in_utf8(mezzanine.path) as name:
            self._reader = decord.VideoReader(name, ctx=decord.cpu(0), num_threads=1)
        if len(self._reader) != mezzanine.num_frames:
            raise ServerError(f"the mezzanine has {len(self._reader)} frames, not {mezzanine.num_frames}")

    @property
    def repeats(self) -> int:
        """Return the number of frames that repeat the picture of the frame before."""
        return int(np.count_nonzero(np.diff(self.indices) == 0))

    @property
    def duration_s(self) -> Fraction:
        """Return the length in seconds, exactly."""
        return self.num_frames / self.fps

    def read_source(self, indices: Sequence[int] | Indices) -> Iterator[Frame]:
        """Yield the mezzanine's frames `indices`, in that order, one `h w c` at a time; a few are in memory at once."""
        # Frames of one GOP are decoded once: 4.3 ms of CPU a frame at 1280x720, and 6.9 sixteen frames a time.
        for _, together in groupby(map(int, indices), key=lambda index: index // GOP_FRAMES):
            yield from self._fetch(list(together))

    def _fetch(self, indices: list[int]) -> Iterator[Frame]:
        numbers = sorted(set(indices))
        frames: Frames = self._reader.get_batch(numbers).asnumpy()
        # decord reads ahead without bound and goes on decoding when nobody asks: 1.5 GB of frames after ten minutes of
        # 320x180 at 30 fps. A seek drops what is waiting; the next read decodes at most one GOP again.
        self._reader.seek(0)
        return (frames[numbers.index(index)] for index in indices)

    def close(self) -> None:
        """Close the file."""
        self._reader = None

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def _name_in_utf8(path: Path) -> Iterator[str]:
    """Yield a name of the file that decord takes: UTF-8, whatever bytes the path has."""
    with path.open("rb") as file:
        yield str(path) if str(path).isprintable() else f"/proc/self/fd/{file.fileno()}"


def frame_positions(
    num_frames: int, source_fps: Fraction, fps: Fraction
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the position, in source frames, of each frame of a clip resampled to `fps`.

    Rounded half to even they are the source frames to show.
    The rule of Wan2.2-Animate's preprocess_data.py (get_frame_indices), in its order and in float64 as there.
    """
    if fps == source_fps:
        return np.arange(num_frames, dtype=np.float64)
    target = max(1, int(num_frames / float(source_fps) * float(fps)))
    positions = np.arange(target) / float(fps) * float(source_fps)
    return np.clip(positions, 0, num_frames - 1)
