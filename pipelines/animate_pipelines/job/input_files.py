"""The input files of a request, and their preparation for the networks: probed, trimmed, rewritten."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from animate_pipelines.errors import MediaTooLarge
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.input_limits import check_shortest
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import Mezzanine, read_mezzanine, write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.size import fitted_size
from animate_pipelines.media.trim import trim
from animate_pipelines.media.video_info import VideoInfo
from animate_pipelines.progress.tracker import ProgressTracker
from animate_pipelines.request.params import INPUTS, RenderParams
from animate_pipelines.request.size import Size


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFiles:
    """The input files, as they came."""

    reference_image: Path
    driving_video: Path | None = None
    driving_audio: Path | None = None
    keypoints: Path | None = None
    mask_video: Path | None = None
    neutral_reference: Path | None = None
    neutral_driver: Path | None = None

    @property
    def driver(self) -> Path:
        """Return the driving video; the tasks that look at one require it."""
        assert self.driving_video is not None
        return self.driving_video

    @property
    def files(self) -> dict[str, Path]:
        """Return those that are there, by their fields."""
        return {name: path for name in INPUTS if (path := getattr(self, name)) is not None}

    @classmethod
    def of(cls, params: RenderParams) -> InputFiles:
        """Return the files of params whose inputs are paths."""
        return cls(**{name: Path(path) for name in INPUTS if (path := getattr(params, name)) is not None})


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


def digests_of(media: InputFiles) -> dict[str, object]:
    """Return the SHA-256 of each input, by its field."""
    return {name: _digest(path) for name, path in media.files.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
