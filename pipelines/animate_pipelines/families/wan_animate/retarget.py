"""Gives the driving performance the reference character's proportions, before the skeleton is drawn.

Without it a long-armed driver lends its arms to a short-armed character. The steps and their constants are those of the
official preprocessing, which tests hold beside ours; coordinates are pixels of either picture. Where limbs point at the
camera their lengths are read better from pictures of the same two people in a neutral pose, if there are any: the
official code has such pictures made by an image editing model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from animate_pipelines.perception.confidence import JOINT_COMPARED, JOINT_SEEN
from animate_pipelines.perception.keypoints import LEFT_HAND, RIGHT_HAND, body_20
from animate_pipelines.perception.skeleton import LIMBS, Skeleton
from animate_pipelines.request.size import Size

Framing = Literal["full_body", "three_quarter_body", "half_body"]

# Rows of body-20.
_NOSE, _NECK, _RIGHT_WRIST, _LEFT_WRIST = 0, 1, 4, 7
_HIPS, _ANKLES, _TOES = (8, 11), (10, 13), (19, 18)  # right, left
_SHOULDERS, _HEAD = (2, 5), (0, 14, 15, 16, 17)
# Rows of LIMBS.
_MIRRORED_LONGEST = [(0, 1), (2, 4), (3, 5), (6, 9), (7, 10), (8, 11), (17, 18)]
_MIRRORED_MEAN = [(13, 15), (14, 16)]
_FOOT_AND_CALF = [(17, 11), (18, 8)]
_COLLARBONES = (0, 1)

_LONGEST_FOOT = 0.5  # of the calf


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportions:
    """The fit of the driver to the reference, settled by the first frame for the whole clip.

    ratios: new length of each limb over its old one.
    scale: driving pixels for one reference pixel.
    offset: from the reference's place to that of the rescaled driving skeleton; it is subtracted.
    anchor_x: of the rescaled first frame; None where nothing is anchored.
    """

    framing: Framing
    ratios: np.ndarray
    scale: float
    offset: np.ndarray
    anchor_x: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeutralPoses:
    """Both people standing straight, limbs in the plane of the picture: `133 3` each.

    Fractions of pictures as large as the driving frame and the reference picture.
    """

    driver: np.ndarray
    reference: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetBody:
    """The body whose proportions the driver takes.

    pose: `133 3`, fractions of the reference picture.
    size: (width, height) of the reference picture.
    neutral: poses to measure the limbs in; None measures them in that pose and in the first driving frame's.
    """

    pose: np.ndarray
    size: Size
    neutral: NeutralPoses | None = None


def fit_proportions(first: np.ndarray, size: Size, figure: TargetBody) -> Proportions:
    """Return the fit of the driver to the reference's figure.

    first: the pose `133 3` (fractions) in the first driving frame.
    size: of that frame.
    """
    source, target = body_20(first), body_20(figure.pose)
    scale = _height_ratio(source, size, target, figure.size) or _area_ratio(size, figure.size)
    old, goal = source * [*size, 1], target * [*_scaled(figure.size, scale), 1]
    neutral = figure.neutral
    measured = _limb_ratios(old, goal) if neutral is None else _neutral_ratios(first, size, figure, neutral)
    ratios = _symmetric(measured)
    framing = min((_framing(source), _framing(target)), key=("half_body", "three_quarter_body", "full_body").index)
    rescaled = _rescale(old, ratios)
    return Proportions(
        framing=framing,
        ratios=ratios,
        scale=scale,
        offset=_stand(rescaled, framing, np.max(rescaled[list(_ANKLES), 1]))
        - _stand(goal, framing, np.max((goal[list(_ANKLES), 1] + goal[list(_TOES), 1]) / 2)),
        anchor_x=_anchor_x(rescaled, framing),
    )


def retarget(pose: np.ndarray, size: Size, proportions: Proportions, *, first: bool) -> Skeleton:
    """Return the skeleton of a driving pose `133 3`, on a canvas of the reference's size.

    size: of the driving frame.
    first: whether it is the clip's first frame, which is laid exactly over the one that the proportions were fitted to.
    """
    pixels = pose * [*size, 1]
    old = body_20(pixels)
    new = _rescale(old, proportions.ratios, limit_feet=True)
    offset = proportions.offset.copy()
    anchor_x = _anchor_x(new, proportions.framing)
    if first and anchor_x is not None and proportions.anchor_x is not None:
        offset[0] += anchor_x - proportions.anchor_x
    new[:, :2] = (new[:, :2] - offset) / proportions.scale
    return Skeleton(body=new, hands=_move_hands(pixels, old, new, size, proportions))


def _height_ratio(source: np.ndarray, source_size: Size, target: np.ndarray, target_size: Size) -> float | None:
    """Return the ratio of two people's heights in pixels, from nose to ankles, or to hips.

    Returns None where neither is visible in both pictures.
    """
    for joints in (_ANKLES, _HIPS):
        rows = [_NOSE, *joints]
        if (source[rows, 2] > JOINT_SEEN).all() and (target[rows, 2] > JOINT_SEEN).all():
            heights = [
                size[1] * abs(body[list(joints), 1].mean() - body[_NOSE, 1])
                for body, size in ((source, source_size), (target, target_size))
            ]
            if heights[0] > 0 and heights[1] > 0:
                return float(heights[0] / heights[1])
    return None


def _area_ratio(source_size: Size, target_size: Size) -> float:
    """Return the ratio of the two pictures' areas, as a ratio of lengths."""
    return math.sqrt(source_size[0] * source_size[1] / (target_size[0] * target_size[1]))


def _scaled(size: Size, scale: float) -> Size:
    return int(size[0] * scale), int(size[1] * scale)


def _limb_ratios(old: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the length of each limb of `goal` over that of `old`, 1 where that has none."""
    return np.divide(_lengths(goal), _lengths(old), out=np.ones(len(LIMBS)), where=_lengths(old) > 0)


def _neutral_ratios(first: np.ndarray, size: Size, figure: TargetBody, neutral: NeutralPoses) -> np.ndarray:
    """Return `_limb_ratios`, measured in the neutral poses.

    An editing model may draw people larger or smaller. Where their height does not tell, head and shoulders do.
    """
    driver, reference = body_20(neutral.driver), body_20(neutral.reference)
    drawn, goal = driver * [*size, 1], reference * [*figure.size, 1]
    scale, correction = _height_ratio(driver, size, reference, figure.size), 1.0
    if scale is None:
        scale = _area_ratio(size, figure.size)
        correction = _breadth_ratio(body_20(figure.pose) * [*figure.size, 1], goal)
        correction /= _breadth_ratio(body_20(first) * [*size, 1], drawn)
    return _limb_ratios(drawn, reference * [*_scaled(figure.size, scale), 1]) * correction


def _breadth_ratio(body: np.ndarray, other: np.ndarray) -> float:
    """Return the ratio of the heads' or of the shoulders' breadths of two bodies in pixels, whichever is larger."""
    pairs = zip(_breadths(body), _breadths(other), strict=True)
    return max((one / two for one, two in pairs if one > 0 and two > 0), default=1.0)


def _breadths(body: np.ndarray) -> tuple[float, float]:
    right, left = body[list(_SHOULDERS), :2]
    return float(np.ptp(body[list(_HEAD), 0])), math.hypot(*(right - left))


def _framing(body: np.ndarray) -> Framing:
    def inside(rows: Sequence[int]) -> bool:
        return bool((body[list(rows), 1] <= 1).all() and (body[list(rows), 2] >= JOINT_COMPARED).all())

    if inside([*_ANKLES, *_HIPS]):
        return "full_body"
    return "three_quarter_body" if inside(_HIPS) else "half_body"


def _lengths(body: np.ndarray) -> np.ndarray:
    starts, ends = zip(*LIMBS, strict=True)
    return np.hypot(*(body[list(ends), :2] - body[list(starts), :2]).T)


def _symmetric(ratios: np.ndarray) -> np.ndarray:
    """Make left and right alike: a limb that points at the camera looks short on one side."""
    even = ratios.copy()
    for pair in _MIRRORED_LONGEST:
        even[list(pair)] = ratios[list(pair)].max()
    for pair in _MIRRORED_MEAN:
        even[list(pair)] = ratios[list(pair)].mean()
    return even


def _rescale(body: np.ndarray, ratios: np.ndarray, *, limit_feet: bool = False) -> np.ndarray:
    """Walk the limbs outwards from the neck: each keeps its direction and takes its new length."""
    lengths = _lengths(body) * ratios
    if limit_feet:
        for foot, calf in _FOOT_AND_CALF:
            lengths[foot] = min(lengths[foot], _LONGEST_FOOT * lengths[calf])
    moved = body.copy()
    for (start, end), length in zip(LIMBS, lengths, strict=True):
        angle = math.atan2(body[start, 1] - body[end, 1], body[start, 0] - body[end, 0])
        moved[end, :2] = moved[start, :2] - length * np.array([math.cos(angle), math.sin(angle)])
    return moved


def _stand(body: np.ndarray, framing: Framing, ground_y: float) -> np.ndarray:
    """Return the point by which two skeletons are laid over each other: between the hips on the ground, or the neck."""
    if framing != "full_body":
        return body[_NECK, :2]
    return np.array([body[list(_HIPS), 0].mean(), ground_y])


def _anchor_x(body: np.ndarray, framing: Framing) -> float | None:
    if framing == "three_quarter_body":
        return None
    return float(body[list(_HIPS), 0].mean() if framing == "full_body" else body[_NECK, 0])


def _move_hands(
    pixels: np.ndarray, old: np.ndarray, new: np.ndarray, size: Size, proportions: Proportions
) -> tuple[np.ndarray, np.ndarray]:
    """Scale both hands about their roots and carry them to the new wrists, in drawing order.

    A right hand that is nearer to the left wrist is taken for the left one.
    """
    growth = proportions.ratios[list(_COLLARBONES)].max() / proportions.scale
    right, left = pixels[RIGHT_HAND], pixels[LEFT_HAND]
    to_right, to_left = _shift(right, old, new, _RIGHT_WRIST), _shift(left, old, new, _LEFT_WRIST)
    root = right[0, :2] if right[0, 2] >= JOINT_COMPARED else -np.array(size, float)
    apart = [math.hypot(*(old[wrist, :2] - root)) for wrist in (_RIGHT_WRIST, _LEFT_WRIST)]
    if apart[0] > apart[1]:
        right, left = left, right
    return _move_hand(right, growth, to_right), _move_hand(left, growth, to_left)


def _shift(hand: np.ndarray, old: np.ndarray, new: np.ndarray, wrist: int) -> np.ndarray:
    start = hand[0, :2] if hand[0, 2] >= JOINT_COMPARED else old[wrist, :2]
    return np.asarray(new[wrist, :2] - start)


def _move_hand(hand: np.ndarray, growth: float, shift: np.ndarray) -> np.ndarray:
    """Move a hand to whole pixels; a point out of sight loses its confidence, and is then not drawn."""
    root = hand[0, :2]
    moved = np.trunc(root + (hand[:, :2] - root) * growth + shift)
    confidence = np.where(hand[:, 2] >= JOINT_COMPARED, hand[:, 2], 0.0)
    return np.concatenate([moved, confidence[:, None]], axis=1)
