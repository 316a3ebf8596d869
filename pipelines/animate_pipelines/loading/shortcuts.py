"""Shortcuts: what may be approximated for speed, by name. None is taken unless it is asked for.

`python -m animate_benchmarks.validate` shows what each does to pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from animate_kernels.sparsity import Sparsity
from animate_pipelines.errors import InvalidField

_CHANGES: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": "bfloat16"},
    "fp8-linears": {"fp8_weights": True, "fp8_products": True},
    "8-bit-attention": {"attention": "fp8"},
    "half-first-step": {"half_first_step": True},
}
_DENSITY = "density-"


def recipe_changes(shortcuts: Iterable[str]) -> dict[str, Any]:
    """The fields of `Recipe` that shortcuts set. `InvalidField` for an unknown one, or two that set the same field.

    `density-0.2` reads a fifth of the key blocks exactly; `density-0.5/0.2` half of them in the first half of the steps
    and a fifth in the second, and so on for more parts.
    """
    changes: dict[str, Any] = {}
    for shortcut in shortcuts:
        new = _changes_of(shortcut)
        if changes.keys() & new.keys():
            raise InvalidField(f"shortcuts: {shortcut!r} is the second of its kind", field="shortcuts", value=shortcut)
        changes |= new
    return changes


def _changes_of(shortcut: str) -> dict[str, Any]:
    if shortcut in _CHANGES:
        return _CHANGES[shortcut]
    if shortcut.startswith(_DENSITY):
        try:
            shares = tuple(float(share) for share in shortcut.removeprefix(_DENSITY).split("/"))
            return {"sparsity": Sparsity(densities=shares)}
        except ValueError:
            pass
    names = ", ".join((*_CHANGES, "density-SHARE"))
    raise InvalidField(
        f"shortcuts: {shortcut!r} is none of {names}, where SHARE is above 0 and at most 1, or several parted by /",
        field="shortcuts",
        value=shortcut,
    )
