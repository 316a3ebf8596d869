"""The named tensors of a checkpoint's files: their names and shapes at once, their values one at a time.

A tensor takes memory when it is read. A quantised tensor and its scale are one tensor here, returned dequantised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from animate_weights.errors import BundleError
from animate_weights.layouts import ComponentFiles
from animate_weights.quantized import EIGHT_BIT, dequantize, is_finite, is_marker, scale_owner
from animate_weights.safetensors_file import Shape
from animate_weights.tensor_files import TensorFile, open_tensor_file

# What the single files for ComfyUI put before the original names.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A tensor in a file, not read yet.

    name: its name in the file.
    shape, dtype: as it is stored.
    file: the file.
    scale: name of the tensor that its values are to be multiplied by; None without one.
    """

    name: str
    shape: Shape
    dtype: torch.dtype
    file: Path
    scale: str | None = None


class Checkpoint:
    """The tensors of one network. `tensors` holds them by name without prefix, in the order of the files."""

    def __init__(self, files: ComponentFiles) -> None:
        self.files = files
        self._readers = {path: _open(path) for path in files.files}
        self._raw: dict[str, tuple[str, StoredTensor]] = {}
        for path, reader in self._readers.items():
            for name, shape, dtype in reader.list():
                self._add(name, StoredTensor(name=_plain(name), shape=shape, dtype=dtype, file=path))
        if files.index is not None:
            _check_index(files.index, self._raw)
        self.tensors: Mapping[str, StoredTensor] = _with_scales({name: t for name, (_, t) in self._raw.items()})

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor to the CPU in its stored type; a quantised one comes back in fp32.

        Raises `BundleError` for values that are not finite.
        """
        stored = self.tensors[name]
        tensor = self._read(name)
        if stored.scale is not None:
            tensor = dequantize(tensor, self._read(stored.scale))
        if not is_finite(tensor):
            raise BundleError(
                f"{name} in {stored.file.name} has values that are not finite", field="bundle", value=name
            )
        return tensor

    def _read(self, name: str) -> torch.Tensor:
        full_name, stored = self._raw[name]
        return self._readers[stored.file].read(full_name)

    def _add(self, full_name: str, stored: StoredTensor) -> None:
        if stored.name in self._raw:
            first = self._raw[stored.name][1].file.name
            raise BundleError(f"{stored.name} is both in {first} and in {stored.file.name}", field="bundle")
        self._raw[stored.name] = (full_name, stored)


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a single file as a checkpoint.

    Raises `BundleError` when it cannot be read.
    """
    return Checkpoint(ComponentFiles(files=(path,)))


def _open(path: Path) -> TensorFile:
    try:
        return open_tensor_file(path)
    except Exception as error:  # torch's and ours raise whatever their parsers do
        raise BundleError(f"{path.name} cannot be read: {error}", field="bundle", value=str(path)) from error


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _check_index(index: Path, raw: Mapping[str, tuple[str, StoredTensor]]) -> None:
    listed: dict[str, str] = json.loads(index.read_text())["weight_map"]
    placed = {full_name: stored.file.name for full_name, stored in raw.values()}
    for name in sorted(listed.keys() | placed.keys()):
        if listed.get(name) != placed.get(name):
            there = f"is in {placed[name]}" if name in placed else "is in none of its files"
            says = f"in {listed[name]}" if name in listed else "nowhere"
            raise BundleError(f"{index.name} has {name} {says}, but it {there}", field="bundle", value=name)


def _with_scales(raw: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return the tensors tied to their scales, without those that only serve quantised ones."""
    scales: dict[str, str] = {}
    for name in raw:
        owner = scale_owner(name)
        if owner is None:
            continue
        if owner not in raw:
            raise BundleError(f"{name} is the scale of a tensor that is not there", field="bundle", value=name)
        scales[owner] = name
    kept = {name: stored for name, stored in raw.items() if scale_owner(name) is None and not is_marker(name)}
    tied = {}
    for name, stored in kept.items():
        needs_scale = stored.dtype == torch.int8 or (bool(scales) and stored.dtype in EIGHT_BIT)
        if needs_scale and name not in scales:
            raise BundleError(f"{name} is quantised and has no scale", field="bundle", value=name)
        tied[name] = _tie(stored, raw[scales[name]]) if name in scales else stored
    return tied


def _tie(stored: StoredTensor, scale: StoredTensor) -> StoredTensor:
    rows = stored.shape[0] if stored.shape else 1
    if scale.shape not in ((), (1,), (rows,), (rows, 1)):
        shapes = f"{scale.shape} for a weight of {stored.shape}"
        raise BundleError(f"{scale.name} has the wrong shape: {shapes}", field="bundle", value=scale.name)
    return StoredTensor(name=stored.name, shape=stored.shape, dtype=stored.dtype, file=stored.file, scale=scale.name)
