"""All that one segment leaves to the next."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(slots=True, kw_only=True)
class LoopState:
    """generator: drawn from in order, one for the whole job.

    carried: `1 3 overlap h w` pixels, the last frames of the segment before; None before the first one.
    """

    generator: torch.Generator
    carried: torch.Tensor | None = None


def first_state(seed: int) -> LoopState:
    """The state that a job begins with."""
    return LoopState(generator=torch.Generator().manual_seed(seed))
