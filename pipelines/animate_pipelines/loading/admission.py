"""Decides whether a job fits the device's memory, before it computes anything there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from animate_pipelines.errors import AreaTooLarge
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.predict import predict_peak, untracked_bytes
from animate_pipelines.loading.residency import MARGIN_BYTES
from animate_pipelines.loading.sizes import NetworkSizes, SegmentSize
from animate_pipelines.media.resize import SIDE_MULTIPLE_PX
from animate_pipelines.request.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceMemory:
    """The memory of a device.

    sizes: of the loaded networks.
    execution: of the loaded networks.
    available_bytes: returns the bytes that the networks and a job may fill together now.
    """

    sizes: NetworkSizes
    execution: Execution
    available_bytes: Callable[[], int]

    def check(self, size: Size, num_frames: int, *, field: str) -> None:
        """Raise `AreaTooLarge`, with the largest size of that shape that fits, unless 1 GB would stay free.

        size: (width, height) of segments of `num_frames` frames.
        field: the field of the request that decides the size.
        """
        segment = SegmentSize(width=size[0], height=size[1], num_frames=num_frames)
        available = self.available_bytes()
        if self._need(segment) <= available:
            return
        largest = self._largest(segment, available)
        fits = f"the largest of this shape that fits is {_size(largest)}" if largest else "none of this shape fits"
        raise AreaTooLarge(
            f"{_size(segment)} in segments of {segment.num_frames} frames needs {self._need(segment) / 1e9:.1f} GB of "
            f"device memory, predicted, and there are {available / 1e9:.1f} GB: {fits}",
            field=field,
            value=_size(segment),
            limit=largest and _size(largest),
        )

    def _need(self, segment: SegmentSize) -> int:
        return predict_peak(self.sizes, self.execution, segment) + MARGIN_BYTES

    def _largest(self, segment: SegmentSize, available: int) -> SegmentSize | None:
        """Return the largest segment of that shape that fits.

        Both sides are multiples of 16, rounded down as in `render_size`.
        """
        for width in range(segment.width, 0, -SIDE_MULTIPLE_PX):
            height = width * segment.height // segment.width // SIDE_MULTIPLE_PX * SIDE_MULTIPLE_PX
            smaller = replace(segment, width=width, height=height)
            if height and self._need(smaller) <= available:
                return smaller
        return None


def cuda_memory(sizes: NetworkSizes, execution: Execution) -> DeviceMemory:
    """Return the memory of the execution's GPU.

    It counts the free bytes, those that torch holds for us, and the prediction for those outside of torch.
    """

    def available() -> int:
        free: int = torch.cuda.mem_get_info(execution.device)[0]
        return free + torch.cuda.memory_reserved(execution.device) + untracked_bytes(sizes)

    return DeviceMemory(sizes=sizes, execution=execution, available_bytes=available)


def _size(segment: SegmentSize) -> str:
    return f"{segment.width}x{segment.height}"
