"""One training clip as pictures: the conditions of a segment as the pipeline makes them, and the true frames.

The driver has its own look; the hero's look on the driver's build is the answer, because the skeleton shows that build.
Skeletons, face crops and masks are made by the pipeline's own functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from animate_benchmarks.puppet.prompts import random_words
from animate_benchmarks.puppet.shots import FPS, Shot, pictures, relative_keypoints
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.face import crop_face, face_box
from animate_pipelines.perception.masks import KeypointBoxes, dilate, fill_grid
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of
from animate_weights.puppet import Build, Character, Frame, Look, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.keypoints import LEFT_HAND, RIGHT_HAND
from animate_weights.puppet.performance import Performance, steer

SEGMENT_FRAMES = 17
FACE_PX = 32
RENDER_PX = 128
SKELETON_SIDES_PX = (128, 160, 192, 256, 384)
ERROR_SPREAD, ERROR_LASTS = 0.0065, 0.88  # of keypoints: of the frame's sides, and from one frame to the next
_EYES_AND_MOUTH = slice(59, 91)
LEFT_WRIST, RIGHT_WRIST = slice(9, 10), slice(10, 11)
Mode = Literal["animate", "replace"]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The uint8 pictures `t h w 3` of a segment; `reference` is `h w 3`, `masks` `t h w` (1 is regenerated)."""

    reference: np.ndarray
    target: np.ndarray
    people: np.ndarray  # t h w, 0..255: where the hero is
    faces: np.ndarray  # t h w, 0 or 255: the box around the hero's eyes and mouth
    hands: np.ndarray  # t h w, 0 or 255: the boxes around the hero's hands
    pose: np.ndarray
    face: np.ndarray
    background: np.ndarray | None
    masks: np.ndarray | None
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A hero and a driver's shot, from which the reference, the driving video and the true answer are drawn."""

    hero: Look
    reference_build: Build
    reference_pose: Pose
    reference_camera: Camera
    home: Backdrop
    shot: Shot  # the driver

    @classmethod
    def random(cls, rng: np.random.Generator, *, duration_s: float = 2.0) -> Pair:
        shot = Shot.random(rng, duration_s=duration_s, drift=float(rng.choice((0.0, 0.02))))
        if rng.random() < 0.15:
            shot = replace(shot, performance=Performance.random(rng, duration_s, liveliness=0.3))
        zoom = shot.camera.zoom * rng.uniform(0.85, 1.02)
        build = shot.character.build if rng.random() < 0.5 else Build.random(rng)
        pose = Performance.random(rng, 0.5, liveliness=0.6).pose_at(0.2)
        return cls(
            hero=Look.random(rng),
            reference_build=build,
            reference_pose=replace(pose, yaw=0.5 * pose.yaw, eyes=max(pose.eyes, 0.9)),
            reference_camera=Camera.framing(zoom, x=rng.uniform(0.46, 0.54)),
            home=Backdrop.random(rng),
            shot=shot,
        )

    def reference(self, size: Size) -> np.ndarray:
        """Draw the reference image, `h w 3` uint8."""
        character = Character(build=self.reference_build, look=self.hero)
        frame = draw(character, self.reference_pose, size, camera=self.reference_camera, backdrop=self.home)
        return frame.rgb

    def answer(self, poses: list[Pose], size: Size, mode: Mode, start_s: float = 0.0) -> list[Frame]:
        """Draw the true frames: the hero at home with a still camera (animate), or in the driver's place (replace)."""
        character = Character(build=self.shot.character.build, look=self.hero)
        if mode == "replace":
            return self.shot.played_by(character).draw(poses, size, start_s)
        cameras = (self.shot.camera.at(start_s + index / FPS) for index in range(len(poses)))
        return [
            draw(character, pose, size, camera=camera, backdrop=self.home)
            for pose, camera in zip(poses, cameras, strict=True)
        ]


def random_clip(rng: np.random.Generator, size: Size, mode: Mode, num_frames: int = SEGMENT_FRAMES) -> Clip:
    """Draw a pair and a segment of it, with keypoints as uncertain as a pose network's."""
    pair = Pair.random(rng)
    start_s = rng.uniform(0.0, 0.8)
    poses = pair.shot.poses(num_frames, start_s)
    words = random_words(rng)
    factor = 1.0 if mode == "replace" else rng.choice(SKELETON_SIDES_PX, p=(0.3, 0.15, 0.25, 0.15, 0.15)) / RENDER_PX
    native = (round(size[0] * factor), round(size[1] * factor))
    driving = pair.shot.draw(poses, native, start_s)
    keypoints = uncertain(rng, relative_keypoints(driving))
    answer = pair.answer(steer(poses, words), size, mode, start_s)
    background, masks = (None, None) if mode == "animate" else mask_person(pictures(driving), keypoints)
    return Clip(
        reference=pair.reference(size),
        target=pictures(answer),
        people=np.stack([frame.mask for frame in answer]),
        faces=np.stack([boxes_around(frame, _EYES_AND_MOUTH) for frame in answer]),
        hands=np.stack([boxes_around(frame, LEFT_HAND, RIGHT_HAND) for frame in answer]),
        pose=draw_skeletons(keypoints, native, size),
        face=crop_faces(pictures(driving), keypoints),
        background=background,
        masks=masks,
        words=words,
    )


def boxes_around(frame: Frame, *parts: slice) -> np.ndarray:
    """Return `h w`, 255 inside the box of each part's visible keypoints."""
    boxes = np.zeros(frame.rgb.shape[:2], np.uint8)
    for part in parts:
        points = frame.keypoints[part]
        seen = points[points[:, 2] > 0.5, :2]
        if len(seen):
            (left, top), (right, bottom) = np.maximum(seen.min(axis=0), 0).astype(int), seen.max(axis=0).astype(int)
            boxes[top : bottom + 1, left : right + 1] = 255
    return boxes


def uncertain(rng: np.random.Generator, keypoints: np.ndarray) -> np.ndarray:
    """Move keypoints `t 133 3` by the errors of a pose network, and lose a few, more of them fingers.

    The bundle's errs by 0.8 % of the frame on an axis, nearly the same from one frame to the next; a hand goes with its
    wrist. Errors that changed with every frame would teach the transformer to trust what does not move.
    """
    noisy = keypoints.copy()
    errors = ERROR_SPREAD * rng.lognormal(sigma=0.5, size=(1, 133, 1)) * lasting(rng, noisy[..., :2].shape)
    errors[:, LEFT_HAND] += errors[:, LEFT_WRIST]
    errors[:, RIGHT_HAND] += errors[:, RIGHT_WRIST]
    noisy[..., :2] += errors
    lost = rng.random(noisy.shape[:2]) < np.where(np.arange(133) >= LEFT_HAND.start, 0.03, 0.01)
    noisy[..., 2] = np.where(lost, 0.3, noisy[..., 2])
    return noisy


def lasting(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw normal numbers whose values in one frame (the first axis) and the next correlate by `ERROR_LASTS`."""
    numbers = rng.normal(size=shape)
    for before, now in pairwise(numbers):
        now[:] = ERROR_LASTS * before + (1 - ERROR_LASTS**2) ** 0.5 * now
    return numbers


def draw_skeletons(keypoints: np.ndarray, native: Size, size: Size) -> np.ndarray:
    drawn = (draw_skeleton(skeleton_of(pose, *native), *native) for pose in keypoints)
    return np.stack([skeleton if native == size else padding_resize(skeleton, *size) for skeleton in drawn])


def crop_faces(frames: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Crop the faces, `t s s 3`; a frame without a face holds the last one, as the pipeline does."""
    held = np.zeros((FACE_PX, FACE_PX, 3), np.uint8)
    crops = []
    for frame, pose in zip(frames, keypoints, strict=True):
        crop = crop_face(frame, face_box(pose, frame.shape[1], frame.shape[0]), FACE_PX)
        held = held if crop is None else crop
        crops.append(held)
    return np.stack(crops)


def mask_person(frames: np.ndarray, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames with the person blacked out, and the masks."""
    people = KeypointBoxes().person_masks(frames, keypoints)
    masks = np.stack([fill_grid(dilate(person)) for person in people])
    return frames * (1 - masks[..., None]), masks
