"""A background: a gradient with a floor and a few large shapes, drawn larger than the picture so that it can drift."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from animate_weights.puppet.character import Rgb, random_colour

MARGIN = 0.15  # of the picture, beyond each edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A disc or an upright box. Places and sizes are parts of the enlarged picture."""

    round: bool
    x: float
    y: float
    width: float
    height: float
    colour: Rgb


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    top: Rgb
    bottom: Rgb
    floor: Rgb
    horizon: float  # 1 means no floor
    shapes: tuple[Shape, ...]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Backdrop":
        top = random_colour(rng, value=(0.4, 1.0))
        bottom = _near(rng, top, 30)
        shapes = tuple(_random_shape(rng, bottom) for _ in range(rng.integers(0, 4)))
        horizon = float(rng.uniform(0.6, 0.85)) if rng.random() < 0.7 else 1.0
        return cls(top=top, bottom=bottom, floor=_near(rng, bottom, 35), horizon=horizon, shapes=shapes)

    def paint(self, width: int, height: int, *, shift: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        """Paint the background, `h w 3` uint8.

        width, height: of the picture, in pixels.
        shift: how far it is moved, in parts of the picture (up to the margin).
        """
        full_w, full_h = round(width * (1 + 2 * MARGIN)), round(height * (1 + 2 * MARGIN))
        left = round(width * (MARGIN - shift[0]))
        top = round(height * (MARGIN - shift[1]))
        large = _paint_whole(self, full_w, full_h)
        left, top = (int(np.clip(at, 0, most)) for at, most in ((left, full_w - width), (top, full_h - height)))
        return large[top : top + height, left : left + width].copy()


@lru_cache(maxsize=4)  # the frames of a clip have one
def _paint_whole(backdrop: Backdrop, width: int, height: int) -> np.ndarray:
    share = np.linspace(0.0, 1.0, height)[:, None]
    rows = np.array(backdrop.top) * (1 - share) + np.array(backdrop.bottom) * share
    picture = np.repeat(rows.astype(np.uint8)[:, None], width, axis=1)
    for shape in backdrop.shapes:
        _paint_shape(picture, shape)
    if backdrop.horizon < 1:
        picture[round(backdrop.horizon * height) :] = backdrop.floor
    return picture


def _paint_shape(picture: np.ndarray, shape: Shape) -> None:
    height, width = picture.shape[:2]
    centre = (round(shape.x * width), round(shape.y * height))
    half = (round(shape.width * width / 2), round(shape.height * height / 2))
    if shape.round:
        cv2.ellipse(picture, centre, half, 0, 0, 360, shape.colour, -1)
    else:
        corners = (
            tuple(c - h for c, h in zip(centre, half, strict=True)),
            tuple(c + h for c, h in zip(centre, half, strict=True)),
        )
        cv2.rectangle(picture, *corners, shape.colour, -1)


def _random_shape(rng: np.random.Generator, base: Rgb) -> Shape:
    return Shape(
        round=bool(rng.random() < 0.5),
        x=rng.random(),
        y=rng.random(),
        width=rng.uniform(0.1, 0.45),
        height=rng.uniform(0.1, 0.45),
        colour=_near(rng, base, 28),
    )


def _near(rng: np.random.Generator, colour: Rgb, distance: int) -> Rgb:
    r, g, b = (int(np.clip(channel + rng.integers(-distance, distance + 1), 0, 255)) for channel in colour)
    return r, g, b
