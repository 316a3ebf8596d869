"""How many threads a bundle's networks are worth: more than that only wait for one another.

`tiny` takes a fifth less CPU time with one thread than with two, in the same time (`benchmarks/LOG.md`).
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

_VARIABLE = "OMP_NUM_THREADS"  # the user's own choice wins
_ONE, _TWO = 10 * 10**6, 100 * 10**6  # bytes of a bundle: below, so many threads


def threads_for(bundle: Path) -> int | None:
    """Return the number of threads for a bundle's networks on the CPU; None where the libraries' own is right."""
    if _VARIABLE in os.environ:
        return None
    size_bytes = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    return 1 if size_bytes < _ONE else 2 if size_bytes < _TWO else None


def limit_threads(bundle: Path) -> None:
    """Have torch take no more threads in this process than the bundle's networks are worth."""
    count = threads_for(bundle)
    if count is not None and count < torch.get_num_threads():
        torch.set_num_threads(count)
