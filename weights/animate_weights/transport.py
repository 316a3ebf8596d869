"""Bundles on their way to a machine without a network: one tar or folder, with the hash of every file.

Standard library only. An imported bundle takes its place only when every file has its hash.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from animate_weights.errors import BundleError
from animate_weights.hashes import (
    HASHES_NAME,
    OnBytes,
    bundle_files,
    find_changes,
    format_hashes,
    hash_files,
    read_hashes,
    write_hashes,
)
from animate_weights.manifest import is_bundle
from animate_weights.staging import staged_folder

_CHUNK_BYTES = 8 * 1024**2


def pack_bundle(bundle: Path, destination: Path, on_bytes: OnBytes) -> None:
    """Write a bundle and its hashes into a tar, which appears only when it is whole.

    The tar is not compressed: weights do not compress.

    bundle: the folder.
    destination: the tar.
    on_bytes: called with the number of bytes read.
    Raises `BundleError` when the bundle has hashes and a file differs from its own.
    """
    hashes = read_hashes(bundle)
    if hashes is None:
        hashes = hash_files(bundle, on_bytes)
    else:
        _refuse_changes(bundle, hashes, on_bytes)
    staging = destination.with_name(f".{destination.name}")
    try:
        with tarfile.open(staging, "w") as tar:
            text = format_hashes(hashes).encode()
            listing = tarfile.TarInfo(HASHES_NAME)
            listing.size = len(text)
            tar.addfile(listing, io.BytesIO(text))
            for name, path in bundle_files(bundle).items():
                entry = tar.gettarinfo(path.resolve(), name)  # the file that a link leads to
                with path.open("rb") as file:
                    tar.addfile(entry, _Counted(file, on_bytes))
        staging.replace(destination)
    finally:
        staging.unlink(missing_ok=True)


def import_bundle(source: Path, destination: Path, on_bytes: OnBytes) -> None:
    """Bring a bundle to a new folder.

    source: a tar or a folder.
    destination: the new folder.
    on_bytes: called with the number of bytes read.
    Raises `BundleError` when it is no bundle, when a file differs from its hash, or when `destination` exists.
    """
    if destination.exists():
        raise BundleError(f"{destination} exists already", field="name", value=destination.name)
    with staged_folder(destination) as staging:
        if source.is_dir():
            for name, path in bundle_files(source).items():
                _copy(path, staging / name, on_bytes)
            if (source / HASHES_NAME).is_file():
                shutil.copy(source / HASHES_NAME, staging)
        else:
            _extract(source, staging, on_bytes)
        if not is_bundle(staging):
            raise BundleError(f"{source} holds no bundle", field="bundle", value=str(source))
        hashes = read_hashes(staging)
        if hashes is None:
            write_hashes(staging, hash_files(staging, on_bytes))
        else:
            _refuse_changes(staging, hashes, on_bytes)


def _refuse_changes(bundle: Path, hashes: Mapping[str, str], on_bytes: OnBytes) -> None:
    if changes := find_changes(bundle, hashes, on_bytes):
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        raise BundleError(f"{changes[0]}{more}", field="bundle", value=changes[0].split()[0])


def _copy(path: Path, destination: Path, on_bytes: OnBytes) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file, destination.open("wb") as copy:
        shutil.copyfileobj(_Counted(file, on_bytes), copy, _CHUNK_BYTES)


def _extract(source: Path, folder: Path, on_bytes: OnBytes) -> None:
    """Extract a tar into a folder.

    tarfile's `data` filter refuses absolute paths, paths and links that lead outside, and devices.
    """
    try:
        with tarfile.open(source) as tar:
            for entry in tar:
                tar.extract(entry, folder, filter="data")
                on_bytes(entry.size)
    except (OSError, tarfile.TarError) as error:
        raise BundleError(f"{source.name} cannot be unpacked: {error}", field="bundle", value=str(source)) from error


class _Counted:
    """A file that reports how many bytes are read from it."""

    def __init__(self, file: IO[bytes], on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        self._on_bytes(len(chunk))
        return chunk
