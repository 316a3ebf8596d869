"""How large the result is, in pixels, for a resolution class. Standard library only."""

from __future__ import annotations

import math
from fractions import Fraction

from animate_pipelines.params import Resolution

_LINES: dict[Resolution, int] = {"480p": 480, "580p": 580, "720p": 720, "1080p": 1080}


def output_size(resolution: Resolution, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the result for a driving video shown at `width` x `height`.

    The class names the area of the 16:9 frame of that many lines; the aspect is the driving video's; both sides are
    rounded to the nearest even number. 1920x1080 at 720p is 1280x720, 1080x1920 is 720x1280, 16:9 at 480p is 854x480.
    """
    area = _LINES[resolution] ** 2 * Fraction(16, 9)
    return _even(math.sqrt(area * width / height)), _even(math.sqrt(area * height / width))


def _even(side: float) -> int:
    return max(2, 2 * math.floor(side / 2 + 0.5))
