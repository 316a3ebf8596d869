"""Draws the people of a clip: one frame with a box around everybody, with the number that `person` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.perception.found_people import FoundPeople

_COLOURS = [(230, 80, 60), (40, 130, 220), (60, 165, 90), (235, 165, 30), (150, 90, 200), (30, 165, 170)]
_DARK, _LIGHT = (20, 22, 26), (255, 255, 255)
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_GAP_PX, _TITLE_PX, _WIDEST_PX = 10, 28, 960
_SHARE = 1 / 22  # of the picture's shorter side, height of a number


def people_still(people: FoundPeople, read: Callable[[Sequence[int]], Iterator[np.ndarray]]) -> Image.Image:
    """Draw the frame with the most people, and of these frames the one with the largest, as an RGB picture.

    read: yields source frames `h w 3`.

    The person to follow has a full label, the others' are outlined; people who are not in that frame are named below
    it.
    """
    frame = _fullest_frame(people)
    picture = Image.fromarray(next(iter(read([frame]))))
    pen = ImageDraw.Draw(picture)
    size = max(round(min(picture.size) * _SHARE), 12)
    for number, box in _boxes_in(people, frame):
        _draw_box(pen, number, box, size, chosen=number == people.chosen)
    absent = sorted(set(range(1, people.num_people + 1)) - {number for number, _ in _boxes_in(people, frame)})
    return _with_note(picture, absent, size) if absent else picture


def add_still(people: FoundPeople, read: Callable[[Sequence[int]], Iterator[np.ndarray]], picture: Path) -> None:
    """Draw everybody, numbered, below the PNG `picture`."""
    still = people_still(people, read)
    with Image.open(picture) as above:
        width = min(above.width - 2 * _GAP_PX, _WIDEST_PX)
        below = still.resize((width, round(still.height * width / still.width)))
        both = Image.new("RGB", (above.width, above.height + _TITLE_PX + below.height + _GAP_PX), _PAPER)
        both.paste(above, (0, 0))
    title = f"people in the video, by number for `person`; {people.chosen} is followed"
    ImageDraw.Draw(both).text((_GAP_PX, above.height + 5), title, _INK, ImageFont.load_default(14))
    both.paste(below, (_GAP_PX, above.height + _TITLE_PX))
    both.save(picture, optimize=True)


def _fullest_frame(people: FoundPeople) -> int:
    counted = people.box_people > 0
    areas = np.prod(people.boxes[:, 2:4] - people.boxes[:, :2], axis=1)
    crowd = np.bincount(people.box_frames[counted], minlength=len(people.found))
    covered = np.bincount(people.box_frames[counted], weights=areas[counted], minlength=len(people.found))
    return int(max(people.frames.tolist(), key=lambda frame: (crowd[frame], covered[frame])))


def _boxes_in(people: FoundPeople, frame: int) -> list[tuple[int, np.ndarray]]:
    inside = (people.box_frames == frame) & (people.box_people > 0)
    return sorted(zip(people.box_people[inside].tolist(), people.boxes[inside], strict=True), key=lambda pair: pair[0])


def _draw_box(pen: ImageDraw.ImageDraw, number: int, box: np.ndarray, size: int, *, chosen: bool) -> None:
    colour = _COLOURS[(number - 1) % len(_COLOURS)]
    width, height = pen.im.size
    left, top = max(float(box[0]), 0), max(float(box[1]), 0)
    right, bottom = min(float(box[2]), width - 1), min(float(box[3]), height - 1)
    pen.rectangle([left, top, right, bottom], outline=colour, width=max(size // (5 if chosen else 9), 2))
    label = [left, top, left + 1.5 * size, top + 1.5 * size]
    pen.rectangle(label, fill=colour if chosen else _DARK, outline=colour, width=max(size // 9, 2))
    middle = (left + 0.75 * size, top + 0.75 * size)
    pen.text(middle, str(number), _LIGHT, ImageFont.load_default(size), anchor="mm")


def _with_note(picture: Image.Image, absent: Sequence[int], size: int) -> Image.Image:
    noted = Image.new("RGB", (picture.width, picture.height + 2 * size), _DARK)
    noted.paste(picture, (0, 0))
    text = f"not in this frame: {', '.join(map(str, absent))}"
    ImageDraw.Draw(noted).text(
        (size / 2, picture.height + size), text, _LIGHT, ImageFont.load_default(0.8 * size), anchor="lm"
    )
    return noted
