"""`PreflightReport`: the findings on a pair before it is rendered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from animate_pipelines.errors import PairRefused
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.pose_distance import pose_distance
from animate_pipelines.preflight.findings import Cutting, Finding, Start, find_flaws, unjudged
from animate_pipelines.preflight.legibility import EVERYTHING_READ, Legibility

_PROBLEM, _HINT = 35, 7  # points
_NO_START = Start(first=None, best=None, best_s=None)
_AT_START_S = 0.2  # the distance at the start is the median of this stretch: single frames are misread


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightReport:
    """The findings on a pair, and the measurements behind them.

    findings: problems first.
    legibility: whether the networks read the pair; where they do not, nothing that they found is told.
    """

    findings: tuple[Finding, ...]
    legibility: Legibility
    image: Observations
    video: Observations
    start: Start
    cutting: Cutting

    @property
    def score(self) -> int | None:
        """Return 100 without findings, 35 less for each problem, 7 for each hint; never below 0. None if not judged."""
        if not self.legibility.is_judged:
            return None
        points = sum(_PROBLEM if finding.severity == "problem" else _HINT for finding in self.findings)
        return max(100 - points, 0)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Return the findings that spoil the render."""
        return tuple(finding for finding in self.findings if finding.severity == "problem")

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        judged = self.legibility.is_judged
        cutting = {"cuts_s": list(self.cutting.cuts_s), "duration_s": self.cutting.duration_s}
        return self.legibility.to_json() | {
            "score": self.score,
            "findings": [finding.to_json() for finding in self.findings],
            "image": _summary(self.image, judged=judged),
            "video": _summary(self.video, judged=judged) | cutting,
            "pose_distance": {name: _rounded(value) for name, value in asdict(self.start).items()},
            "start_s": _rounded(self.start.best_s) if self.start.should_move else 0.0,
        }


def check_pair(
    image: Observations, video: Observations, cutting: Cutting, legibility: Legibility = EVERYTHING_READ
) -> PreflightReport:
    """Return the report on an image and the sampled frames of a driving video."""
    if legibility.is_judged:
        start = _find_start(image, video)
        findings = find_flaws(image, video, start, cutting)
    else:
        start, findings = _NO_START, unjudged(cutting)
    return PreflightReport(
        findings=findings, image=image, video=video, start=start, cutting=cutting, legibility=legibility
    )


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
        return _NO_START
    distances = [
        pose_distance(image.poses[0], pose, aspect_a=image.aspect, aspect_b=video.aspect) for pose in video.poses
    ]
    comparable = [
        (apart, float(second)) for apart, second in zip(distances, video.times_s, strict=True) if apart is not None
    ]
    if not comparable:
        return _NO_START
    first = [apart for apart, second in comparable if second <= _AT_START_S]
    best, best_s = min(comparable)
    return Start(first=float(np.median(first)) if first else None, best=best, best_s=best_s)


def _summary(observations: Observations, *, judged: bool) -> dict[str, Any]:
    """Return what one side shows, with None for what is not there or not judged."""
    has_person = judged and len(observations.poses) > 0
    return {
        "framing": observations.framing if has_person else None,
        "parts": observations.shares() if has_person else {},
        "people": observations.people if judged else None,
        "sharpness": _rounded(float(np.median(observations.sharpness))) if has_person else None,
        "pictures": observations.num_pictures,
        "pictures_with_person": len(observations.poses) if judged else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
