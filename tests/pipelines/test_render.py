"""The segment loop has the next segment's pictures drawn while this one denoises."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import numpy as np
import pytest
import torch

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment, plan_segments
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.errors import Canceled, MediaError
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.encode import encode_constants
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.families.wan_animate.segment_model import AnimateSegmentModel
from animate_pipelines.request.params import RenderParams

LONG_ENOUGH_S = 60.0
SIZE = (32, 32)
FACE_PX = 32  # as the tiny bundle reads it

Draw = Callable[[Segment], SegmentFrames]
OnStep = Callable[[Segment, int], None]
Readers = Callable[[], set[threading.Thread]]


def _draw(segment: Segment) -> SegmentFrames:
    rng = np.random.default_rng(segment.index)
    length = segment.stop - segment.start
    return SegmentFrames(
        pose=rng.integers(0, 256, (length, *SIZE, 3), np.uint8),
        face=rng.integers(0, 256, (length, FACE_PX, FACE_PX, 3), np.uint8),
    )


def _ignore(segment: Segment, step: int) -> None:
    pass


def _render(
    models: Models, draw: Draw = _draw, on_step: OnStep = _ignore
) -> Generator[tuple[Segment, torch.Tensor], None, None]:
    """Two segments of nine frames, two steps each."""
    transformer = models.family.transformers.select(turbo=False)
    reference = np.full((*SIZE, 3), 99, np.uint8)
    params = RenderParams(reference_image="a", driving_video="b")
    constants = encode_constants(models.family.encoders, models.family.readers, transformer, reference, params)
    recipe = Recipe(num_steps=2, shift=5.0)
    return render_segments(
        AnimateSegmentModel(transformer, models.family.vae, constants, recipe),
        draw,
        plan_segments(17, 9, overlap=1),
        recipe,
        first_state(1),
        carried_frames=1,
        on_step=on_step,
    )


@pytest.fixture
def readers() -> Readers:
    """The threads that draw ahead, without any that an earlier test has left."""

    def running() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")}

    known = running()
    return lambda: running() - known


def test_the_next_segment_is_drawn_while_this_one_denoises(tiny_models: Models) -> None:
    """The first segment's step and the second one's drawing wait for each other: in turn, neither would ever go on."""
    denoising, drawing = threading.Event(), threading.Event()

    def draw(segment: Segment) -> SegmentFrames:
        if segment.index == 1:
            drawing.set()
            assert denoising.wait(LONG_ENOUGH_S)
        return _draw(segment)

    def on_step(segment: Segment, step: int) -> None:
        if segment.index == 0:
            denoising.set()
            assert drawing.wait(LONG_ENOUGH_S)

    met = list(_render(tiny_models, draw, on_step))
    alone = list(_render(tiny_models))
    assert [segment.index for segment, _ in met] == [0, 1]
    for (_, pixels), (_, same) in zip(met, alone, strict=True):
        assert torch.equal(pixels, same)


def test_what_spoils_a_drawing_ends_the_render_at_its_segment(tiny_models: Models, readers: Readers) -> None:
    def draw(segment: Segment) -> SegmentFrames:
        if segment.index == 1:
            raise MediaError("frame 12 cannot be read")
        return _draw(segment)

    rendered = _render(tiny_models, draw)
    assert next(rendered)[0].index == 0
    with pytest.raises(MediaError, match="frame 12 cannot be read"):
        next(rendered)
    assert not readers()


def test_a_canceled_render_leaves_no_thread(tiny_models: Models, readers: Readers) -> None:
    def cancel(segment: Segment, step: int) -> None:
        raise Canceled

    with pytest.raises(Canceled) as caught:
        list(_render(tiny_models, on_step=cancel))
    assert not readers()
    assert caught.tb is not None  # which keeps the frames of the render alive

    abandoned = _render(tiny_models)
    next(abandoned)
    assert readers()
    abandoned.close()
    assert not readers()
