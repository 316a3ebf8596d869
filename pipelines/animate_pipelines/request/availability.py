"""What a bundle cannot do is refused: at the door, before a render begins, and where the networks are chosen.

Standard library only, because the HTTP side asks too.
"""

from __future__ import annotations

from collections.abc import Collection

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.params import RenderParams


def check_family(
    params: RenderParams, *, bundle: object, family: object, tasks: Collection[str], refuses: Collection[str]
) -> None:
    """Raise `InvalidField` for a task that the bundle does not do, or a given field that its family cannot follow.

    tasks, refuses: as `Traits` has them.
    """
    if params.mode not in tasks:
        done = ", ".join(tasks)
        raise InvalidField(
            f"{{field}} {params.mode} is not available: the bundle {bundle} does {done}",
            field="mode",
            value=params.mode,
            limit=done,
        )
    for name in params.given:
        if name in refuses:
            raise InvalidField(f"{{field}} is not taken by the family {family}", field=name, limit=None)


def check_turbo(turbo: bool, *, bundle: object, lora: object) -> None:
    """Raise `InvalidField` when few steps are asked of a bundle whose manifest names no few-step LoRA."""
    if turbo and lora is None:
        message = f"{{field}} is not available: the bundle {bundle} has no few-step LoRA"
        raise InvalidField(message, field="turbo", value=True, limit=False)


def check_safety(asked: bool, *, bundle: object, checker: object, refuse: bool) -> None:
    """Raise `InvalidField` when a check is asked of a bundle without a checker, where none is passed over."""
    if asked and refuse and not checker:
        message = f"the bundle {bundle} has no safety checker, and this server renders nothing unchecked"
        raise InvalidField(f"safety_check: {message}", field="safety_check", value=True, limit=False)
