"""The two size rules of the model: the render size of an area, and letter-boxing an image into it.

Both follow the official preprocessing to the pixel; its search for a "best" size never runs, so the floor rule below
is the one behind its published results.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.size import Size

SIDE_MULTIPLE_PX = 16  # the VAE divides by 8, the transformer's patches by 2


def render_size(width: int, height: int, area_px: int) -> Size:
    """Return the (width, height) to generate at: the aspect of `width` x `height` at about `area_px`.

    Sides are floored to multiples of 16.
    Raises `InvalidField` when a side would be empty.
    """
    aspect = width / height
    new_height = math.sqrt(area_px / aspect)
    new_width = area_px / new_height
    size = tuple(int(side // SIDE_MULTIPLE_PX * SIDE_MULTIPLE_PX) for side in (new_width, new_height))
    if not all(size):
        raise InvalidField(
            f"a render area of {area_px} px leaves nothing of a {width}x{height} video (sides are multiples of 16)",
            field="render_area",
            value=area_px,
        )
    return size[0], size[1]


def resize_interpolation(source_size: Size, size: Size) -> int:
    """Return OpenCV's flag: area averaging when shrinking, linear otherwise. Sizes are (width, height)."""
    shrinks = size[0] * size[1] < source_size[0] * source_size[1]
    return int(cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def inner_box(source_size: Size, size: Size) -> tuple[int, int, int, int]:
    """Return the (left, top, width, height) of a picture of `source_size` letter-boxed into `size`.

    Sizes are (width, height).
    """
    (source_width, source_height), (width, height) = source_size, size
    if width / height > source_width / source_height:
        inner = (int(height / source_height * source_width), height)
    else:
        inner = (width, int(width / source_width * source_height))
    return (width - inner[0]) // 2, (height - inner[1]) // 2, *inner


def padding_resize(image: np.ndarray, width: int, height: int, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Letter-box an `h w 3` uint8 image into `height width 3`: aspect kept, centred, black borders."""
    left, top, inner_width, inner_height = inner_box((image.shape[1], image.shape[0]), (width, height))
    boxed = np.zeros((height, width, 3), np.uint8)
    resized = cv2.resize(image, (inner_width, inner_height), interpolation=interpolation)
    boxed[top : top + inner_height, left : left + inner_width] = resized
    return boxed
