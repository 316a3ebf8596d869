"""Draws a detection report as one picture: time from left to right, a row for each part of the person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.perception.confidence import PART_SEEN
from animate_pipelines.perception.detection_report import DetectionReport, FrameSeen, Stretch

_WIDTH, _LEFT, _RIGHT = 1200, 150, 24
_SPAN = _WIDTH - _LEFT - _RIGHT
_TOP, _ROW, _GAP, _BOTTOM = 64, 30, 10, 56
_PAPER, _INK, _FAINT, _EMPTY = (255, 255, 255), (30, 34, 40), (120, 126, 134), (238, 240, 243)
# What may be seen of a frame, the more telling the later: where frames are narrower than a pixel the last one shows.
_UNMARKED, _GOOD, _WEAK, _MARK, _MISSING = range(5)
_COLOURS = np.array([_EMPTY, (46, 160, 97), (240, 190, 70), (92, 72, 190), (214, 64, 58)], np.uint8)


def draw_timeline(report: DetectionReport) -> Image.Image:
    """Draw the report as an RGB picture.

    Green is visible, yellow weak, red missing. Marks below are cuts, jumps, blur.
    """
    rows = _rows(report)
    height = _TOP + len(rows) * (_ROW + _GAP) + _BOTTOM
    picture = Image.new("RGB", (_WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_LEFT, 14), _title(report), _INK, ImageFont.load_default(18))
    pen.text((_LEFT, 38), "green seen   yellow weak   red missing", _FAINT, ImageFont.load_default(13))
    for number, (name, marks) in enumerate(rows):
        top = _TOP + number * (_ROW + _GAP)
        pen.text((_LEFT - 10, top + _ROW / 2), name, _INK, ImageFont.load_default(15), anchor="rm")
        picture.paste(Image.fromarray(np.tile(_COLOURS[_spread(marks)], (_ROW, 1, 1))), (_LEFT, top))
    _draw_seconds(pen, report, height - _BOTTOM)
    return picture


def _spread(marks: Sequence[int]) -> np.ndarray:
    """Spread marks over `_SPAN` values, one a pixel."""
    starts = np.arange(_SPAN) * len(marks) // _SPAN
    return np.asarray(marks)[starts] if len(marks) <= _SPAN else np.maximum.reduceat(marks, starts)


def _title(report: DetectionReport) -> str:
    num_people = len(report.people)
    people = (
        "nobody found"
        if not num_people
        else f"{num_people} {'person' if num_people == 1 else 'people'}, following {report.chosen}"
    )
    return f"{report.num_frames} frames at {float(Fraction(report.fps)):g} fps - {people}"


def _rows(report: DetectionReport) -> list[tuple[str, list[int]]]:
    """Return the name of each row and its marks, one a frame."""

    def row(missing: Sequence[Stretch], confidence: Callable[[FrameSeen], float | None]) -> list[int]:
        return [
            _MISSING if _within(frame.frame, missing) else _GOOD if (confidence(frame) or 0) >= PART_SEEN else _WEAK
            for frame in report.frames
        ]

    rows = [
        ("person", row(report.missing_person, lambda frame: frame.body)),
        ("face", row(report.missing_face, lambda frame: frame.face)),
        ("hands", row(report.missing_hands, lambda frame: max(frame.left_hand or 0, frame.right_hand or 0))),
    ]
    if report.missing_mask is not None:
        rows.append(("mask", row(report.missing_mask, lambda frame: 1.0)))
    marked = [
        ("cuts", [(cut, cut) for cut in report.cuts]),
        ("jumps", [(jump, jump) for jump in report.identity_jumps]),
        ("blur", report.blurred),
    ]
    for name, stretches in marked:
        rows.append((name, [_MARK if _within(frame.frame, stretches) else _UNMARKED for frame in report.frames]))
    return rows


def _within(frame: int, stretches: Sequence[Stretch]) -> bool:
    return any(first <= frame <= last for first, last in stretches)


def _draw_seconds(pen: ImageDraw.ImageDraw, report: DetectionReport, top: int) -> None:
    last = report.frames[-1].frame + 1
    duration_s = last / Fraction(report.fps)
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600) if duration_s / step <= 14)
    font = ImageFont.load_default(13)
    for tick in range(int(duration_s / Fraction(step)) + 1):
        x = _LEFT + float(tick * step / duration_s) * _SPAN
        pen.line([(x, top), (x, top + 6)], _FAINT)
        text = f"{tick * step:g} s"
        pen.text((x, top + 10), text, _FAINT, font, anchor="ma")
        pen.text((x, top + 26), f"{round(tick * step * float(Fraction(report.fps)))}", _FAINT, font, anchor="ma")
    pen.text((_LEFT - 10, top + 33), "frame", _FAINT, font, anchor="rm")
