"""Re-frames the reference image by crop and pad, so that its person stands like the driving video's first one."""

from __future__ import annotations

import cv2
import numpy as np

from animate_pipelines.perception.confidence import JOINT_SEEN
from animate_pipelines.perception.observations import Observations
from animate_pipelines.request.size import Size

_NOSE, _SHOULDERS, _HIPS = [0], [5, 6], [11, 12]
_MOST = 4.0  # times as large or as small


def align_picture(picture: np.ndarray, image: Observations, video: Observations, size: Size) -> np.ndarray:
    """Move and scale the `h w 3` picture into `size`, a picture of the video's aspect.

    size: (width, height).
    Returns the picture as it is, for the caller to letter-box, where either shows nobody.

    Shoulders come to lie on shoulders; the trunk, or the head where the hips are not visible in both, gets the same
    height. The picture's edge fills the rest.
    """
    if not len(image.poses) or not len(video.poses):
        return picture
    source = image.poses[0] * [*image.size, 1]
    target = video.poses[0] * [*size, 1]
    scale = float(np.clip(_height(target, source) / _height(source, target), 1 / _MOST, _MOST))
    shift = _middle(target, _SHOULDERS) - scale * _middle(source, _SHOULDERS)
    placing = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.warpAffine(
        np.ascontiguousarray(picture), placing, size, flags=interpolation, borderMode=cv2.BORDER_REPLICATE
    )


def _height(pose: np.ndarray, other: np.ndarray) -> float:
    """Return the height in pixels of the trunk if both poses show it, else from the shoulders to the nose."""
    trunk = min(pose[_HIPS, 2].mean(), other[_HIPS, 2].mean()) >= JOINT_SEEN
    away = _middle(pose, _HIPS if trunk else _NOSE) - _middle(pose, _SHOULDERS)
    return max(float(np.hypot(*away)), 1.0)


def _middle(pose: np.ndarray, rows: list[int]) -> np.ndarray:
    return np.asarray(pose[rows, :2].mean(axis=0))
