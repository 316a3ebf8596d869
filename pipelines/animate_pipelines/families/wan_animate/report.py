"""Writes the detection report of the driving video, beside the result."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from animate_pipelines.perception.describe import report_people
from animate_pipelines.perception.detection_report import ReportFiles
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.perception.mask_preview import masks_used
from animate_pipelines.request.choices import MaskFit
from animate_pipelines.sheets.mask_sheet import SHEET_PX, draw_masks
from animate_pipelines.sheets.timeline import draw_timeline


def write_report(
    files: ReportFiles,
    people: FoundPeople,
    frames: DrivingFrames,
    masks: MaskFile,
    mask_source: str | None,
    fit: MaskFit,
    pictures: Mapping[int, np.ndarray],
) -> None:
    """Write report, timeline and, where there are masks, a picture of them.

    files: their paths.
    people, masks: found in `frames`.
    mask_source: the name of the mask source; None to animate.
    fit: how closely the regenerated part follows the masks.
    pictures: some of the frames, by number, that need not be read.
    """
    source_frames = people.frames.tolist()
    marked = None
    if mask_source is not None and masks.is_there():
        marked = masks.marked(source_frames)
        used = masks_used(masks, frames, source_frames, fit, mask_source, pictures)
        draw_masks(used, SHEET_PX).save(files.masks, optimize=True)
    report = report_people(people, frames.size, frames.clip.source_fps, marked)
    files.report.write_text(json.dumps(report.to_json()))
    draw_timeline(report).save(files.timeline, optimize=True)
