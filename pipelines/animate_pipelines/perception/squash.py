"""The picture in which people are detected: the whole frame as a square, whatever its aspect."""

from __future__ import annotations

import cv2
import numpy as np

SIDE_PX = 640


def squash(frame: np.ndarray) -> np.ndarray:
    """Resize an `h w 3` frame to `640 640 3`, uint8."""
    return cv2.resize(frame, (SIDE_PX, SIDE_PX))
