"""Draws a mask preview: the frames in rows, in grey, the regenerated pixels tinted, the person's outline in yellow."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.perception.masked_frames import MaskedFrame, MaskPreview

SHEET_PX = 1200  # wide, where it stands alone
_CELL_PX, _GAP_PX, _TITLE_PX, _CAPTION_PX = 200, 10, 26, 22
_PAPER, _INK, _GREY, _ALARM = (250, 250, 250), (30, 30, 30), (110, 110, 110), (190, 30, 30)
_TINT, _OUTLINE = np.array([255, 40, 120]), (255, 225, 0)
_OPACITY = 0.5


def draw_masks(preview: MaskPreview, width: int) -> Image.Image:
    """Draw the preview as an RGB picture of that width."""
    rows = -(-len(preview.frames) // max((width - _GAP_PX) // (_CELL_PX + _GAP_PX), 1))
    columns = max(-(-len(preview.frames) // max(rows, 1)), 1)  # as many in each row
    cell_width = min((width - _GAP_PX) // columns - _GAP_PX, 2 * _CELL_PX)
    cells = [_cell(frame, cell_width) for frame in preview.frames]
    row_px = max((cell.shape[0] for cell in cells), default=0) + _CAPTION_PX
    sheet = Image.new("RGB", (width, 2 * _TITLE_PX + rows * row_px), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    pen.text((_GAP_PX, 5), f"masks from {preview.source}, mask_fit {preview.fit}", _INK, font)
    legend = "tinted: regenerated; yellow: the person as found" if cells else "nobody was found to be replaced"
    pen.text((_GAP_PX, _TITLE_PX), legend, _GREY if cells else _ALARM, ImageFont.load_default(13))
    for number, (frame, cell) in enumerate(zip(preview.frames, cells, strict=True)):
        left = _GAP_PX + number % columns * (cell_width + _GAP_PX)
        top = 2 * _TITLE_PX + number // columns * row_px
        sheet.paste(Image.fromarray(cell), (left, top))
        caption, colour = _caption(frame)
        pen.text((left, top + cell.shape[0] + 2), caption, colour, ImageFont.load_default(13))
    return sheet


def add_masks(preview: MaskPreview, picture: Path) -> None:
    """Draw the preview below the PNG `picture`."""
    with Image.open(picture) as above:
        below = draw_masks(preview, above.width)
        both = Image.new("RGB", (above.width, above.height + below.height), _PAPER)
        both.paste(above, (0, 0))
    both.paste(below, (0, both.height - below.height))
    both.save(picture, optimize=True)


def _cell(frame: MaskedFrame, width: int) -> np.ndarray:
    height = round(frame.picture.shape[0] * width / frame.picture.shape[1])
    small = cv2.resize(frame.picture, (width, height), interpolation=cv2.INTER_AREA)
    # All else is grey, so that the tint stands out from whatever colours the film has.
    grey = cv2.cvtColor(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    tinted = (grey * (1 - _OPACITY) + _TINT * _OPACITY).astype(np.uint8)
    cell = np.where(_shrink(frame.regenerated, width, height)[..., None] > 0, tinted, grey)
    outlines, _ = cv2.findContours(_shrink(frame.person, width, height), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(cell), outlines, -1, _OUTLINE, 2, cv2.LINE_AA)


def _shrink(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)


def _caption(frame: MaskedFrame) -> tuple[str, tuple[int, int, int]]:
    if not frame.regenerated.any():
        return f"{frame.second:.2f} s: no mask", _ALARM
    return f"{frame.second:.2f} s: {frame.regenerated.mean():.0%} of the picture", _GREY
