"""`Finding`: one flaw of a pair, or a way to improve it, and its fix; and the rules that find them.

The limits were settled on drawn pairs, whose truth is known, with the networks of the `puppet` bundle; tests hold them
to other pairs. On photographs they are untried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from animate_pipelines.perception.confidence import JOINT_COMPARED, PART_HIDDEN, PART_IN_VIEW
from animate_pipelines.perception.framing import FRAMINGS, Framing
from animate_pipelines.perception.observations import Observations

Side = Literal["image", "video", "pair"]
Severity = Literal["problem", "hint", "not_judged"]

_FACELESS, _FEW_FACES = 0.3, 0.8  # shares of the frames
_FAR_POSE_DEGREES = 45.0
_NEARER = 0.6  # of the first frame's distance: from here on starting elsewhere is worth it
_BLURRED = 40.0
_SMALL = 0.3  # height of the person over the picture's
_LONG_S = 60.0
_KNEE = 0.9  # of the trunk's length below the hips

_SHOWN: dict[Framing, str] = {
    "portrait": "head and shoulders",
    "half": "the body down to the hips",
    "three_quarter": "the body down to the knees",
    "full": "the whole body",
}
_ENDS: dict[Framing, str] = {
    "portrait": "ends at the chest",
    "half": "ends at the hips",
    "three_quarter": "ends at the knees",
    "full": "shows the feet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One flaw of a pair.

    code: for programs; it never changes.
    severity: a problem spoils the render; a hint is worth knowing; what is not judged may be well or not.
    message: the flaw, for people.
    fix: the remedy, for people.
    """

    code: str
    severity: Severity
    side: Side
    message: str
    fix: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Degrees between the image's pose and poses of the video; None where too little of the body is visible in both.

    first: in the video's first frame.
    best: in the nearest frame.
    best_s: the time of the nearest frame.
    """

    first: float | None
    best: float | None
    best_s: float | None

    @property
    def should_move(self) -> bool:
        """Return whether starting at the nearest frame is worth it."""
        if self.first is None or self.best is None:
            return False
        return self.first >= _FAR_POSE_DEGREES / 2 and self.best < _NEARER * self.first


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """The cuts of the video.

    cuts_s: the times at which new scenes begin.
    duration_s: the length of the video.
    """

    cuts_s: tuple[float, ...]
    duration_s: float


def find_flaws(image: Observations, video: Observations, start: Start, cutting: Cutting) -> tuple[Finding, ...]:
    """Return every finding, problems first."""
    findings = [*_nobody(image, video)]
    if not findings:
        findings = [
            *_several(image, video),
            *_faces(image, video),
            *_hidden(image, "image"),
            *_hidden(video, "video"),
            *_framing(image, video),
            *_pose(start),
            *_quality(image, video),
        ]
    return tuple(sorted([*findings, *_cutting(cutting)], key=lambda finding: finding.severity == "hint"))


def unjudged(cutting: Cutting) -> tuple[Finding, ...]:
    """Return a finding for each subject on which networks that do not read the pictures have no say, then the cuts."""
    fix = "look for yourself, or use weights that read photographs"
    subjects = {
        "people": "how many people are seen, and whether there is one",
        "faces": "whether faces are seen",
        "hidden": "whether something is in front of arms or legs",
        "framing": "how much of the body is shown",
        "pose": "how far the poses are apart",
        "quality": "whether the person is sharp and large enough",
    }
    findings = [_finding(code, "pair", text, fix, severity="not_judged") for code, text in subjects.items()]
    return (*findings, *_cutting(cutting))


def _nobody(image: Observations, video: Observations) -> Iterator[Finding]:
    if not len(image.poses):
        yield _finding(
            "nobody_in_image", "image", "no person was found in the image", "supply an image with one person in it"
        )
    if not len(video.poses):
        yield _finding(
            "nobody_in_video",
            "video",
            f"no person was found in any of the {video.num_pictures} frames looked at",
            "supply a video with one person in it",
        )


def _several(image: Observations, video: Observations) -> Iterator[Finding]:
    if image.people > 1:
        yield _finding(
            "several_people_in_image",
            "image",
            f"the image shows {image.people} people; only one can be animated",
            "crop the image to the one who is meant",
        )
    if video.people > 1:
        yield _finding(
            "several_people_in_video",
            "video",
            f"the driving video shows {video.people} people at once; one of them is followed",
            "look at the numbered people and choose one with `person`, or film one person alone",
        )


def _faces(image: Observations, video: Observations) -> Iterator[Finding]:
    if image.share("face") == 0:
        yield _finding(
            "no_face_in_image",
            "image",
            "the face is turned away, hidden or outside the image",
            "supply an image in which the face is seen from the front",
        )
    share = video.share("face")
    if share < _FACELESS:
        yield _finding(
            "no_face_in_video",
            "video",
            f"a face is seen in {share:.0%} of the driving video's frames: the expression cannot be followed",
            "supply a video in which the person faces the camera",
        )
    elif share < _FEW_FACES:
        yield _finding(
            "few_faces_in_video",
            "video",
            f"a face is seen in {share:.0%} of the driving video's frames; elsewhere the last expression is held",
            "prefer a video in which the person faces the camera",
            severity="hint",
        )


def _hidden(observations: Observations, side: Literal["image", "video"]) -> Iterator[Finding]:
    picture = "the image" if side == "image" else "most of the driving video"
    parts = [
        part for part, hidden in (("arms", arms_hidden(observations)), ("legs", legs_hidden(observations))) if hidden
    ]
    if parts:
        yield _finding(
            f"hidden_in_{side}",
            side,
            f"something is in front of the {' and '.join(parts)} in {picture}",
            f"supply {'an image' if side == 'image' else 'a video'} in which nothing covers the person",
        )


def arms_hidden(observations: Observations) -> bool:
    """Return whether the arms are out of sight although the feet are visible."""
    return observations.framing == "full" and observations.confidence("arms") < PART_HIDDEN


def legs_hidden(observations: Observations) -> bool:
    """Return whether the legs are out of sight although the arms are visible and the hips leave room for the knees."""
    joints = np.median(observations.poses[:, [5, 6, 11, 12]], axis=0)
    (shoulders, hips), sure = joints[:, 1].reshape(2, 2).mean(axis=1), joints[2:, 2].mean()
    room = hips + _KNEE * (hips - shoulders) < 0.95
    arms_visible = sure >= JOINT_COMPARED and observations.confidence("arms") >= PART_IN_VIEW
    return bool(room and arms_visible and observations.confidence("legs") < PART_HIDDEN)


def _framing(image: Observations, video: Observations) -> Iterator[Finding]:
    if legs_hidden(image) or legs_hidden(video):
        return  # what is hidden does not tell where the picture ends
    narrower = FRAMINGS.index(video.framing) - FRAMINGS.index(image.framing)
    if not narrower:
        return
    severity: Severity = "problem" if abs(narrower) > 1 else "hint"
    message = f"the image {_ENDS[image.framing]}, the driving video shows {_SHOWN[video.framing]}"
    if narrower > 0:
        fix = f"supply an image that shows {_SHOWN[video.framing]}, or a video filmed as close as the image"
    else:
        fix = "set `align`, which crops the image to the video's framing, or supply a video that shows as much"
    yield _finding("framing", "pair", message, fix, severity=severity)


def _pose(start: Start) -> Iterator[Finding]:
    if start.first is None or start.first < _FAR_POSE_DEGREES:
        return
    fix = "supply an image in a pose near to that of the video's first frame"
    if start.should_move and start.best_s:
        fix = f"set `start` to {start.best_s:.2f} s, where the poses are {start.best:.0f} degrees apart, or {fix}"
    yield _finding(
        "pose",
        "pair",
        f"the limbs in the image and in the video's first frame are {start.first:.0f} degrees apart",
        fix,
    )


def _quality(image: Observations, video: Observations) -> Iterator[Finding]:
    for side, observations in (("image", image), ("video", video)):
        name = "image" if side == "image" else "driving video"
        if np.median(observations.sharpness) < _BLURRED:
            yield _finding(
                f"blurred_{side}",
                "image" if side == "image" else "video",
                f"the person in the {name} is blurred",
                "supply a sharper one",
                severity="hint",
            )
        height = float(np.median(observations.boxes[:, 3] - observations.boxes[:, 1]))
        if height < _SMALL:
            yield _finding(
                f"small_in_{side}",
                "image" if side == "image" else "video",
                f"the person fills {height:.0%} of the {name}'s height: face and hands have few pixels",
                f"crop the {name} closer to the person",
                severity="hint",
            )
    if image.share("left_hand") + image.share("right_hand") == 0 and video.share("left_hand") > 0.5:
        yield _finding(
            "no_hands_in_image",
            "image",
            "the image shows no hands, the driving video does: they will be made up",
            "supply an image in which the hands are seen",
            severity="hint",
        )


def _cutting(cutting: Cutting) -> Iterator[Finding]:
    if cutting.cuts_s:
        times = ", ".join(f"{second:.1f} s" for second in cutting.cuts_s[:5])
        often = "once" if len(cutting.cuts_s) == 1 else f"{len(cutting.cuts_s)} times"
        yield _finding(
            "cuts",
            "video",
            f"the driving video changes its scene {often}, at {times}",
            "render each scene as a job of its own",
            severity="hint",
        )
    if cutting.duration_s > _LONG_S:
        yield _finding(
            "long",
            "video",
            f"the driving video lasts {cutting.duration_s:.0f} s; colours and likeness drift in long renders",
            f"prefer videos under {_LONG_S:.0f} s",
            severity="hint",
        )


def _finding(code: str, side: Side, message: str, fix: str, *, severity: Severity = "problem") -> Finding:
    return Finding(code=code, severity=severity, side=side, message=message, fix=fix)
