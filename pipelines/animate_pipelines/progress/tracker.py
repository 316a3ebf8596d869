"""Turns finished work into a fraction of the whole job and the seconds left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from animate_pipelines.progress.progress import OnProgress, Progress, Stage

# Share of the whole job that each stage is taken to need, before anything is known of its pace.
_SHARES: dict[Stage, float] = {"check": 0.03, "preprocess": 0.12, "encode": 0.01, "render": 0.81, "finish": 0.03}


class Numbered(Protocol):
    """A segment with its place in the job."""

    @property
    def index(self) -> int:
        """Return its place among all segments of the job."""


class ProgressTracker:
    """Reports progress and measures the seconds of each stage."""

    def __init__(self, report: OnProgress, clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._stage: Stage = "check"
        self._began = clock()
        self.seconds: dict[str, float] = {}

    def enter(self, stage: Stage) -> None:
        """End the stage before, and begin `stage`."""
        self._close_stage()
        self._stage = stage
        self._report(Progress(stage=stage, fraction=self._before()))

    def close(self) -> None:
        """End the render, with a last report."""
        self._close_stage()
        self._report(Progress(stage="finish", fraction=1.0, seconds_left=0.0))

    def advance(self, done: float, total: float) -> None:
        """Report that `done` of `total` of this stage is done."""
        self._report(self._progress(done / total))

    def count_steps(self, num_steps: int, segments: Sequence[Numbered]) -> Callable[[Numbered, int], None]:
        """Return a callback for a segment and the number of its finished steps.

        num_steps: of each segment.
        segments: those that this process renders, the last ones of the job.
        """
        first, last = segments[0].index, segments[-1].index

        def on_step(segment: Numbered, step: int) -> None:
            self.advance_step(
                segment=segment.index, num_segments=last + 1, step=step, num_steps=num_steps, first_segment=first
            )

        return on_step

    def advance_step(self, *, segment: int, num_segments: int, step: int, num_steps: int, first_segment: int) -> None:
        """Report that step `step` of segment `segment` is done.

        first_segment: the first one of this process; an earlier process rendered those before it.
        """
        work = (segment - first_segment) * num_steps + step
        share = work / ((num_segments - first_segment) * num_steps)
        progress = self._progress(share)
        self._report(
            Progress(
                stage=progress.stage,
                fraction=progress.fraction,
                segment=segment,
                num_segments=num_segments,
                step=step,
                num_steps=num_steps,
                seconds_left=progress.seconds_left,
            )
        )

    def _progress(self, share: float) -> Progress:
        elapsed = self._clock() - self._began
        # Only the last long stage can tell how long the whole job still takes.
        left = elapsed / share * (1 - share) if self._stage == "render" and share > 0 else None
        return Progress(stage=self._stage, fraction=self._before() + _SHARES[self._stage] * share, seconds_left=left)

    def _before(self) -> float:
        stages = list(_SHARES)
        return sum(_SHARES[stage] for stage in stages[: stages.index(self._stage)])

    def _close_stage(self) -> None:
        now = self._clock()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._began
        self._began = now
