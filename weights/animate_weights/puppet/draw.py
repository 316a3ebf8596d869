"""Drawing of a posed character: the picture, its exact keypoints and its mask."""

import math
from dataclasses import dataclass

import numpy as np

from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.body import Body, Limb
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.character import Character, Look, Rgb, shade
from animate_weights.puppet.face_points import Face
from animate_weights.puppet.head import draw_back_hair, draw_head
from animate_weights.puppet.keypoints import keypoints_of, visibility_of
from animate_weights.puppet.pose import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One drawn picture with its true keypoints and mask."""

    rgb: np.ndarray  # h w 3 uint8
    keypoints: np.ndarray  # 133 3: x, y in pixels, and 1 seen, 0.3 hidden, 0 outside
    mask: np.ndarray  # h w uint8, 255 where the character is


def draw(
    character: Character, pose: Pose, size: tuple[int, int], *, camera: Camera, backdrop: Backdrop, time_s: float = 0.0
) -> Frame:
    """Draw one character before a backdrop.

    character, pose: whom to draw, and how.
    size: (width, height) in pixels.
    camera: where it stands; its drift moves character and backdrop.
    backdrop: the background.
    time_s: the moment, for the drift.
    """
    width, height = size
    scale = Canvas.scale_for(width, height)
    shift = camera.offset(time_s)
    canvas = Canvas(backdrop.paint(width * scale, height * scale, shift=shift), scale)
    keypoints = draw_on(canvas, character, pose, size, camera.at(time_s))
    rgb, mask = canvas.finish()
    return Frame(rgb=rgb, keypoints=keypoints, mask=mask)


def draw_on(canvas: Canvas, character: Character, pose: Pose, size: tuple[int, int], camera: Camera) -> np.ndarray:
    """Add a character to a canvas that may hold others already, and return its keypoints `133 3`."""
    width, height = size
    body = Body.posed(character.build, pose)
    face = Face.posed(body.head, pose)
    _Painter(canvas, character, camera, width, height).paint(body, face, pose)
    pixels = camera.project(keypoints_of(body, face), width, height)
    seen = visibility_of(pixels, width, height, faces_camera=body.head.faces_camera)
    return np.concatenate([pixels, seen[:, None]], axis=1).astype(np.float32)


class _Painter:
    """A painter of the parts from back to front."""

    def __init__(self, canvas: Canvas, character: Character, camera: Camera, width: int, height: int) -> None:
        self.canvas = canvas
        self.character = character
        self.unit = camera.zoom * height
        self.project = lambda points: camera.project(points, width, height)

    def paint(self, body: Body, face: Face, pose: Pose) -> None:
        look = self.character.look
        away = math.cos(pose.yaw) < 0
        if not away:
            draw_back_hair(self.canvas, look, body.head, self.project, self.unit)
        for leg in body.legs:
            self._leg(leg)
        if away:
            self._arms(body, pose)
        self._torso(body, pose)
        self._stroke([body.neck, body.head.centre], 0.06, shade(look.skin, 0.85))
        draw_head(self.canvas, look, body.head, face, pose, self.project, self.unit)
        if away:
            draw_back_hair(self.canvas, look, body.head, self.project, self.unit)
        else:
            self._arms(body, pose)

    def _stroke(self, points: list[np.ndarray], width: float, colour: Rgb) -> None:
        self.canvas.stroke(self.project(np.stack(points)), width * self.unit, colour)

    def _leg(self, leg: Limb) -> None:
        build, look = self.character.build, self.character.look
        short = look.legwear != "trousers"
        shin = look.skin if short else shade(look.trousers, 0.92)
        self._stroke([leg.middle, leg.end], build.leg_width * 0.9, shin)
        self._stroke([leg.top, leg.middle], build.leg_width, look.trousers)
        self._stroke([leg.tip[2], leg.tip[0]], 0.05, look.shoes)

    def _arms(self, body: Body, pose: Pose) -> None:
        build, look = self.character.build, self.character.look
        for limb in body.arms:
            fore = shade(look.shirt, 0.8) if look.long_sleeves else look.skin
            self._stroke([limb.middle, limb.end], build.arm_width * 0.9, fore)
            self._stroke([limb.top, limb.middle], build.arm_width, shade(look.shirt, 0.86))
            self._hand(limb.tip, build.hand)

    def _hand(self, points: np.ndarray, length: float) -> None:
        skin = self.character.look.skin
        for finger in range(5):
            self._stroke([points[0], points[4 + 4 * finger]], length * 0.22, skin)
        palm = points[0] * 0.55 + points[10] * 0.45
        self.canvas.disc(self.project(palm[None])[0], length * 0.36 * self.unit, skin)

    def _torso(self, body: Body, pose: Pose) -> None:
        build, look = self.character.build, self.character.look
        corners = _torso_corners(body, build.shoulder, build.hip)
        if look.legwear == "skirt":
            flare = (corners[2] - corners[3]) * 0.35
            low = np.array([0.0, build.thigh * 0.8])
            skirt = np.stack([corners[3], corners[2], corners[2] + flare + low, corners[3] - flare + low])
            self.canvas.polygon(self.project(skirt), look.trousers)
        pixels = self.project(corners)
        self.canvas.polygon(pixels, look.shirt)
        self.canvas.stroke(pixels[[0, 1]], 0.05 * self.unit, look.shirt)
        _pattern(self.canvas, pixels, look)


def _torso_corners(body: Body, shoulder: float, hip: float) -> np.ndarray:
    """Return the corners in the picture from upper left, clockwise; never thinner than a third of the torso's width."""
    up = (body.neck - body.hips) / np.linalg.norm(body.neck - body.hips)
    across = np.array([-up[1], up[0]])
    half = abs(float((body.arms[0].top - body.arms[1].top) @ across)) / 2
    share = max(half / shoulder, 0.34)
    top, bottom = body.neck - up * 0.02, body.hips - up * 0.015
    wide, narrow = across * (shoulder * share), across * ((hip + 0.035) * share)
    return np.stack([top - wide, top + wide, bottom + narrow, bottom - narrow])


def _pattern(canvas: Canvas, corners: np.ndarray, look: Look) -> None:
    def at(u: float, v: float) -> np.ndarray:
        over = corners[0] * (1 - u) + corners[1] * u
        under = corners[3] * (1 - u) + corners[2] * u
        return over * (1 - v) + under * v

    def patch(u0: float, u1: float, v0: float, v1: float) -> None:
        canvas.polygon(np.stack([at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)]), look.shirt_second)

    match look.pattern:
        case "hoops":
            patch(0, 1, 0.2, 0.42)
            patch(0, 1, 0.64, 0.86)
        case "stripes":
            patch(0.15, 0.35, 0, 1)
            patch(0.65, 0.85, 0, 1)
        case "dots":
            radius = float(np.linalg.norm(corners[1] - corners[0])) * 0.11
            for u, v in ((0.25, 0.2), (0.75, 0.2), (0.5, 0.5), (0.25, 0.8), (0.75, 0.8)):
                canvas.disc(at(u, v), radius, look.shirt_second)
        case "halves":
            patch(0.5, 1, 0, 1)
