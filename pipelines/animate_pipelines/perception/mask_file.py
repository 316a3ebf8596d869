"""`MaskFile`: the person's mask in every frame of a film, on the disk, eight pixels a byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from animate_pipelines.media.durable import written_whole
from animate_pipelines.request.size import Size


class MaskFile:
    """Masks `h w` of 0 and 1 by source frame. Written whole, and never written to again."""

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width

    def is_there(self) -> bool:
        """Return whether the masks have been written."""
        return self._path.is_file()

    def write(self, masks: Iterable[tuple[int, np.ndarray]], num_frames: int, size: Size) -> None:
        """Write (source frame, mask) pairs.

        num_frames: of the film.
        size: (width, height) of a mask.
        """
        width, height = size
        with written_whole(self._path) as partial:
            packed = np.lib.format.open_memmap(
                partial, mode="w+", dtype=np.uint8, shape=(num_frames, height, -(-width // 8))
            )
            for index, mask in masks:
                packed[index] = np.packbits(mask, axis=1)
            packed.flush()

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Return the masks `t h w` of those source frames."""
        packed = np.load(self._path, mmap_mode="r")
        return np.unpackbits(packed[list(indices)], axis=2, count=self._width)

    def marked(self, indices: Sequence[int]) -> dict[int, bool]:
        """Return whether the masks of those source frames have anything in them."""
        packed = np.load(self._path, mmap_mode="r")
        return {index: bool(packed[index].any()) for index in indices}
