"""SHA-256 of a bundle's files, in `SHA256SUMS` as `sha256sum --check` reads it. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from animate_weights.errors import BundleError

HASHES_NAME = "SHA256SUMS"
_CHUNK_BYTES = 8 * 1024**2
OnBytes = Callable[[int], None]  # called with the number of bytes just dealt with


def bundle_files(bundle: Path) -> dict[str, Path]:
    """Return the files of a bundle by relative path with slashes, sorted; without its hashes and hidden files."""
    found = {}
    for path in sorted(bundle.rglob("*")):
        name = path.relative_to(bundle).as_posix()
        if path.is_file() and name != HASHES_NAME and not any(part.startswith(".") for part in Path(name).parts):
            found[name] = path
    return found


def hash_file(path: Path, on_bytes: OnBytes) -> str:
    """Return the hexadecimal SHA-256 of a file.

    on_bytes: called with the number of bytes read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_bytes(len(chunk))
    return digest.hexdigest()


def hash_sample(folder: Path) -> str:
    """Return a hash of a folder's files: their names, sizes, and the first and last 8 MiB of each.

    A network that is trained anew differs there. Reading all of a pose network of 2.5 GB would delay every start by
    seconds.
    """
    digest = hashlib.sha256()
    for name, path in bundle_files(folder).items():
        size_bytes = path.stat().st_size
        digest.update(f"{name}\0{size_bytes}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_CHUNK_BYTES))
            file.seek(max(size_bytes - _CHUNK_BYTES, file.tell()))
            digest.update(file.read())
    return digest.hexdigest()


def hash_files(bundle: Path, on_bytes: OnBytes) -> dict[str, str]:
    """Return the SHA-256 of every file of a bundle, by relative path."""
    return {name: hash_file(path, on_bytes) for name, path in bundle_files(bundle).items()}


def format_hashes(hashes: Mapping[str, str]) -> str:
    """Return hashes by path as the text of `SHA256SUMS`."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))


def write_hashes(bundle: Path, hashes: Mapping[str, str]) -> None:
    """Write `SHA256SUMS`, whole or not at all."""
    staging = bundle / f".{HASHES_NAME}"
    staging.write_text(format_hashes(hashes))
    staging.replace(bundle / HASHES_NAME)


def read_hashes(bundle: Path) -> dict[str, str] | None:
    """Read a bundle's hashes by relative path; return None when it has none.

    Raises `BundleError` when the file cannot be read.
    """
    path = bundle / HASHES_NAME
    if not path.is_file():
        return None
    hashes = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if len(digest) != 64 or not separator or Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{HASHES_NAME} cannot be read: line {number}", field="bundle", value=str(bundle))
        hashes[name] = digest
    return hashes


def find_changes(bundle: Path, hashes: Mapping[str, str], on_bytes: OnBytes) -> list[str]:
    """Return one sentence for each file that is missing, unlisted or different.

    bundle: the folder.
    hashes: expected SHA-256 by relative path.
    on_bytes: called with the number of bytes read.
    """
    files = bundle_files(bundle)
    changes = [f"{name} is missing" for name in hashes if name not in files]
    changes += [f"{name} is not listed in {HASHES_NAME}" for name in files if name not in hashes]
    for name, path in files.items():
        if name in hashes and hash_file(path, on_bytes) != hashes[name]:
            changes.append(f"{name} is not what it was: its SHA-256 differs")
    return changes
