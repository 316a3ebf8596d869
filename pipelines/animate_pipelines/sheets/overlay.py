"""A picture of a preflight: image and video side by side under their skeletons, and the findings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from animate_pipelines.media.clip import Clip
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.confidence import JOINT_SEEN, JOINT_SURE, PART_SEEN
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND, body_20
from animate_pipelines.perception.skeleton import LIMBS
from animate_pipelines.preflight.findings import Finding
from animate_pipelines.preflight.report import PreflightReport

_HEIGHT_PX, _GAP_PX, _TITLE_PX, _LINE_PX = 360, 10, 26, 19
_BACKGROUND, _INK, _GREY = (250, 250, 250), (30, 30, 30), (110, 110, 110)
_PROBLEM, _HINT, _GOOD = (190, 30, 30), (180, 110, 0), (20, 120, 60)
_RIGHT, _LEFT, _MIDDLE = (255, 120, 0), (0, 150, 255), (255, 225, 0)  # of the person; readable on light and dark
_FADED = 0.6  # of the colours, under a skeleton: it stands out, and dark photographs stay visible
_WIDEST = 1.5  # width over height of a cell

Panel = tuple[str, np.ndarray, np.ndarray | None]  # title, picture `h w 3`, pose `133 3` (fractions of it)


def draw_overlay(report: PreflightReport, image: np.ndarray, frames: Sequence[tuple[float, np.ndarray]]) -> Image.Image:
    """Draw the image and frames of the video with their skeletons, and the findings below.

    frames: (second, `h w 3`).

    Where the pair is not judged there are no skeletons.
    A right limb is orange, a left one blue: of the person, so that a turned back is plain at a glance.
    """
    if report.legibility.is_judged:
        panels: list[Panel] = [(_image_title(report), image, _first(report.image.poses))]
        panels += [(_frame_title(report, second), frame, _pose_at(report, second)) for second, frame in frames]
    else:
        panels = [("image", image, None), *((f"video at {second:.2f} s", frame, None) for second, frame in frames)]
    cells = [_cell(picture, pose) for _, picture, pose in panels]
    width = max(sum(cell.shape[1] for cell in cells) + _GAP_PX * (len(cells) + 1), 640)
    lines = _lines(report, width)
    height = _TITLE_PX + _HEIGHT_PX + _GAP_PX + _LINE_PX * len(lines) + _GAP_PX
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    left = _GAP_PX
    for (title, _, _), cell in zip(panels, cells, strict=True):
        pen.text((left, 5), title, fill=_INK, font=font)
        sheet.paste(Image.fromarray(cell), (left, _TITLE_PX))
        left += cell.shape[1] + _GAP_PX
    for row, (text, colour) in enumerate(lines):
        pen.text((_GAP_PX, _TITLE_PX + _HEIGHT_PX + _GAP_PX + row * _LINE_PX), text, fill=colour, font=font)
    return sheet


def write_overlay(report: PreflightReport, image: np.ndarray, clip: Clip, destination: Path) -> None:
    """Write the PNG of a pair.

    image: `h w 3`.
    clip: the video; its first frame is drawn, and the nearest one in pose where that is another.
    """
    start = report.start
    seconds = [0.0, *([start.best_s] if start.best_s and start.should_move else [])]
    indices = [min(round(second * float(clip.fps)), clip.num_frames - 1) for second in seconds]
    frames = list(clip.read_source(clip.indices[indices]))
    draw_overlay(report, image, list(zip(seconds, frames, strict=True))).save(destination, optimize=True)


def _image_title(report: PreflightReport) -> str:
    return f"image: {_framing(report.image.framing)}" if len(report.image.poses) else "image: nobody"


def _frame_title(report: PreflightReport, second: float) -> str:
    start = report.start
    apart = start.first if second == 0 else start.best
    poses = "" if apart is None else f", poses {apart:.0f}° apart"
    what = f"video at {second:.2f} s" if second else f"video: {_framing(report.video.framing)}"
    return f"{what}{poses}" if len(report.video.poses) else "video: nobody"


def _framing(framing: str) -> str:
    return framing.replace("_", "-")


def _first(poses: np.ndarray) -> np.ndarray | None:
    return poses[0] if len(poses) else None


def _pose_at(report: PreflightReport, second: float) -> np.ndarray | None:
    times = report.video.times_s
    nearest = int(np.abs(times - second).argmin()) if len(times) else -1
    return report.video.poses[nearest] if nearest >= 0 and abs(times[nearest] - second) < 0.02 else None


def _cell(picture: np.ndarray, pose: np.ndarray | None) -> np.ndarray:
    height, width = picture.shape[:2]
    cell_width = min(round(_HEIGHT_PX * width / height), round(_HEIGHT_PX * _WIDEST))
    scale = min(cell_width / width, _HEIGHT_PX / height)
    size = (max(int(width * scale), 1), max(int(height * scale), 1))
    small = cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)
    if pose is not None:
        small = _fade(small)
        _draw_person(small, pose)
    return padding_resize(small, cell_width, _HEIGHT_PX)


def _fade(picture: np.ndarray) -> np.ndarray:
    """Return a picture `h w 3` with the same light and less colour."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(cv2.addWeighted(picture, 1 - _FADED, grey, _FADED, 0))


def _draw_person(canvas: np.ndarray, pose: np.ndarray) -> None:
    """Draw sticks that are visible at a glance; the model's own skeleton is a pixel wide."""
    scale = np.array([canvas.shape[1], canvas.shape[0], 1])
    body = body_20(pose) * scale
    for a, b in LIMBS:
        if min(body[a, 2], body[b, 2]) >= JOINT_SEEN:
            _stick(canvas, body[a], body[b], _side_colour(a, b), 4)
    for joint in body:
        if joint[2] >= JOINT_SEEN:
            cv2.circle(canvas, (int(joint[0]), int(joint[1])), 4, (255, 255, 255), -1, cv2.LINE_AA)
    for rows, colour in ((LEFT_HAND, _LEFT), (RIGHT_HAND, _RIGHT)):
        hand = pose[rows] * scale
        if hand[:, 2].mean() < PART_SEEN:  # single points of a hand that is not seen are stray
            continue
        for x, y, confidence in hand:
            if confidence >= JOINT_SURE:
                cv2.circle(canvas, (int(x), int(y)), 2, colour, -1, cv2.LINE_AA)


def _stick(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, colour: tuple[int, int, int], width_px: int) -> None:
    start, end = (int(a[0]), int(a[1])), (int(b[0]), int(b[1]))
    cv2.line(canvas, start, end, (0, 0, 0), width_px + 3, cv2.LINE_AA)
    cv2.line(canvas, start, end, colour, width_px, cv2.LINE_AA)


def _side_colour(a: int, b: int) -> tuple[int, int, int]:
    right, left = {2, 3, 4, 8, 9, 10, 14, 16, 19}, {5, 6, 7, 11, 12, 13, 15, 17, 18}  # rows of body-20
    return _RIGHT if {a, b} & right else _LEFT if {a, b} & left else _MIDDLE


def _lines(report: PreflightReport, width: int) -> list[tuple[str, tuple[int, int, int]]]:
    columns = max((width - 2 * _GAP_PX) // 7, 40)
    if not report.legibility.is_judged:
        head = f"not judged: {report.legibility.note}"
        return [(line, _HINT) for line in textwrap.wrap(head, columns)] + _findings_lines(report, columns)
    head = f"score {report.score} of 100"
    if not report.findings:
        return [(f"{head}: a good pair", _GOOD)]
    return [(head, _PROBLEM if report.problems else _HINT), *_findings_lines(report, columns)]


def _findings_lines(report: PreflightReport, columns: int) -> list[tuple[str, tuple[int, int, int]]]:
    return [line for finding in report.findings for line in _finding_lines(finding, columns)]


def _finding_lines(finding: Finding, columns: int) -> list[tuple[str, tuple[int, int, int]]]:
    colour = _PROBLEM if finding.severity == "problem" else _HINT
    message = textwrap.wrap(f"{finding.severity.replace('_', ' ')}: {finding.message}", columns)
    fix = textwrap.wrap(finding.fix, columns - 4)
    return [*((line, colour) for line in message), *((f"    {line}", _GREY) for line in fix)]
