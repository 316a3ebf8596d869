"""Whether a bundle's networks can read the pictures of a pair: what they say of others would be false."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from animate_pipelines.errors import NoPersonFound, PairNotRead, PersonLost
from animate_pipelines.perception.drawn import are_drawn
from animate_pipelines.request.params import RenderParams
from animate_weights.manifest import REAL_WEIGHTS, Manifest, Reads, say_reads

log = logging.getLogger(__name__)

_NAMES = {"reference_image": "the image", "driving_video": "the driving video"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Legibility:
    """What a bundle reads, and which inputs are nothing of the kind.

    bundle: its name.
    foreign: their fields.
    """

    bundle: str
    reads: Reads
    foreign: tuple[str, ...] = ()

    @property
    def is_judged(self) -> bool:
        """Return whether findings on the pair mean anything."""
        return self.reads != "nothing" and not self.foreign

    @property
    def note(self) -> str | None:
        """Return a sentence on what was not read, for people; None where everything was."""
        if self.foreign:
            inputs = " and ".join(_NAMES[name] for name in self.foreign)
            verb = "is a photograph" if len(self.foreign) == 1 else "are photographs"
            return f"{say_reads(self.bundle, self.reads)}, and {inputs} {verb}"
        return say_reads(self.bundle, self.reads) if self.reads == "nothing" else None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, and whether the pair is judged."""
        return {"judged": self.is_judged, "reads": self.reads, "not_read": list(self.foreign), "note": self.note}


EVERYTHING_READ = Legibility(bundle="", reads="people")


def judge_pair(manifest: Manifest, reference: Sequence[np.ndarray], frames: Sequence[np.ndarray]) -> Legibility:
    """Return whether the bundle reads pictures `h w 3` of the reference, and frames of the driving video."""
    pictures = {"reference_image": reference, "driving_video": frames}
    foreign = tuple(
        name for name, shown in pictures.items() if manifest.reads == "puppets" and shown and not are_drawn(shown)
    )
    return Legibility(bundle=manifest.name, reads=manifest.reads, foreign=foreign)


def refuse_foreign(legibility: Legibility, params: RenderParams) -> None:
    """Raise `PairNotRead` where the bundle does not read an input, unless the request wants the render all the same."""
    if not legibility.foreign:
        return
    if not params.anyway:
        raise PairNotRead(
            f"{legibility.note}: the result would show neither the person nor the motion; {REAL_WEIGHTS}; {{field}} "
            "renders all the same",
            field="anyway",
            value=False,
            limit=True,
        )
    log.warning("%s: rendered all the same, as the request says", legibility.note)


@contextmanager
def saying_what_is_read(legibility: Legibility) -> Iterator[None]:
    """Add to errors about people who are not found that the bundle does not read such pictures."""
    try:
        yield
    except (NoPersonFound, PersonLost) as error:
        if legibility.is_judged:
            raise
        message = f"{error.template}; but {legibility.note}"
        raise type(error)(message, field=error.field, value=error.value, limit=error.limit) from error
