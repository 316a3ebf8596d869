"""Shortcuts: approximations for speed, by name. None is taken by default.

`python -m animate_benchmarks.validate` measures the effect of each on pictures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from animate_kernels.sparsity import Sparsity
from animate_pipelines.errors import InvalidField

# Each sets fields of `Execution`, which hold for the process, or of `Recipe`, which are a job's defaults.
_EXECUTION: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": "bfloat16"},
    "fp8-linears": {"fp8_weights": True, "fp8_products": True},
    "8-bit-attention": {"attention": "fp8"},
}
_RECIPE: dict[str, dict[str, Any]] = {"half-first-step": {"half_first_step": True}}
_DENSITY = "density-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcuts:
    """The fields of `Execution` and of `Recipe` that the shortcuts set."""

    execution: dict[str, Any]
    recipe: dict[str, Any]


def take_shortcuts(names: Iterable[str]) -> Shortcuts:
    """Return the settings of the shortcuts of these names.

    `density-0.2` reads a fifth of the key blocks exactly; `density-0.5/0.2` half of them in the first half of the steps
    and a fifth in the second, and so on for more parts.
    Raises `InvalidField` for an unknown one, or two that set the same field.
    """
    settings = Shortcuts(execution={}, recipe={})
    for name in names:
        new = _read(name)
        if settings.execution.keys() & new.execution.keys() or settings.recipe.keys() & new.recipe.keys():
            raise InvalidField(f"shortcuts: {name!r} is the second of its kind", field="shortcuts", value=name)
        settings = Shortcuts(execution=settings.execution | new.execution, recipe=settings.recipe | new.recipe)
    return settings


def _read(name: str) -> Shortcuts:
    if name in _EXECUTION or name in _RECIPE:
        return Shortcuts(execution=_EXECUTION.get(name, {}), recipe=_RECIPE.get(name, {}))
    if name.startswith(_DENSITY):
        try:
            shares = tuple(float(share) for share in name.removeprefix(_DENSITY).split("/"))
            return Shortcuts(execution={}, recipe={"sparsity": Sparsity(densities=shares)})
        except ValueError:
            pass
    names = ", ".join((*_EXECUTION, *_RECIPE, "density-SHARE"))
    raise InvalidField(
        f"shortcuts: {name!r} is none of {names}, where SHARE is above 0 and at most 1, or several parted by /",
        field="shortcuts",
        value=name,
    )
