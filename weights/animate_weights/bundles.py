"""Bundles: folders of weights, found by name or path, in this package, or made by code on first use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animate_weights.errors import BundleNotFound
from animate_weights.manifest import is_bundle

_PUPPET = Path(__file__).parent / "puppet" / "bundle"


def find_bundle(name_or_path: str, home: Path) -> Path:
    """The folder of a bundle: a path, a name under `home/bundles`, `puppet` of this package, or `tiny`, made by code.

    `BundleNotFound` says where was looked.
    """
    candidates = [Path(name_or_path).expanduser(), home / "bundles" / name_or_path]
    if name_or_path == "puppet":
        candidates.append(_PUPPET)
    for candidate in candidates:
        if candidate.is_dir() and is_bundle(candidate):
            return candidate
    if name_or_path == "tiny":
        return _make_tiny(home / "bundles" / "tiny")
    raise BundleNotFound(
        f"there is no bundle {name_or_path!r}: neither a folder of that path nor {home / 'bundles' / name_or_path}",
        field="bundle",
        value=name_or_path,
    )


def _make_tiny(folder: Path) -> Path:
    from animate_weights.tiny import write_tiny_bundle  # imports torch and diffusers

    with staged_folder(folder) as staging:
        write_tiny_bundle(staging)
    return folder


@contextmanager
def staged_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill that becomes `folder` in one rename; of two processes that fill it, the first one's stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield staging
        try:
            staging.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
