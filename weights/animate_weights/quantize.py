"""A bundle's transformer in fp8: the block's matrices as e4m3 with one scale a row, the rest in bf16.

The names stay those of the bundle's layout. The error of a matrix is that of 3 bits; the video's is not measured.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from animate_weights.checkpoint import Checkpoint, StoredTensor
from animate_weights.errors import BundleError
from animate_weights.hashes import HASHES_NAME, OnBytes, bundle_files
from animate_weights.layouts import component_files, find_layout
from animate_weights.manifest import MANIFEST_NAME, read_manifest
from animate_weights.names import diffusers_names
from animate_weights.quantized import SCALE_SUFFIX, is_quantised_parameter, quantize_rowwise
from animate_weights.safetensors_file import Shape, write_safetensors
from animate_weights.staging import staged_folder

_FILES = {
    "original": "wan2.2_animate_14B_fp8.safetensors",
    "diffusers": "transformer/diffusion_pytorch_model.safetensors",
}


def quantize_bundle(bundle: Path, destination: Path, on_bytes: OnBytes) -> None:
    """Write a bundle with its transformer in fp8; other files are linked or copied.

    bundle: the folder to read.
    destination: the new folder.
    on_bytes: called with the size of every stored tensor that is done.
    Raises `BundleError` when `destination` exists.
    """
    if destination.exists():
        raise BundleError(f"{destination} exists already", field="destination", value=str(destination))
    manifest = read_manifest(bundle)
    layout = find_layout(bundle) or "diffusers"
    files = component_files(bundle, "transformer", manifest.transformer)
    checkpoint = Checkpoint(files)
    left_out = {path.resolve() for path in (*files.files, *filter(None, [files.index]))}
    with staged_folder(destination) as staging:
        for name, path in bundle_files(bundle).items():
            if path.resolve() not in left_out and name not in (HASHES_NAME, MANIFEST_NAME):
                _link(path, staging / name)
        target = staging / _FILES[layout]
        target.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(target, _layout(checkpoint), _tensors(checkpoint, on_bytes))
        values = manifest.to_json() | {"name": f"{manifest.name}-fp8", "transformer": None}
        (staging / MANIFEST_NAME).write_text(json.dumps(values, indent=2) + "\n")


def is_quantised(stored: StoredTensor) -> bool:
    """Return whether a tensor of the transformer is written in fp8."""
    names = diffusers_names(stored.name)
    return len(stored.shape) == 2 and bool(names) and all(map(is_quantised_parameter, names))


def _layout(checkpoint: Checkpoint) -> dict[str, tuple[Shape, torch.dtype]]:
    layout: dict[str, tuple[Shape, torch.dtype]] = {}
    for name, stored in checkpoint.tensors.items():
        if is_quantised(stored):
            layout[name] = (stored.shape, torch.float8_e4m3fn)
            layout[_scale_name(name)] = ((stored.shape[0], 1), torch.float32)
        else:
            layout[name] = (stored.shape, torch.bfloat16)
    return layout


def _tensors(checkpoint: Checkpoint, on_bytes: OnBytes) -> Iterator[tuple[str, torch.Tensor]]:
    for name, stored in checkpoint.tensors.items():
        tensor = checkpoint.read(name)
        if is_quantised(stored):
            values, scale = quantize_rowwise(tensor)
            yield name, values
            yield _scale_name(name), scale
        else:
            yield name, tensor.to(torch.bfloat16)
        on_bytes(tensor.numel() * stored.dtype.itemsize)


def _scale_name(weight: str) -> str:
    return weight.removesuffix(".weight") + SCALE_SUFFIX


def _link(path: Path, destination: Path) -> None:
    """Give a file a second name, where the file system can; else copy it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path.resolve(), destination)
    except OSError:
        shutil.copy(path, destination)
