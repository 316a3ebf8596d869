"""A picture of a finished render: reference, driving video, skeleton and output side by side at a few moments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.media.clip import Clip
from animate_pipelines.media.image import read_image
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import read_mezzanine
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.gaps import bridge
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of
from animate_pipelines.request.size import Size

_TITLES = ("reference", "driving video", "skeleton", "output")
_GAP_PX, _TITLE_PX, _CAPTION_PX = 6, 22, 20
_BACKGROUND, _INK = (250, 250, 250), (30, 30, 30)


def write_contact_sheet(
    people: Path, driving: Path, reference: Path, output: Path, destination: Path, *, caption: str = "", rows: int = 5
) -> None:
    """Write a PNG of `rows` moments, evenly spaced.

    people: the file that `FoundPeople.save` wrote for the driving video.
    driving: the mezzanine of the driving video.
    output: a render at the driving video's own frame rate.
    """
    limits = MediaLimits()
    picture = read_image(reference, limits)
    found_people = FoundPeople.load(people)
    poses = bridge(found_people.poses, found_people.found)
    with Clip(read_mezzanine(driving, limits)) as film, Clip(read_mezzanine(output, limits)) as video:
        moments = np.linspace(0, video.num_frames - 1, rows).round().astype(int).tolist()
        cell = _cell_size(film.size)
        cells = [
            [_fit(image, cell) for image in (picture, frame, _skeleton(poses[moment], film.size), result)]
            for moment, frame, result in zip(
                moments, film.read_source(moments), video.read_source(moments), strict=True
            )
        ]
    _assemble(cells, cell, caption).save(destination, optimize=True)


def _skeleton(pose: np.ndarray, size: Size) -> np.ndarray:
    return draw_skeleton(skeleton_of(pose, *size), *size)


def _cell_size(size: Size, longest_px: int = 224) -> Size:
    scale = longest_px / max(size)
    return round(size[0] * scale), round(size[1] * scale)


def _fit(image: np.ndarray, cell: Size) -> np.ndarray:
    return padding_resize(np.ascontiguousarray(image), *cell, cv2.INTER_AREA)


def _assemble(cells: Sequence[Sequence[np.ndarray]], cell: Size, caption: str) -> Image.Image:
    columns, rows = len(_TITLES), len(cells)
    width = columns * cell[0] + (columns + 1) * _GAP_PX
    height = _TITLE_PX + rows * (cell[1] + _GAP_PX) + (_CAPTION_PX if caption else 0)
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for column, title in enumerate(_TITLES):
        left = _GAP_PX + column * (cell[0] + _GAP_PX)
        pen.text((left, 3), title, fill=_INK, font=font)
        for row, images in enumerate(cells):
            sheet.paste(Image.fromarray(images[column]), (left, _TITLE_PX + row * (cell[1] + _GAP_PX)))
    if caption:
        pen.text((_GAP_PX, height - _CAPTION_PX + 1), caption, fill=_INK, font=font)
    return sheet
