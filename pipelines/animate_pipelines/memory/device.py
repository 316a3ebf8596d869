"""The accelerator: its failures, after which a process cannot be trusted and is replaced, and the memory it needed."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from animate_pipelines.errors import DeviceError


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise `DeviceError` for torch's errors when the device fails or its memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"the device's memory is full: {_first_line(error)}") from error
    except torch.AcceleratorError as error:
        raise DeviceError(f"the device failed: {_first_line(error)}") from error


def forget_peak_memory(device: torch.device) -> None:
    """Reset `peak_memory_bytes`, where the device allows that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak of tensors on a GPU since `forget_peak_memory`; without a GPU, the peak of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # in KiB on Linux


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
