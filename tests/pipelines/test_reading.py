"""One reading of the film: how often a source frame is decoded in a whole render."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from animate_pipelines.families.registry import Models
from animate_pipelines.job.cache import PreprocessCache
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.media.clip import Clip
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams

NUM_FRAMES = 33  # two segments of 17 frames, which share one: nothing pads the last


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Counts the source frames that clips hand out."""
    counts: Counter[int] = Counter()
    read = Clip.read_source

    def counted(clip: Clip, indices: Sequence[int]) -> Iterator[np.ndarray]:
        counts.update(int(index) for index in indices)
        yield from read(clip, indices)

    monkeypatch.setattr(Clip, "read_source", counted)
    return counts


def _render(
    models: Models, media: InputFiles, folder: Path, cache: PreprocessCache | None = None, **fields: Any
) -> None:
    values: dict[str, Any] = {"reference_image": "-", "driving_video": "-", "seed": 3, "steps": 1, "resolution": "480p"}
    params = RenderParams(**values | {"num_frames": NUM_FRAMES} | fields)
    folder.mkdir()
    render_video(models, params, media, folder / "out.mp4", workspace=folder / "work", cache=cache)


@pytest.mark.parametrize(("mode", "times"), [("animate", 2), ("replace", 3)])
@pytest.mark.parametrize("preflight", ["warn", pytest.param("off", marks=pytest.mark.renders)])
def test_a_frame_is_decoded_to_find_to_mask_and_to_draw(
    mode: str,
    times: int,
    preflight: str,
    tiny_models: Models,
    media: InputFiles,
    decoded: Counter[int],
    tmp_path: Path,
) -> None:
    """Preflight, cuts, people, faces and the pictures of masks come from those passes; it adds none of its own."""
    _render(tiny_models, media, tmp_path / "job", mode=mode, preflight=preflight)
    assert decoded == dict.fromkeys(range(NUM_FRAMES), times)


@pytest.mark.long
def test_what_is_cached_is_only_drawn(
    tiny_models: Models, media: InputFiles, decoded: Counter[int], tmp_path: Path
) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    _render(tiny_models, media, tmp_path / "first", cache)
    decoded.clear()
    _render(tiny_models, media, tmp_path / "second", cache, seed=4)
    assert decoded == dict.fromkeys(range(NUM_FRAMES), 1)
