"""A safetensors file, read and written one tensor at a time, each in memory of its own.

The library's `safe_open` maps the whole file privately for writing. Linux refuses that where the file is larger than
the free memory (observed: 34.5 GB on a host of 24 GB), and a loaded tensor stays tied to the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from animate_weights.safetensors_header import LENGTH_BYTES, METADATA, read_whole_header

Shape = tuple[int, ...]
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    shape: Shape
    dtype: torch.dtype
    offset: int


class SafetensorsFile:
    """The tensors of one file. Raises `ValueError` for a file that is not whole or not of this format.

    metadata: the words that the writer put into the header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        header, start = read_whole_header(path)
        self.metadata: Mapping[str, str] = header.pop(METADATA, {})
        self._places = _places_of(header, start, path.stat().st_size)

    def list(self) -> Iterator[tuple[str, Shape, torch.dtype]]:
        """Yield name, shape and type of every tensor, in the order of the file."""
        for name, place in self._places.items():
            yield name, place.shape, place.dtype

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU."""
        place = self._places[name]
        tensor = torch.empty(place.shape, dtype=place.dtype)
        if tensor.numel():
            with self._path.open("rb") as file:
                file.seek(place.offset)
                buffer = tensor.reshape(-1).view(torch.uint8).numpy().data
                if file.readinto(buffer) != buffer.nbytes:
                    raise ValueError(f"{self._path.name} ends inside {name}")
        return tensor


def _places_of(header: Mapping[str, Any], start: int, size: int) -> dict[str, _Place]:
    places = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
        places[name] = _place(name, entry, start, size)
    return places


def _place(name: str, entry: dict[str, object], start: int, size: int) -> _Place:
    begin, end = map(int, entry["data_offsets"])  # type: ignore[call-overload]
    shape = tuple(map(int, entry["shape"]))  # type: ignore[call-overload]
    dtype = _DTYPES.get(str(entry["dtype"]))
    if dtype is None:
        raise ValueError(f"{name} has the type {entry['dtype']}, which is not known")
    if begin < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} lies at {begin}..{end}, which does not fit its shape {shape}")
    if start + end > size:
        raise ValueError(f"it is cut off: {size} bytes, and {name} ends at {start + end}")
    return _Place(shape=shape, dtype=dtype, offset=start + begin)


def write_safetensors(
    path: Path, layout: Mapping[str, tuple[Shape, torch.dtype]], tensors: Iterable[tuple[str, torch.Tensor]]
) -> None:
    """Write tensors as they come, holding one at a time.

    path: the file.
    layout: shape and type of every tensor by name.
    tensors: names and tensors, in the order of `layout`.
    """
    header: dict[str, object] = {}
    end = 0
    for name, (shape, dtype) in layout.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        for (name, (shape, dtype)), (given, tensor) in zip(layout.items(), tensors, strict=True):
            if (given, tuple(tensor.shape), tensor.dtype) != (name, shape, dtype):
                raise ValueError(f"{given} came in place of {name}, or is not of its shape and type")
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
