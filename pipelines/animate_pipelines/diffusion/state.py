"""`LoopState`: all that one segment leaves to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from animate_pipelines.media.durable import written_whole


@dataclass(slots=True, kw_only=True)
class LoopState:
    """The state between two segments.

    generator: drawn from in order, one for the whole job.
    carried: `1 3 n h w` pixels, the last frames of the segment before; None where none are carried.
    """

    generator: torch.Generator
    carried: torch.Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the state; the file appears when it is whole."""
        tensors = {"generator": self.generator.get_state()}
        if self.carried is not None:
            tensors["carried"] = self.carried.contiguous().cpu()
        with written_whole(path) as partial:
            save_file(tensors, partial)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> LoopState:
        """Read a state, its pixels onto `device`."""
        tensors = load_file(path)
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        carried = tensors.get("carried")
        return cls(generator=generator, carried=None if carried is None else carried.to(device))


def first_state(seed: int) -> LoopState:
    """Return the state at the beginning of a job."""
    return LoopState(generator=torch.Generator().manual_seed(seed))
