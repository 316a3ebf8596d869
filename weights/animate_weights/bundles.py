"""Bundles: folders of weights, found by name or path, in this package, or made by code on first use."""

from __future__ import annotations

from pathlib import Path

from animate_weights.errors import BundleNotFound
from animate_weights.manifest import is_bundle
from animate_weights.staging import staged_folder

_PUPPET = Path(__file__).parent / "puppet" / "bundle"


def find_bundle(name_or_path: str, home: Path) -> Path:
    """Return the folder of a bundle.

    name_or_path: a path, a name under `home/bundles`, `puppet` (in this package) or `tiny` (made by code on first use).
    home: ANIMATE_HOME.
    Raises `BundleNotFound` with the places searched.
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
