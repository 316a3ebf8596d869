"""Tells failures of the accelerator from all others: after one, its process cannot be trusted and is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from animate_pipelines.errors import DeviceError


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise `DeviceError` for what torch raises when the device fails or its memory is full."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"the device's memory is full: {_first_line(error)}") from error
    except torch.AcceleratorError as error:
        raise DeviceError(f"the device failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
