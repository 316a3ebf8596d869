"""The driving video of a job: probed, trimmed, and rewritten for the networks."""

from __future__ import annotations

from animate_pipelines.errors import MediaTooLarge
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.input_limits import check_shortest
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import Mezzanine, read_mezzanine, write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.size import fitted_size
from animate_pipelines.media.trim import trim
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.params import RenderParams
from animate_pipelines.request.size import Size


def probe_driving(media: InputFiles, params: RenderParams, limits: MediaLimits) -> VideoInfo:
    """Return the part of the driving video that the job takes.

    Raises `MediaTooLarge` and `MediaError` for inputs that are not within the limits of the server and the job.
    """
    info = probe_video(media.driver, limits.with_videos_of(params.longest_s))
    check_shortest(info.duration_s, params.shortest_s)
    return trim(info, params.start, params.duration)


def driving_mezzanine(
    media: InputFiles,
    source: VideoInfo,
    files: Workspace,
    params: RenderParams,
    limits: MediaLimits,
    tracker: ProgressTracker,
) -> Mezzanine:
    """Return the rewritten driving video, from the workspace where it is there."""
    if files.mezzanine.is_file():
        return read_mezzanine(files.mezzanine, limits)
    return write_mezzanine(
        media.driver,
        files.mezzanine,
        source,
        limits,
        frame=_driving_frame(source, params, limits),
        on_fraction=lambda done: tracker.advance(done, 1),
    )


def _driving_frame(source: VideoInfo, params: RenderParams, limits: MediaLimits) -> Size | None:
    if params.output_size is None:
        return None
    frame = fitted_size((source.width, source.height), params.output_size, params.fit)
    if max(frame) > limits.max_side_px:
        message = f"{{field}} padded to {frame[0]}x{frame[1]} is over {limits.max_side_px} pixels a side"
        raise MediaTooLarge(message, field="driving_video", value=f"{frame[0]}x{frame[1]}", limit=limits.max_side_px)
    return frame
