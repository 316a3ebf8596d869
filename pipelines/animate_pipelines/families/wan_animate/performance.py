"""`SkeletonPerformance`: a driving video, read as skeletons, faces and masks; see `Performance`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from animate_pipelines.diffusion.segments import Segment
from animate_pipelines.families.wan_animate.pictures import SegmentPainter
from animate_pipelines.families.wan_animate.segment_frames import SegmentFrames
from animate_pipelines.job.performance import PerformanceNotes
from animate_pipelines.job.plan import RenderPlan
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.sound import Sound


@dataclass(frozen=True, slots=True, kw_only=True)
class SkeletonPerformance:
    """The performance of a driving video.

    reference: letter-boxed to the render size, `h w 3`.
    """

    clip: Clip
    plan: RenderPlan
    reference: np.ndarray
    painter: SegmentPainter
    sound: Sound | None
    notes: PerformanceNotes

    @property
    def fps(self) -> Fraction:
        """Return the clip's rate."""
        return self.clip.fps

    @property
    def num_frames(self) -> int:
        """Return the number of frames of the clip at that rate."""
        return self.clip.num_frames

    def drive(self, segment: Segment) -> SegmentFrames:
        """Return the pictures that condition `segment`."""
        return self.painter.draw(segment)

    def close(self) -> None:
        """Close the clip."""
        self.clip.close()
