"""`RenderResult`: the finished video, and everything in it that differs from the request."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderResult:
    """The finished video and the truth about it.

    width, height: of the file.
    render_width, render_height: of the model's output, before scaling.
    fps: a ratio, "30000/1001".
    audio: "copied", "encoded" or "none".
    loras: path in the bundle and strength of each LoRA that was merged in.
    mask_source: the name of the mask source; None in animate mode.
    reference_taken_at_s: the time of the reference in the character's video; None where it was an image.
    repeated_frames: output frames whose face, background and mask repeat the frame before's (the rate went up).
    safety: "checked", "not_checked" (wanted, but the bundle has no checker) or "off".
    warnings: sentences for people.
    seconds: wall time by stage.
    preprocess_seconds: of the stage of that name, spent on preflight and on finding people, their poses and masks.
    preprocess_cached: whether all that came from an earlier job with the same driving video.
    preflight: `PreflightReport.to_json()`; None where it was off.
    peak_memory_bytes: the peak in use: of the GPU during this render, of the whole process on a CPU.
    """

    path: Path
    mode: str
    width: int
    height: int
    render_width: int
    render_height: int
    fps: str
    num_frames: int
    duration_s: float
    num_segments: int
    num_steps: int
    seed: int
    turbo: bool
    audio: str
    loras: tuple[tuple[str, float], ...]
    mask_source: str | None
    reference_taken_at_s: float | None
    repeated_frames: int
    frames_without_person: int
    safety: str
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    preprocess_seconds: dict[str, float]
    preprocess_cached: bool
    preflight: dict[str, Any] | None
    peak_memory_bytes: int
    bundle: str
    bundle_hash: str
    recipe: dict[str, Any]
    version: str

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values but the path, which means nothing outside this machine."""
        values = asdict(self)
        del values["path"]
        return values | {"warnings": list(self.warnings), "loras": [list(lora) for lora in self.loras]}
