"""The 133 whole-body keypoints of a posed puppet, in the order that whole-body pose networks use."""

import numpy as np

from animate_weights.puppet.body import Body, Limb
from animate_weights.puppet.face_points import Face

NUM_KEYPOINTS = 133
FACE = slice(23, 91)
LEFT_HAND = slice(91, 112)
RIGHT_HAND = slice(112, 133)
SEEN, HIDDEN, OUTSIDE = 1.0, 0.3, 0.0


def keypoints_of(body: Body, face: Face) -> np.ndarray:
    """Return the keypoints in body coordinates, `133 2`."""
    head, (left_arm, right_arm), (left_leg, right_leg) = body.head, body.arms, body.legs
    points = [
        head.point(0.0, 0.25),
        face.pupils[0],
        face.pupils[1],
        head.point(1.0, 0.05),
        head.point(-1.0, 0.05),
        *(limb for pair in zip(_joints(left_arm), _joints(right_arm), strict=True) for limb in pair),
        *(limb for pair in zip(_joints(left_leg), _joints(right_leg), strict=True) for limb in pair),
        *left_leg.tip,
        *right_leg.tip,
    ]
    return np.concatenate([np.stack(points), face.landmarks, left_arm.tip, right_arm.tip])


def visibility_of(pixels: np.ndarray, width: int, height: int, *, faces_camera: bool) -> np.ndarray:
    """Return how visible each of the points `133 2` is: 1, 0.3 where the head is turned away, 0 outside the picture."""
    inside = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    seen = np.where(inside, SEEN, OUTSIDE)
    if not faces_camera:
        for hidden in (slice(0, 3), FACE):
            seen[hidden] = np.minimum(seen[hidden], HIDDEN)
    return seen


def _joints(limb: Limb) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return limb.top, limb.middle, limb.end
