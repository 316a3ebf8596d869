"""The header of a safetensors file: which tensors it has, of which type and shape, and where. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


METADATA = "__metadata__"


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the entries by tensor name, as the file has them, and the offset of the first tensor's bytes.

    Raises `ValueError` for a file that is not of this format.
    """
    header, start = read_whole_header(path)
    header.pop(METADATA, None)
    return header, start


def read_whole_header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the same with the writer's own words, text by name, under `METADATA`."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise ValueError("it is not a safetensors file")
        header = json.loads(file.read(length))
    return header, LENGTH_BYTES + length
