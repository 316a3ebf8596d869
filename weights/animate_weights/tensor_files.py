"""Opens a file of tensors by its bytes, whatever its name ends in: safetensors, or a pickle of nothing but tensors."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch

from animate_weights.safetensors_file import SafetensorsFile, Shape
from animate_weights.safetensors_header import LENGTH_BYTES

_ARCHIVE_START = b"PK\x03\x04"
_HEAD_BYTES = 64
# ONNX's ModelProto: its first field is `ir_version`, and a tag of one of its other fields follows.
_ONNX = re.compile(rb"\x08[\x01-\x14][\x12\x1a\x22\x28\x32\x3a\x42]")
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF file, whose quantised blocks are not read"),
    (b"ggml", "a GGML file, whose quantised blocks are not read"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"ftrt", "a TensorRT engine"),
    (b"version https://git-lfs", "a Git LFS pointer: the file itself was never fetched"),
    (b"<", "a web page or an XML text: a download that did not work"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1f\x8b", "a gzip archive"),
)


class TensorFile(Protocol):
    """The tensors of one file."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Return the words that the writer put beside the tensors."""

    def list(self) -> Iterator[tuple[str, Shape, torch.dtype]]:
        """Yield name, shape and type of every tensor."""

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU."""


def open_tensor_file(path: Path) -> TensorFile:
    """Open a file of tensors. Raises `ValueError` with a reason for people for any other."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.suffix == ".safetensors" or head[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        if foreign := _name_of(head):
            raise ValueError(f"it is {foreign}")
        return SafetensorsFile(path)
    if foreign := _name_of(head):
        raise ValueError(f"it is {foreign}")
    return _Pickle(path, head)


def _name_of(head: bytes) -> str | None:
    known = next((name for start, name in _FOREIGN if head.startswith(start)), None)
    return known or ("an ONNX model" if _ONNX.match(head) else None)


class _Pickle:
    """The tensors of a pickle, or of the `state_dict` in it. `weights_only` runs no code of the file."""

    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path, head: bytes) -> None:
        is_archive = zipfile.is_zipfile(path)
        if not is_archive and head.startswith(_ARCHIVE_START):
            raise ValueError("it is cut off: the end of the archive is missing")
        if is_archive and not _is_torch_archive(path):
            raise ValueError("it is a ZIP archive that torch did not write")
        try:
            # torch's older form is no archive and cannot be mapped: it is in memory as a whole
            values = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(_reason(error)) from None
        inner = values.get("state_dict", values) if isinstance(values, dict) else {}
        self._tensors: dict[str, torch.Tensor] = {k: v for k, v in inner.items() if isinstance(v, torch.Tensor)}
        if not self._tensors:
            raise ValueError("it is a pickle without named tensors")

    def list(self) -> Iterator[tuple[str, Shape, torch.dtype]]:
        for name, tensor in self._tensors.items():
            yield name, tuple(tensor.shape), tensor.dtype

    def read(self, name: str) -> torch.Tensor:
        return self._tensors[name]


def _is_torch_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") or name == "constants.pkl" for name in archive.namelist())


def _reason(error: Exception) -> str:
    """Return why a pickle is not read; torch's own text advises to run the file's code."""
    if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
        objects = f"a pickle of Python objects ({match[1]}), not of tensors alone"
        return f"it is {objects}: save its state_dict as safetensors"
    return "it is neither safetensors nor a pickle of tensors"
