"""A transformer's blocks kept in host memory, each copied to the device while the one before it computes.

diffusers' group offloading does the same through hooks on `forward`, which our own blocks do not call, and moves every
tensor by itself; here a block is one piece of page-locked memory and one copy.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from animate_pipelines.errors import DeviceError

_ALIGNMENT_BYTES = 256  # of a tensor inside a block, as torch's own allocator gives it


class BlockStream:
    """The blocks in order, each with its tensors on the device until the iteration goes on.

    Device memory: two blocks, and only during an iteration. On the CPU the copies are plain ones.
    """

    def __init__(self, blocks: Iterable[nn.Module], device: torch.device) -> None:
        self._device = device
        self._blocks = [_PackedBlock(block, pinned=device.type == "cuda") for block in blocks]
        self._streams: Any = torch.get_device_module(device)
        self._copying = self._streams.Stream(device)

    def __iter__(self) -> Iterator[nn.Module]:
        size = max(packed.memory.numel() for packed in self._blocks)
        places = [torch.empty(size, dtype=torch.uint8, device=self._device) for _ in range(2)]
        computing = self._streams.current_stream(self._device)
        try:
            self._fetch(0, places[0], computing)
            for index, packed in enumerate(self._blocks):
                computing.wait_stream(self._copying)  # this block is there
                if index + 1 < len(self._blocks):
                    self._fetch(index + 1, places[(index + 1) % 2], computing)
                packed.lay_out(places[index % 2])
                yield packed.block
                packed.lay_out(packed.memory)
        finally:
            computing.wait_stream(self._copying)  # nothing writes to the places when they are given back

    def _fetch(self, index: int, place: torch.Tensor, computing: Any) -> None:
        self._copying.wait_stream(computing)  # whatever used the place before has been computed
        with self._streams.stream(self._copying):
            source = self._blocks[index].memory
            place[: source.numel()].copy_(source, non_blocking=True)


class _PackedBlock:
    """A block whose tensors are parts of one piece of host memory."""

    def __init__(self, block: nn.Module, *, pinned: bool) -> None:
        self.block = block
        self._tensors = [*block.parameters(), *block.buffers()]
        ends = [0]
        for tensor in self._tensors:
            ends.append(ends[-1] + math.ceil(tensor.nbytes / _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES)
        self._starts = ends[:-1]
        self.memory = torch.empty(ends[-1], dtype=torch.uint8)
        values = [tensor.data for tensor in self._tensors]
        self.lay_out(self.memory)
        for tensor, value in zip(self._tensors, values, strict=True):
            tensor.data.copy_(value)
        if pinned:
            self._pin()

    def lay_out(self, memory: torch.Tensor) -> None:
        """Make the block's tensors parts of that memory, without touching its content."""
        for tensor, start in zip(self._tensors, self._starts, strict=True):
            tensor.data = memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)

    def _pin(self) -> None:
        """Page-lock the memory as it is: torch's pinned allocator rounds up to a power of two, 0.41 GB to 0.54 GB."""
        runtime, address = torch.cuda.cudart(), self.memory.data_ptr()
        if error := int(runtime.cudaHostRegister(address, self.memory.nbytes, 0)):
            raise DeviceError(
                f"{self.memory.nbytes} bytes of host memory cannot be page-locked: CUDA error {error}",
                field="device",
                value=self.memory.nbytes,
            )
        weakref.finalize(self, runtime.cudaHostUnregister, address).atexit = False
