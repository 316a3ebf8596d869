"""Drawing of the head: hair, skin, eyes, brows, nose and mouth."""

from collections.abc import Callable

import numpy as np

from animate_weights.puppet.body import Head
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.character import Look, Rgb, shade
from animate_weights.puppet.face_points import EYE_H, Face
from animate_weights.puppet.pose import Pose

Project = Callable[[np.ndarray], np.ndarray]
WHITE: Rgb = (250, 250, 250)
THROAT: Rgb = (110, 10, 25)
LIP: Rgb = (190, 60, 70)
BLACK: Rgb = (25, 20, 25)


def draw_back_hair(canvas: Canvas, look: Look, head: Head, project: Project, unit: float) -> None:
    """Draw the hair behind the face; with the back turned nothing else of the head is visible."""
    colour = shade(look.hair, 0.85)
    canvas.polygon(project(_ring(head, 1.06, 1.05, -0.03)), colour)
    if look.hair_style == "long":
        canvas.polygon(project(_box(head, 1.08, -0.2, 1.25)), colour)
    if look.hair_style == "bun":
        canvas.disc(project(_at(head, 0.0, -1.2)[None])[0], 0.38 * head.half_height * unit, colour)


def draw_head(canvas: Canvas, look: Look, head: Head, face: Face, pose: Pose, project: Project, unit: float) -> None:
    canvas.polygon(project(_ring(head, 1.0, 1.0, 0.0)), look.skin)
    if not head.faces_camera:
        return
    size = head.half_height * unit
    _eyes(canvas, look, face, pose, project, size)
    for brow in face.brows:
        canvas.stroke(project(brow), 0.09 * size, shade(look.hair, 0.7))
    canvas.stroke(project(face.landmarks[31:36]), 0.07 * size, shade(look.skin, 0.72))
    _mouth(canvas, face, pose, project, size)
    _fringe(canvas, look, head, project)


def _eyes(canvas: Canvas, look: Look, face: Face, pose: Pose, project: Project, size: float) -> None:
    for outline, pupil in zip(face.eyes, face.pupils, strict=True):
        if pose.eyes < 0.25:
            lid = project(outline)
            canvas.stroke(lid[[0, len(lid) // 2]], 0.09 * size, BLACK)
            continue
        canvas.polygon(project(outline), WHITE)
        canvas.disc(project(pupil[None])[0], min(0.14, EYE_H * pose.eyes) * size, look.iris)


def _mouth(canvas: Canvas, face: Face, pose: Pose, project: Project, size: float) -> None:
    if max(pose.mouth, pose.smile) < 0.15:
        canvas.stroke(project(face.outer_lips[[0, 3, 6]]), 0.09 * size, LIP)
        return
    canvas.polygon(project(face.outer_lips), LIP)
    canvas.polygon(project(face.inner_lips), WHITE if pose.smile > pose.mouth else THROAT)


def _fringe(canvas: Canvas, look: Look, head: Head, project: Project) -> None:
    """Draw hair or cap over the forehead, which stays in place when the head turns a little."""
    if look.hair_style == "cap":
        canvas.polygon(project(_cap(head, 1.1, -0.3)), look.shoes)
        canvas.polygon(project(_box(head, 1.25, -0.42, -0.27)), shade(look.shoes, 0.75))
        return
    canvas.polygon(project(_cap(head, 1.06, -0.42)), look.hair)
    if look.hair_style == "spikes":
        for at in (-0.7, -0.25, 0.25, 0.7):
            spike = [_at(head, at - 0.28, -0.8), _at(head, at * 1.25, -1.45), _at(head, at + 0.28, -0.8)]
            canvas.polygon(project(np.stack(spike)), look.hair)


def _at(head: Head, across: float, down: float) -> np.ndarray:
    """Return a point on the flat head, in half widths and half heights, whichever way it turns."""
    return head.centre + head.right * (across * head.half_width) + head.down * (down * head.half_height)


def _ring(head: Head, wide: float, high: float, lower: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    return _flat(head, wide * np.cos(angle), lower + high * np.sin(angle))


def _cap(head: Head, grow: float, edge: float) -> np.ndarray:
    """Return the outline of the part of the head above `edge`."""
    start = np.arcsin(-edge / grow)
    angle = np.linspace(start, np.pi - start, 18)
    return _flat(head, grow * np.cos(angle), -grow * np.sin(angle))


def _box(head: Head, wide: float, top: float, bottom: float) -> np.ndarray:
    return _flat(head, np.array([-wide, wide, wide, -wide]), np.array([top, top, bottom, bottom]))


def _flat(head: Head, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    return head.centre + across[:, None] * head.half_width * head.right + down[:, None] * head.half_height * head.down
