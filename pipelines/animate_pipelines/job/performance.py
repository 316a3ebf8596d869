"""`Performance`: drives the picture through time, by a video, a voice, or a number of frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol

from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.job.plan import RenderPlan
from animate_pipelines.media.sound import Sound


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceNotes:
    """The notes of a result on its performance; the fields are those of `RenderResult`.

    warnings: sentences for people, in order.
    """

    warnings: tuple[str, ...] = ()
    mask_source: str | None = None
    reference_taken_at_s: float | None = None
    repeated_frames: int = 0
    frames_without_person: int = 0
    preprocess_seconds: dict[str, float] = field(default_factory=dict)
    preprocess_cached: bool = False
    preflight: dict[str, Any] | None = None


class Performance(Protocol):
    """Made once a job, before any denoising; knows no network that denoises."""

    @property
    def plan(self) -> RenderPlan:
        """Return sizes, segments and recipe."""

    @property
    def fps(self) -> Fraction:
        """Return the rate of the result, exactly."""

    @property
    def num_frames(self) -> int:
        """Return the number of frames of the result."""

    @property
    def sound(self) -> Sound | None:
        """Return the sound of the result; None for silence."""

    @property
    def notes(self) -> PerformanceNotes:
        """Return the notes of the result on it."""

    def drive(self, segment: Segment) -> Any:
        """Return the input of one segment: arrays, no tensors. Called in a thread, ahead of the denoising."""

    def close(self) -> None:
        """Close open files."""
