"""The segment loop: inputs in, pixels out, one segment carrying its last frames into the next."""

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
from animate_pipelines.errors import NotFinite
from animate_pipelines.media.read_ahead import read_ahead


class SegmentModel(Protocol):
    """A model with the conditions of a whole job."""

    def prepare(self, drive: Any, carried: torch.Tensor | None) -> Denoiser:
        """Return the denoiser of one segment.

        drive: the segment's input, from its family's performance.
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

    drive: called in a thread, for the next segment while this one denoises; so the inputs of two segments are in
        memory.
    carried_frames: the number of last frames that the next segment gets.

    `t` may exceed `segment.num_new_frames` in the last segment: the rest is padding.
    """
    with closing(read_ahead(map(drive, segments), 1)) as drives:
        for segment, (segment_input,) in zip(segments, drives, strict=True):
            denoiser = model.prepare(segment_input, state.carried)
            noise = draw_noise(denoiser, state.generator)
            latents = denoise(denoiser, recipe.new_solver(), noise, on_step=partial(on_step, segment))
            _check_finite(latents, segment)
            pixels = model.finish(latents, segment)
            state.carried = pixels[:, :, -carried_frames:] if carried_frames else None
            yield segment, pixels


def _check_finite(latents: torch.Tensor, segment: Segment) -> None:
    """Raise `NotFinite` before NaN is decoded, written, and carried into every later segment."""
    if not bool(torch.isfinite(latents).all()):
        number = segment.index + 1
        message = f"segment {number} ended in values that are not finite: `weights verify` tells damaged weights"
        raise NotFinite(message, value=number)
