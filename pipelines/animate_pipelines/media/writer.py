"""`VideoWriter`: writes rendered frames to files, one playable piece for each segment."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from animate_pipelines.errors import ServerError
from animate_pipelines.media.clip import Frames
from animate_pipelines.media.durable import written_whole
from animate_pipelines.media.ffmpeg import THREADS, decode_bounds, file_url, run_ffmpeg
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.timing import ticks_per_second
from animate_pipelines.request.params import DEFAULT_QUALITY
from animate_pipelines.request.size import Size


class VideoWriter:
    """Writes segments to `folder` as `segment-00000.mp4`, ...; each is whole on disk or not there.

    A piece is H.264 with its own key frame, without B-frames (so that a frame's time is its number / fps, and pieces
    join without a gap), and the same bytes for the same frames.

    render_size, output_size: (width, height).
    """

    def __init__(
        self,
        folder: Path,
        *,
        render_size: Size,
        output_size: Size,
        fps: Fraction,
        quality: int = DEFAULT_QUALITY,
        limits: MediaLimits | None = None,
    ) -> None:
        self.folder = folder
        self.render_size = render_size
        self.output_size = output_size
        self.fps = fps
        self._crf = crf_of(quality)
        self._bounds = decode_bounds(limits or MediaLimits())
        if any(side % 2 for side in output_size):
            raise ValueError(f"output sides must be even, not {output_size}")

    def path(self, index: int) -> Path:
        """Return the path of segment `index`, written or not."""
        return self.folder / f"segment-{index:05d}.mp4"

    def write_segment(self, index: int, frames: Frames) -> Path:
        """Write segment `index`, replacing an earlier one, and return its path.

        frames: `t h w c`, RGB, uint8, of the render size.
        """
        width, height = self.render_size
        if frames.dtype != np.uint8 or frames.shape[1:] != (height, width, 3) or not len(frames):
            raise ValueError(f"frames must be uint8 of (t, {height}, {width}, 3), not {frames.dtype} of {frames.shape}")
        with written_whole(self.path(index)) as temporary:
            arguments = [*self._input(), *self._output(), file_url(temporary)]
            pixels = np.ascontiguousarray(frames).data.cast("B")
            run_ffmpeg(arguments, self._bounds, field=None, stdin=pixels)
            if not temporary.stat().st_size:
                raise ServerError(f"segment {index} was written empty")
        return self.path(index)

    def _input(self) -> list[str]:
        width, height = self.render_size
        rate = f"{self.fps.numerator}/{self.fps.denominator}"
        raw = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}", "-framerate", rate]
        return ["-protocol_whitelist", "pipe", *raw, "-i", "pipe:0"]

    def _output(self) -> list[str]:
        width, height = self.output_size
        scale = f"scale={width}:{height}:flags=lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
        colour = "out_color_matrix=bt709:out_range=tv,format=yuv420p"
        tags = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709,setsar=1"
        return [
            *["-vf", f"{scale}:{colour},{tags}", "-c:v", "libx264", "-preset", "fast", "-crf", str(self._crf)],
            *["-bf", "0", "-g", "48", "-x264-params", "open-gop=0", "-threads", str(THREADS)],
            *[
                "-fflags",
                "+bitexact",
                "-flags:v",
                "+bitexact",
                "-video_track_timescale",
                str(ticks_per_second(self.fps)),
            ],
            *["-movflags", "+faststart", "-f", "mp4", "-y"],
        ]


def crf_of(quality: int) -> int:
    """Return x264's constant rate factor for a quality of 20 to 99: 95 is 16, where losses become visible; 20 is 46."""
    return round(16 + (DEFAULT_QUALITY - quality) * 0.4)
