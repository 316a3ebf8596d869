"""Files that must not be lost or half seen: synced, renamed into place, hashed while they are written."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from animate_server.errors import BodyTooLarge, DiskFull

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Size and hash of what was written."""

    size_bytes: int
    sha256: str


def unguessable(suffix: str = "") -> str:
    """Return a file name of 122 random bits: a UUID's digits, for services that name files by UUID."""
    return uuid.uuid4().hex + suffix


def write_limited(chunks: Iterable[bytes], path: Path, *, limit_bytes: int, field: str | None = None) -> Written:
    """Write `chunks` and sync them. On any failure nothing is left; `BodyTooLarge` past `limit_bytes`.

    A file that is there already stays as it is: `FileExistsError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("xb") as file:
        try:
            for chunk in chunks:
                size_bytes += len(chunk)
                if size_bytes > limit_bytes:
                    raise too_large(size_bytes, limit_bytes, field)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Written(size_bytes=size_bytes, sha256=digest.hexdigest())


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, a megabyte at a time."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def too_large(size_bytes: int, limit_bytes: int, field: str | None = None) -> BodyTooLarge:
    """Return the error for more bytes than are taken, of a field or of the whole body."""
    subject = "{field}" if field else "the body"
    return BodyTooLarge(
        f"{subject} has at least {size_bytes} bytes, the limit is {limit_bytes}",
        field=field,
        value=size_bytes,
        limit=limit_bytes,
    )


def move_durably(source: Path, target: Path) -> Written:
    """Sync `source`, rename it to `target` on the same file system, sync the folder, and hash it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256")
        size_bytes = file.tell()
    source.rename(target)
    sync_folder(target.parent)
    return Written(size_bytes=size_bytes, sha256=digest.hexdigest())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_free_disk(folder: Path, part: float) -> None:
    """Raise `DiskFull` when less than `part` of the disk is free."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(folder)
    if usage.free < part * usage.total:
        raise DiskFull(
            f"{usage.free / usage.total:.1%} of the disk is free, {part:.1%} is needed", value=usage.free, limit=part
        )
