"""Pictures of one to three people in a scene, with the keypoints and the mask of each, on which the readers train."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from animate_weights.puppet import Character, Performance
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.draw import draw_on
from animate_weights.puppet.scene import uncovered


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """One picture and its people. The nearest person is the last."""

    rgb: np.ndarray  # h w 3 uint8
    keypoints: np.ndarray  # people 133 3
    boxes: np.ndarray  # people 4: x1 y1 x2 y2 in pixels, inside the picture, with what nearer people hide
    masks: np.ndarray  # people h w, 0..255: the visible part of each


_LEAST_SEEN = 0.25  # of a person who counts
_CLOSE_SHARE = 0.5  # of the crowds: those who stand before one another, as people who cross do


def random_crowd(rng: np.random.Generator, size: tuple[int, int], *, most: int = 3, turned: float = 0.15) -> Crowd:
    """Draw people, near ones over far ones.

    A person who is all but hidden by nearer people is in the picture, but not in the lists.

    size: (width, height).
    most: the most people.
    turned: share of the people who show their back.
    """
    width, height = size
    scale = Canvas.scale_for(width, height)
    canvas = Canvas(Backdrop.random(rng).paint(width * scale, height * scale), scale)
    count = int(rng.choice(np.arange(most) + 1, p=None if most == 1 else (0.6, 0.25, 0.15)))
    zooms = sorted(float(0.5 + 1.5 * rng.random() ** 2) for _ in range(count))
    keypoints, covers = [], []
    for zoom, place in zip(zooms, _places(rng, count), strict=True):
        canvas.mask[:] = 0
        pose = Performance.random(rng, 0.5, turns=bool(rng.random() < turned)).pose_at(rng.uniform(0, 0.4))
        camera = Camera.framing(zoom, x=place + rng.normal(0, 0.06), head_room=rng.uniform(0.04, 0.2))
        keypoints.append(draw_on(canvas, Character.random(rng), pose, size, camera))
        covers.append(canvas.mask.copy())
    seen = uncovered(covers)
    listed = [i for i in range(count) if seen[i].sum() >= _LEAST_SEEN * max(covers[i].sum(), 1)]
    return Crowd(
        rgb=_soften(rng, canvas.finish()[0]),
        keypoints=np.stack([keypoints[i] for i in listed]),
        boxes=np.stack([_box_of(covers[i], scale) for i in listed]),
        masks=np.stack([cv2.resize(seen[i], size, interpolation=cv2.INTER_AREA) for i in listed]),
    )


def empty_scene(rng: np.random.Generator, size: tuple[int, int]) -> Crowd:
    """Draw a scene with nobody: a backdrop, or now and then noise."""
    rgb = Backdrop.random(rng).paint(*size)
    if rng.random() < 0.3:
        rgb = rng.integers(0, 256, rgb.shape, dtype=np.uint8)
    nobody = {"keypoints": np.zeros((0, 133, 3)), "boxes": np.zeros((0, 4)), "masks": np.zeros((0, *rgb.shape[:2]))}
    return Crowd(rgb=_soften(rng, rgb), **nobody)


def _places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw the places of people, as parts of the width: side by side, or close together."""
    if count == 1:
        return np.array([0.5])
    if rng.random() < _CLOSE_SHARE:
        return 0.5 + rng.uniform(0.05, 0.2) * rng.uniform(-1, 1, count)
    return rng.permutation(np.linspace(0.2, 0.8, count))


def _box_of(mask: np.ndarray, scale: int) -> np.ndarray:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / scale


def _soften(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """Degrade a picture as video codecs and generation do: blur, lower resolution, noise."""
    height = rgb.shape[0]
    if rng.random() < 0.5:
        rgb = cv2.GaussianBlur(rgb, (0, 0), rng.uniform(0.3, 1.2) * height / 96)
    if rng.random() < 0.5:
        rgb = np.clip(rgb + rng.normal(0, rng.uniform(1, 10), rgb.shape), 0, 255).astype(np.uint8)
    return rgb
