"""The segment loop: drives in, pixels out, one segment carrying its last frames into the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Protocol

import torch

from animate_pipelines.diffusion.denoise import Denoiser, denoise, draw_noise
from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.diffusion.state import LoopState
from animate_pipelines.media.read_ahead import read_ahead


class SegmentModel(Protocol):
    """A model that has been shown what a whole job is conditioned on."""

    def prepare(self, drive: Any, carried: torch.Tensor | None) -> Denoiser:
        """Return the denoiser of one segment.

        drive: what drives it, as its family's performance gave it.
        carried: `1 3 n h w` pixels in -1..1, the last frames of the segment before; None in the first.
        """

    def finish(self, latents: torch.Tensor, segment: Segment) -> torch.Tensor:
        """Return the new pixels `1 3 t h w` in -1..1 of a segment, without the carried frames."""


@torch.no_grad()
def render_segments(
    model: SegmentModel,
    drive: Callable[[Segment], Any],
    segments: Sequence[Segment],
    recipe: Recipe,
    state: LoopState,
    *,
    carried_frames: int,
    on_step: Callable[[Segment, int], None] = lambda segment, step: None,
) -> Generator[tuple[Segment, torch.Tensor], None, None]:
    """Yield each segment with its new pixels; `state` is then ready for the next.

    `t` may exceed `segment.num_new_frames` in the last segment: what follows is padding.

    drive: called in a thread, for the next segment while this one denoises; so two segments' are in memory.
    carried_frames: how many of the last frames the next segment is shown.
    """
    with closing(read_ahead(map(drive, segments), 1)) as drives:
        for segment, (given,) in zip(segments, drives, strict=True):
            denoiser = model.prepare(given, state.carried)
            noise = draw_noise(denoiser, state.generator)
            latents = denoise(denoiser, recipe.new_solver(), noise, on_step=partial(on_step, segment))
            pixels = model.finish(latents, segment)
            state.carried = pixels[:, :, -carried_frames:] if carried_frames else None
            yield segment, pixels
