"""`Traits`: what a family of models does, as plain data. Standard library only, because the HTTP side reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

_GROUP = "animate_server.families"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """family: its name in manifests and entry points.

    tasks: values of a request's `mode` that it serves.
    components: networks that a bundle of it consists of.
    readers: networks that look at a driving video for it: "detector", "pose", "masks".
    refuses: fields of the request that its tasks have and that it cannot follow.
    carried_frames: frames of a segment that the next one is shown beyond the request's overlap.
    """

    family: str
    tasks: tuple[str, ...]
    components: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    carried_frames: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def installed_families() -> Mapping[str, EntryPoint]:
    """Return where each installed family is, by name; none is imported."""
    return {point.name: point for point in entry_points(group=_GROUP)}
