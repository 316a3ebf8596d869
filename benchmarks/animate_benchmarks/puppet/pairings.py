"""Pairs of an image and a driving video, right ones and ones wrong in a known way, for judging preflight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from animate_weights.puppet import Character, Performance, Pose
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.draw import draw_on

Flaw = Literal["framing", "pose", "occlusion", "two_people", "no_face"]
Side = Literal["image", "video"]
FLAWS: tuple[Flaw, ...] = ("framing", "pose", "occlusion", "two_people", "no_face")
FPS = 12
Size = tuple[int, int]

# Zooms at which a puppet of any build shows its feet, its knees, or no more than its hips.
_FULL, _KNEES, _HIPS, _CHEST = (0.76, 0.86), (1.0, 1.06), (1.2, 1.28), (1.6, 1.8)
_HANGING = {"left_shoulder": 0.25, "left_elbow": 0.2, "right_shoulder": 0.25, "right_elbow": 0.2}
_RAISED = {"left_shoulder": 2.6, "left_elbow": 0.2, "right_shoulder": 2.6, "right_elbow": 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """A pair of an image and a driving video.

    image: `h w 3` uint8.
    video: `t h w 3` uint8 at `FPS`.
    flaw: the flaw on one `side`; None for a right pair.
    """

    image: np.ndarray
    video: np.ndarray
    flaw: Flaw | None
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """A character before a backdrop and a camera, with a second person or a board before a part of the body."""

    character: Character
    backdrop: Backdrop
    camera: Camera
    second: Character | None = None
    hidden: Literal["face", "arms", "legs"] | None = None

    def picture(self, pose: Pose, size: Size, board: Backdrop) -> np.ndarray:
        scale = Canvas.scale_for(*size)
        canvas = Canvas(self.backdrop.paint(size[0] * scale, size[1] * scale), scale)
        if self.second is not None:
            draw_on(canvas, self.second, replace(pose, yaw=0.1), size, replace(self.camera, x=self.camera.x - 0.46))
        keypoints = draw_on(canvas, self.character, pose, size, self.camera)
        rgb = canvas.finish()[0]
        return rgb if self.hidden is None else _behind_board(rgb, keypoints, self.hidden, board)


def random_pairing(
    rng: np.random.Generator, flaw: Flaw | None, *, size: Size = (320, 320), frames: int = 14
) -> Pairing:
    """Draw a pair of two people alike in framing and first pose, but for `flaw`. `size` is (width, height)."""
    side: Side = "image" if rng.random() < 0.5 else "video"
    zooms = _zooms(rng, flaw, side)
    poses = _performance(rng, flaw, side, frames)
    stages = [
        _Stage(
            character=Character.random(rng),
            backdrop=Backdrop.random(rng),
            camera=Camera.framing(zoom, x=0.72 if flaw == "two_people" and side == of else rng.uniform(0.46, 0.54)),
            second=Character.random(rng) if flaw == "two_people" and side == of else None,
            hidden=_hidden(rng, flaw) if side == of else None,
        )
        for zoom, of in zip(zooms, ("image", "video"), strict=True)
    ]
    board = Backdrop.random(rng)
    image = stages[0].picture(_reference_pose(rng, poses[0], flaw, side), size, board)
    video = np.stack([stages[1].picture(pose, size, board) for pose in poses])
    return Pairing(image=image, video=video, flaw=flaw, side=side)


def _zooms(rng: np.random.Generator, flaw: Flaw | None, side: Side) -> tuple[float, float]:
    """Draw the zooms of image and video."""
    if flaw == "framing":
        near, far = rng.uniform(*_CHEST), rng.uniform(*_FULL)
        return (near, far) if side == "image" else (far, near)
    whole = flaw in ("pose", "occlusion", "two_people")  # the flaw must be in the picture
    zoom = rng.uniform(*(_FULL if whole else (_FULL, _KNEES, _HIPS)[rng.integers(3)]))
    return zoom, zoom * rng.uniform(0.97, 1.0)


def _performance(rng: np.random.Generator, flaw: Flaw | None, side: Side, frames: int) -> list[Pose]:
    """Draw a performance that begins calmly, arms below the shoulders.

    It turns its back to the camera where the flaw is a missing face.
    """
    start = Pose(
        yaw=rng.normal(0, 0.12), lean=rng.normal(0, 0.05), **{k: v + rng.normal(0, 0.08) for k, v in _HANGING.items()}
    )
    moves = Performance.random(rng, frames / FPS, liveliness=0.7).poses(frames, FPS)
    mixed = [_between(start, pose, min(index / 5, 1.0)) for index, pose in enumerate(moves)]
    turned = np.pi if flaw == "no_face" and side == "video" else 0.0
    return [replace(pose, yaw=float(np.clip(pose.yaw, -0.4, 0.4)) + turned) for pose in mixed]


def _reference_pose(rng: np.random.Generator, first: Pose, flaw: Flaw | None, side: Side) -> Pose:
    """Return a pose like the first driving pose, to a few degrees."""
    front = replace(first, yaw=rng.normal(0, 0.1), mouth=0.0, smile=0.0, eyes=1.0)
    noise = {name: getattr(front, name) + rng.normal(0, 0.08) for name in (*_HANGING, "lean", "left_hip", "right_hip")}
    pose = replace(front, **noise)
    if flaw == "pose":
        crouch = {"left_hip": 1.3, "right_hip": 1.3, "left_knee": -2.0, "right_knee": -2.0}
        return replace(pose, **_RAISED, **(crouch if rng.random() < 0.5 else {}))
    if flaw == "no_face" and side == "image":
        return replace(pose, yaw=np.pi + rng.normal(0, 0.15))
    return pose


def _hidden(rng: np.random.Generator, flaw: Flaw | None) -> Literal["arms", "legs"] | None:
    return (("arms", "legs")[int(rng.integers(2))]) if flaw == "occlusion" else None


def _behind_board(rgb: np.ndarray, keypoints: np.ndarray, part: str, board: Backdrop) -> np.ndarray:
    """Return the picture with a board over a part of the body, painted with another place."""
    height, width = rgb.shape[:2]
    rows = {"face": range(23, 91), "arms": [5, 6, 7, 8, 9, 10, 96, 117], "legs": range(11, 23)}[part]
    points = keypoints[list(rows), :2]
    margin = 0.05 * height
    x1, y1 = np.clip(points.min(axis=0) - margin, 0, None).astype(int)
    x2, y2 = np.clip(points.max(axis=0) + margin, None, [width, height]).astype(int)
    scale = Canvas.scale_for(width, height)
    painted = Canvas(board.paint(width * scale, height * scale), scale).finish()[0]
    covered = rgb.copy()
    covered[y1:y2, x1:x2] = painted[y1:y2, x1:x2]
    return covered


def _between(a: Pose, b: Pose, share: float) -> Pose:
    return Pose.from_vector(a.vector() * (1 - share) + b.vector() * share)
