"""How closely the regenerated part follows the person."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from animate_pipelines.errors import InvalidField
from animate_pipelines.perception.masks import dilate, fit_mask
from animate_pipelines.request.params import RenderParams


@pytest.fixture
def person() -> np.ndarray:
    """A cross: an upright bar and outstretched arms."""
    mask = np.zeros((200, 120), np.uint8)
    mask[40:160, 55:65] = 1
    mask[70:80, 30:90] = 1
    return mask


def test_a_box_is_filled_but_for_its_last_row_and_column(person: np.ndarray) -> None:
    box = np.zeros_like(person)
    box[31:168, 21:98] = 1  # nine pixels further on each side, as three steps of a kernel of seven go
    box |= dilate(person)
    np.testing.assert_array_equal(fit_mask(person, "box"), box)


def test_tight_is_the_outline_grown_by_nine_pixels(person: np.ndarray) -> None:
    tight = np.zeros_like(person)
    tight[31:169, 46:74] = 1
    tight[61:89, 21:99] = 1
    np.testing.assert_array_equal(fit_mask(person, "tight"), tight)


def test_blocks_lie_between(person: np.ndarray) -> None:
    tight, blocks, box = (fit_mask(person, fit).astype(bool) for fit in ("tight", "blocks", "box"))
    assert (tight <= blocks).all()
    assert (blocks <= box).all()
    assert tight.sum() < blocks.sum() < box.sum()
    # A block is 77 // 8 = 9 px wide and 137 // 16 = 8 px tall: the corner left of the head holds nobody.
    assert not blocks[31:55, 21:39].any()


@pytest.mark.parametrize("values", [{"mask_fit": "loose", "mode": "replace"}, {"mask_fit": "tight"}])
def test_what_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        RenderParams(reference_image="a", driving_video="b", **values)
    assert caught.value.field == "mask_fit"
