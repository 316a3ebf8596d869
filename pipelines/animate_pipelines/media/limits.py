"""`MediaLimits`: the largest inputs, and the cost of reading them. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """The bounds every input is held to, most of them before anything is decoded.

    max_image_pixels, max_side_px, min_side_px, max_aspect: of a picture as it is shown; `max_side_px` is the video's.
    max_fps: of a video's frames as they are used: faster ones are resampled.
    max_stored_fps: of a video's frames as they are stored: faster ones are refused.
    memory_bytes: of the child process that reads foreign bytes.
    header_cpu_s, header_wall_s: for reading headers, packet times or one still image.
    decode_cpu_s, decode_wall_s: for decoding a whole video and writing the mezzanine.
    max_mezzanine_bytes: of the rewritten video on our disk.
    """

    max_image_pixels: int = 50_000_000
    max_file_bytes: int = 500_000_000
    max_duration_s: float = 600.0
    max_side_px: int = 4096
    min_side_px: int = 16
    max_aspect: float = 8.0
    max_fps: int = 120
    max_stored_fps: int = 1000
    memory_bytes: int = 2 * 1024**3
    header_cpu_s: int = 20
    header_wall_s: float = 30.0
    decode_cpu_s: int = 7200
    decode_wall_s: float = 3600.0
    max_mezzanine_bytes: int = 16 * 1024**3

    def with_videos_of(self, longest_s: float | None) -> MediaLimits:
        """Return the same limits, with videos of at most `longest_s` seconds where that is less."""
        return self if longest_s is None else replace(self, max_duration_s=min(self.max_duration_s, longest_s))
