"""`PreprocessCache`: keeps what the networks found in driving videos, so that one driver for many characters pays once.

An entry is a folder named by a hash of everything its files depend on. It appears in one rename and disappears in one,
so that any number of processes may share the cache: each sees whole entries or none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from animate_weights.staging import staged_folder

_STRAY_S = 3600.0  # a staging folder this old is left over from a crash


def cache_key(depends_on: dict[str, Any]) -> str:
    """Return a name for results that depend on exactly these JSON values."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


class PreprocessCache:
    """A cache of files on the disk.

    folder: made on the first `keep`.
    max_bytes: of all entries; the least recently used go first.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def restore(self, key: str, destination: Path) -> bool:
        """Put the files of an entry into an existing folder.

        Returns False, and leaves nothing there, when there is no such entry.
        """
        entry = self._folder / key
        placed: list[Path] = []
        try:
            os.utime(entry)
            with _opened(entry) as descriptor:
                for name in sorted(os.listdir(descriptor)):  # noqa: PTH208 -- pathlib lists no descriptors
                    placed.append(destination / name)
                    _share(entry / name, placed[-1])
                # While a folder is being deleted its list is short; it was moved away before that began.
                if not os.path.samestat(os.fstat(descriptor), entry.stat()):
                    raise FileNotFoundError(entry)
        except FileNotFoundError:  # never there, or evicted this moment
            for path in placed:
                path.unlink(missing_ok=True)
            return False
        return True

    def keep(self, key: str, files: Sequence[Path]) -> None:
        """Add an entry of these files, which must never be written to again.

        An entry that has them all stays as it is; one that lacks some gives way.
        """
        entry = self._folder / key
        if all((entry / file.name).is_file() for file in files):
            return
        if sum(file.stat().st_size for file in files) > self._max_bytes:
            return
        if entry.is_dir():
            self._drop(entry)
        with staged_folder(entry) as staging:
            for file in files:
                _share(file, staging / file.name)
        self._evict()

    def _evict(self) -> None:
        entries, total = [], 0
        for folder in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process evicts at the same time
                used_at = folder.stat().st_mtime
                if folder.name.startswith("."):
                    if used_at < time.time() - _STRAY_S:
                        shutil.rmtree(folder, ignore_errors=True)
                    continue
                size_bytes = sum(file.stat().st_size for file in folder.iterdir())
                entries.append((used_at, folder, size_bytes))
                total += size_bytes
        for _, folder, size_bytes in sorted(entries):
            if total <= self._max_bytes:
                return
            self._drop(folder)
            total -= size_bytes

    def _drop(self, entry: Path) -> None:
        grave = Path(tempfile.mkdtemp(prefix=".gone-", dir=self._folder))
        with contextlib.suppress(FileNotFoundError):
            entry.rename(grave / entry.name)
        shutil.rmtree(grave, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Yield the folder's descriptor; as long as it is open no other folder gets its inode number."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _share(file: Path, destination: Path) -> None:
    """Put the same bytes under another name: a hard link, or a copy on another file system."""
    try:
        os.link(file, destination)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM):
            raise
        shutil.copyfile(file, destination)
