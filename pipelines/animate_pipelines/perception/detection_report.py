"""`DetectionReport`: what was seen in a driving video and what was not, frame by frame. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Stretch = tuple[int, int]  # first and last frame


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSeen:
    """number: by which `person` names them. area: of their box, mean share of the picture over their frames."""

    number: int
    first_frame: int
    last_frame: int
    num_frames: int
    area: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSeen:
    """One frame, and in it the person who is followed; confidences are 0 to 1, and None where nobody is seen.

    people: how many are seen in all. score: the detector's; None also where the person was read behind somebody else.
    sharpness: variance of the Laplacian of the person's picture at 256 px of height. mask: whether there is anything to
        replace; None where it was not looked for.
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
    """Frames are those of the part of the driving video that is used, at its own rate, counted from 0.

    fps: a ratio. chosen: the number of the person who is followed; 0 when there is nobody.
    missing_person, missing_face, missing_hands, missing_mask, blurred: stretches of frames, both ends included. Where
        the person is missing, face and hands are too, and poses are bridged; a missing face is the last one seen, held.
    identity_jumps: frames in which the person is suddenly elsewhere: look whether it is still the same one.
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
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where the report of a render lies: beside its video, also when the render has failed after looking.

    masks: a picture of what is regenerated; there only in replace mode.
    """

    report: Path
    timeline: Path
    masks: Path

    @classmethod
    def beside(cls, video: Path) -> ReportFiles:
        return cls(
            report=video.with_suffix(".report.json"),
            timeline=video.with_suffix(".timeline.png"),
            masks=video.with_suffix(".masks.png"),
        )
