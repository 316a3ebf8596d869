"""The caller's own masks of the person to replace: a video as long as the driving video, white on the person."""

from __future__ import annotations

from pathlib import Path

from animate_pipelines.errors import MediaError
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.trim import trim
from animate_pipelines.perception.driving_frames import DrivingFrames
from animate_pipelines.request.params import RenderParams


def given_masks(
    video: Path | None, files: Workspace, params: RenderParams, limits: MediaLimits, frames: DrivingFrames
) -> DrivingFrames | None:
    """Return the caller's masks, if any, rewritten as the driving video was.

    Raises `MediaError` for another number or rate of frames.
    """
    if video is None:
        return None
    source = trim(probe_video(video, limits, field="mask_video"), params.start, params.duration)
    size = frames.clip.size
    mezzanine = write_mezzanine(video, files.mask_mezzanine, source, limits, field="mask_video", frame=size)
    driving = frames.clip.mezzanine
    if (mezzanine.num_frames, mezzanine.fps) != (driving.num_frames, driving.fps):
        timing = f"{mezzanine.num_frames} frames at {mezzanine.fps} fps"
        required = f"{driving.num_frames} frames at {driving.fps} fps, as the driving video has"
        raise MediaError(
            f"{{field}} must have {required}, not {timing}", field="mask_video", value=timing, limit=required
        )
    return DrivingFrames(Clip(mezzanine), "replace", frames.size)
