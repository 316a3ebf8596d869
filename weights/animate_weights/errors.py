"""The root of every error of ours, and the branch for weights.

The rest of the tree is in `animate_pipelines.errors`; it starts here because imports run one way and weights stand
below the pipeline.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

Fault = Literal["request", "server", "weights", "gpu", "user"]


def name_field(template: str, field: str | None) -> str:
    """Return a message in which `{field}` of the template is the name of the field."""
    return template.replace("{field}", field or "the request")


class AnimateError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    fault: ClassVar[Fault] = "server"

    def __init__(
        self, message: str = "", *, field: str | None = None, value: object = None, limit: object = None
    ) -> None:
        """Keep what was wrong.

        message: a sentence for people; by default the docstring of the class. `{field}` in it stands for the field's
            name, so that an interface which calls the field otherwise can say the same, see `named`.
        field: name of the wrong field.
        value: its value.
        limit: the limit it breaks.
        """
        self.template = message or (self.__doc__ or "").strip()
        self.field = field
        self.value = value
        self.limit = limit
        super().__init__(self.template)

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """Return what went wrong, the field by its name."""
        return name_field(self.template, self.field)

    def named(self, names: Mapping[str, str]) -> Self:
        """Return the same error with its field, also in the message, called as `names` has it."""
        other = copy.copy(self)
        other.field = names.get(self.field or "", self.field)
        return other

    def to_json(self) -> dict[str, object]:
        """Return `code` and `message`, and those of `field`, `value` and `limit` that are known, as JSON values."""
        details = {"field": self.field, "value": _plain(self.value), "limit": _plain(self.limit)}
        return {"code": self.code, "message": self.message} | {k: v for k, v in details.items() if v is not None}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)


class BundleError(AnimateError):
    """The bundle of weights cannot be used."""

    code = "bundle_invalid"
    fault = "weights"


class BundleNotFound(BundleError):
    """There is no such bundle."""

    code = "bundle_not_found"
