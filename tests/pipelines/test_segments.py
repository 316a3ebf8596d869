"""How a clip is cut into segments, against recorded values and invariants."""

from __future__ import annotations

import pytest
import torch
from golden_weights import GOLDEN, read_json
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from animate_pipelines.diffusion.loop import render_segments
from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.diffusion.segments import Segment, plan_segments, reflect, segment_indices
from animate_pipelines.diffusion.state import first_state
from animate_pipelines.errors import NotFinite
from animate_pipelines.families.wan_animate.encode import known_mask


def test_padding_is_the_official_one() -> None:
    for case, golden in read_json("padding.json")["inputs_padding_indices"].items():
        frames, padded = map(int, case.split("->"))
        assert [reflect(i, frames) for i in range(padded)] == golden


def test_padded_lengths_are_the_official_ones() -> None:
    for case, golden in read_json("padding.json")["get_valid_len"].items():
        real, clip, overlap = (int("".join(filter(str.isdigit, part))) for part in case.split("_"))
        assert plan_segments(real, clip, overlap)[-1].stop == golden


@given(st.integers(1, 500), st.sampled_from([9, 17, 77]), st.sampled_from([1, 5]))
def test_every_frame_is_new_exactly_once(num_frames: int, segment_frames: int, overlap: int) -> None:
    if segment_frames - overlap < overlap:
        return
    segments = plan_segments(num_frames, segment_frames, overlap)
    new = [f for s in segments for f in range(s.start + s.overlap, s.start + s.overlap + s.num_new_frames)]
    assert new == list(range(num_frames))
    for segment in segments:
        indices = segment_indices(segment, num_frames)
        assert len(indices) == segment_frames
        assert set(indices) <= set(range(num_frames))
        assert indices[segment.overlap : segment.overlap + segment.num_new_frames] == new[: segment.num_new_frames]
        del new[: segment.num_new_frames]


@pytest.mark.parametrize(("segment_frames", "overlap"), [(76, 1), (9, 5)])
def test_lengths_that_cannot_be_generated_are_refused(segment_frames: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot be generated"):
        plan_segments(30, segment_frames, overlap)


@pytest.mark.parametrize("num_known", [0, 1, 5])
@pytest.mark.parametrize("with_masks", [False, True])
def test_known_mask_is_the_official_one(num_known: int, with_masks: bool) -> None:
    golden = load_file(GOLDEN / "masks.safetensors")
    name = f"i2v_mask_pix_len{num_known}" if with_masks else f"i2v_mask_latT3_len{num_known}"
    masks = 1 - golden["mask_pixel_in"][0] if with_masks else None
    mask = known_mask(torch.Size([3, 4, 6]), num_known=num_known, masks=masks)
    torch.testing.assert_close(mask[0], golden[name], rtol=0, atol=1e-7)


class _Breaks:
    """A segment model whose latents become NaN in its second segment."""

    noise_shape = (1, 1, 1, 2, 2)
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.segments = 0

    def prepare(self, drive: object, carried: torch.Tensor | None) -> _Breaks:
        self.segments += 1
        return self

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        return latents * (float("nan") if self.segments == 2 else 0.1)

    def settle(self, latents: torch.Tensor) -> torch.Tensor:
        return latents

    def finish(self, latents: torch.Tensor, segment: Segment) -> torch.Tensor:
        return torch.zeros(1, 3, segment.num_new_frames, 2, 2)


def test_nan_stops_the_render_at_its_segment() -> None:
    segments, done = plan_segments(13, 5, overlap=1), []
    rendered = render_segments(
        _Breaks(), lambda segment: None, segments, Recipe(num_steps=2, shift=5.0), first_state(1), carried_frames=1
    )
    with pytest.raises(NotFinite, match="segment 2 ended in values that are not finite"):
        done.extend(segment.index for segment, _ in rendered)
    assert done == [0]
