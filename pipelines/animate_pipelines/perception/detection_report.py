"""`DetectionReport`: what was found in a driving video, and what is missing, frame by frame. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Stretch = tuple[int, int]  # first and last frame


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSeen:
    """One person in the driving video.

    number: the number that `person` takes.
    area: the mean area of the person's boxes, as a share of the picture.
    """

    number: int
    first_frame: int
    last_frame: int
    num_frames: int
    area: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSeen:
    """The person to follow in one frame; confidences are 0 to 1, and None where nobody is visible.

    people: the number of people in the frame.
    score: the detector's; None also where the person was read behind somebody else.
    sharpness: the variance of the Laplacian of the person's picture at 256 px of height.
    mask: whether there is anything to replace; None where masks were not looked for.
    """

    frame: int
    people: int
    score: float | None
    body: float | None
    face: float | None
    left_hand: float | None
    right_hand: float | None
    sharpness: float | None
    mask: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionReport:
    """The people, gaps and doubts of a driving video.

    Frames are those of the part that is used, at the video's own rate, counted from 0.

    fps: a ratio.
    chosen: the number of the person to follow; 0 when there is nobody.
    missing_person: stretches of frames without the person, both ends included; poses are bridged there.
    missing_face: stretches without a face, which include those without the person; the last face is held.
    missing_hands: stretches without hands, which include those without the person.
    missing_mask: stretches without a mask; None in animate mode.
    blurred: stretches in which the person is blurred.
    identity_jumps: frames in which the person is suddenly elsewhere, to be checked by eye for another person.
    cuts: frames that begin a new scene.
    """

    fps: str
    num_frames: int
    chosen: int
    people: tuple[PersonSeen, ...]
    missing_person: tuple[Stretch, ...]
    missing_face: tuple[Stretch, ...]
    missing_hands: tuple[Stretch, ...]
    missing_mask: tuple[Stretch, ...] | None
    blurred: tuple[Stretch, ...]
    identity_jumps: tuple[int, ...]
    cuts: tuple[int, ...]
    frames: tuple[FrameSeen, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """The files of a render's detection report, beside its video; they are written even when the render fails later.

    masks: a picture of the regenerated pixels; only in replace mode.
    """

    report: Path
    timeline: Path
    masks: Path

    @classmethod
    def beside(cls, video: Path) -> ReportFiles:
        """Return the paths that belong to `video`."""
        return cls(
            report=video.with_suffix(".report.json"),
            timeline=video.with_suffix(".timeline.png"),
            masks=video.with_suffix(".masks.png"),
        )
