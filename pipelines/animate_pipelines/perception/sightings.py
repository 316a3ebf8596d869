"""`Sighting`: one person in one frame, and the distances of two in place, posture and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from animate_pipelines.perception.boxes import largest_box
from animate_pipelines.perception.confidence import JOINT_FOUND
from animate_pipelines.perception.squash import SIDE_PX
from animate_pipelines.request.size import Size

# Falloffs of the 17 body joints' object keypoint similarity, twice the published deviations (COCO keypoint evaluation).
# fmt: off
_FALLOFF = 2 * np.array([
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089,
    0.089,
])
# fmt: on
_MIRRORED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
_TOUCHING = 0.1  # of the smaller box: from here on boxes may be of one person, or people in each other's way
_SAME_POSTURE = 0.5
# Corners of trunk and thighs: rows of the 17 joints, and where they are in the box of somebody who stands.
_PART_JOINTS = np.array([[5, 6, 11, 12], [11, 12, 13, 14]])
_PARTS_IN_BOX = np.array(
    [[[0.6, 0.27], [0.4, 0.27], [0.57, 0.52], [0.43, 0.52]], [[0.57, 0.52], [0.43, 0.52], [0.57, 0.74], [0.43, 0.74]]]
)
_GRID = np.linspace(0.15, 0.85, 12)
_BETWEEN = np.array([[(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u] for v in _GRID for u in _GRID])
_LEVELS = 4  # of each colour channel


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One person in one frame.

    box: `5` (x1, y1, x2, y2, score) in pixels.
    colours: `2 64`, of trunk and thighs; see `colours_of`.
    joints: `17 3` in pixels with confidences; known only where there is more than one box in the frame.
    """

    frame: int
    box: np.ndarray
    colours: np.ndarray
    joints: np.ndarray | None = None

    def moved(self, by: np.ndarray) -> Sighting:
        """Return the sighting moved by `by` (x, y) pixels."""
        box = self.box + np.array([*by, *by, 0.0])
        return replace(self, box=box, joints=None if self.joints is None else self.joints + np.array([*by, 0.0]))

    @property
    def centre(self) -> np.ndarray:
        """Return the middle of the box, (x, y) in pixels."""
        return np.asarray((self.box[:2] + self.box[2:4]) / 2)

    @property
    def area(self) -> float:
        """Return the area of the box in square pixels."""
        return box_area(self.box)


def box_area(box: np.ndarray) -> float:
    """Return the area of a box (x1, y1, x2, y2, ...) in square pixels."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def shared_area(a: np.ndarray, b: np.ndarray) -> float:
    """Return the area that two boxes share, in square pixels."""
    sides = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    return float(np.prod(np.maximum(sides, 0)))


def box_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes."""
    shared = shared_area(a, b)
    return shared / max(box_area(a) + box_area(b) - shared, 1e-9)


def touching(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two boxes share a tenth of the smaller one."""
    return shared_area(a, b) > _TOUCHING * min(box_area(a), box_area(b))


def posture_similarity(a: Sighting, b: Sighting) -> float | None:
    """Return the object keypoint similarity, 0 to 1, or None where joints are unknown or too few are visible in both.

    The better one of two: as read, and with one's left and right exchanged. Networks mistake a back for a front.
    """
    if a.joints is None or b.joints is None:
        return None
    area = min(a.area, b.area)
    similarities = [_joint_similarity(a.joints, joints, area) for joints in (b.joints, b.joints[_MIRRORED])]
    values = [value for value in similarities if value is not None]
    return max(values, default=None)


def _joint_similarity(a: np.ndarray, b: np.ndarray, area: float) -> float | None:
    visible = (a[:, 2] >= JOINT_FOUND) & (b[:, 2] >= JOINT_FOUND)
    if visible.sum() < 4:
        return None
    squares = ((a[visible, :2] - b[visible, :2]) ** 2).sum(axis=1)
    return float(np.exp(-squares / (2 * area * _FALLOFF[visible] ** 2 + 1e-9)).mean())


def colours_of(squashed: np.ndarray, box: np.ndarray, joints: np.ndarray | None, size: Size) -> np.ndarray:
    """Return the square roots of the colour histograms `2 64` of trunk and thighs.

    squashed: the detector's picture of the frame.
    joints: `17 3` in pixels of a frame of `size`, to read between; None reads between a standing person's joints.
    """
    (x1, y1), (x2, y2) = box[:2], box[2:4]
    parts = _PARTS_IN_BOX * [x2 - x1, y2 - y1] + [x1, y1] if joints is None else joints[_PART_JOINTS, :2]
    scaled = parts * SIDE_PX / size
    # A grid of points between a part's four corners: left and right, above and below.
    points = np.einsum("gc,pcd->pgd", _BETWEEN, scaled).clip(0, SIDE_PX - 1).astype(int)
    return np.stack([_histogram(squashed[part[:, 1], part[:, 0]]) for part in points])


def _histogram(pixels: np.ndarray) -> np.ndarray:
    levels = pixels.astype(int) // (256 // _LEVELS)
    counts = np.bincount(levels @ [_LEVELS**2, _LEVELS, 1], minlength=_LEVELS**3)
    return np.asarray(np.sqrt(counts / len(pixels)))


def colour_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return one minus the mean Bhattacharyya coefficient: 0 for the same colours, 1 for none in common."""
    return float(1 - (a * b).sum(axis=1).mean())


def one_a_person(sightings: Sequence[Sighting]) -> list[Sighting]:
    """Return the sightings of one frame without doubles: detectors put several boxes around one person.

    Boxes in which the pose network reads the same posture are of one person. Where there is only one person in the
    frame the largest box stands for it, as in the official code; among several people, each one's most certain box.
    """
    groups: list[list[Sighting]] = []
    for sighting in sorted(sightings, key=lambda s: -s.box[4]):
        for group in groups:
            if (posture_similarity(sighting, group[0]) or 0.0) > _SAME_POSTURE:
                group.append(sighting)
                break
        else:
            groups.append([sighting])
    if len(groups) == 1:
        largest = largest_box(np.stack([sighting.box for sighting in groups[0]]))
        return [] if largest is None else [groups[0][largest]]
    return [group[0] for group in groups]
