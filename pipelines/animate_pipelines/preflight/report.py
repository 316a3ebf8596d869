"""`PreflightReport`: the findings on a pair before it is rendered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from animate_pipelines.errors import PairRefused
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.pose_distance import pose_distance
from animate_pipelines.preflight.findings import Cutting, Finding, Start, find_flaws

_PROBLEM, _HINT = 35, 7  # points
_AT_START_S = 0.2  # the distance at the start is the median of this stretch: single frames are misread


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """The findings on a pair, and the measurements behind them.

    findings: problems first.
    """

    findings: tuple[Finding, ...]
    image: Observations
    video: Observations
    start: Start
    cutting: Cutting

    @property
    def score(self) -> int:
        """Return 100 without findings, 35 less for each problem, 7 for each hint; never below 0."""
        points = sum(_PROBLEM if finding.severity == "problem" else _HINT for finding in self.findings)
        return max(100 - points, 0)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Return the findings that spoil the render."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "score": self.score,
            "findings": [finding.to_json() for finding in self.findings],
            "image": _summary(self.image),
            "video": _summary(self.video)
            | {"cuts_s": list(self.cutting.cuts_s), "duration_s": self.cutting.duration_s},
            "pose_distance": {name: _rounded(value) for name, value in asdict(self.start).items()},
            "start_s": _rounded(self.start.best_s) if self.start.should_move else 0.0,
        }


def check_pair(image: Observations, video: Observations, cutting: Cutting) -> PreflightReport:
    """Return the report on an image and the sampled frames of a driving video."""
    start = _find_start(image, video)
    findings = find_flaws(image, video, start, cutting)
    return PreflightReport(findings=findings, image=image, video=video, start=start, cutting=cutting)


def refuse_problems(report: PreflightReport) -> None:
    """Raise `PairRefused` with the findings when there is a problem among them."""
    if report.problems:
        problems = "; ".join(f"{finding.message}: {finding.fix}" for finding in report.problems)
        raise PairRefused(
            f"the pair is refused: {problems}",
            field="preflight",
            value=[finding.to_json() for finding in report.findings],
            limit="no problems",
        )


def _find_start(image: Observations, video: Observations) -> Start:
    if not len(image.poses) or not len(video.poses):
        return Start(first=None, best=None, best_s=None)
    distances = [
        pose_distance(image.poses[0], pose, aspect_a=image.aspect, aspect_b=video.aspect) for pose in video.poses
    ]
    comparable = [
        (apart, float(second)) for apart, second in zip(distances, video.times_s, strict=True) if apart is not None
    ]
    if not comparable:
        return Start(first=None, best=None, best_s=None)
    first = [apart for apart, second in comparable if second <= _AT_START_S]
    best, best_s = min(comparable)
    return Start(first=float(np.median(first)) if first else None, best=best, best_s=best_s)


def _summary(observations: Observations) -> dict[str, Any]:
    has_person = len(observations.poses) > 0
    return {
        "framing": observations.framing if has_person else None,
        "parts": observations.shares() if has_person else {},
        "people": observations.people,
        "sharpness": _rounded(float(np.median(observations.sharpness))) if has_person else None,
        "pictures": observations.num_pictures,
        "pictures_with_person": len(observations.poses),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
