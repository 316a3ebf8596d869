"""Output sizes, against literals."""

from __future__ import annotations

import pytest

from animate_pipelines.media.size import output_size
from animate_pipelines.request.choices import Resolution


@pytest.mark.parametrize(
    ("resolution", "width", "height", "expected"),
    [
        ("720p", 1920, 1080, (1280, 720)),
        ("720p", 1080, 1920, (720, 1280)),
        ("720p", 640, 360, (1280, 720)),
        ("480p", 1920, 1080, (854, 480)),
        ("580p", 1920, 1080, (1032, 580)),
        ("1080p", 1280, 720, (1920, 1080)),
        ("720p", 1000, 1000, (960, 960)),
        ("480p", 640, 480, (740, 554)),
    ],
)
def test_area_of_the_class_and_aspect_of_the_video(
    resolution: Resolution, width: int, height: int, expected: tuple[int, int]
) -> None:
    assert output_size(resolution, width, height) == expected
