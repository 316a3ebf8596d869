"""What a bundle cannot do is refused: at the gate, before a render begins, and where the networks are chosen.

Standard library only, because the HTTP side asks too.
"""

from __future__ import annotations

from animate_pipelines.errors import InvalidField


def check_turbo(turbo: bool, *, bundle: object, lora: object) -> None:
    """`InvalidField` when few steps are asked of a bundle whose manifest names no few-step LoRA."""
    if turbo and lora is None:
        raise InvalidField(
            f"turbo is not available: the bundle {bundle} has no few-step LoRA", field="turbo", value=True, limit=False
        )


def check_safety(asked: bool, *, bundle: object, checker: object, refuse: bool) -> None:
    """`InvalidField` when a check is asked of a bundle without a checker, where that is not let pass unchecked."""
    if asked and refuse and not checker:
        message = f"the bundle {bundle} has no safety checker, and this server renders nothing unchecked"
        raise InvalidField(f"safety_check: {message}", field="safety_check", value=True, limit=False)
