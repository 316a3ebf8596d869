"""Measures the sharpness of a person, on one scale for people of all sizes."""

from __future__ import annotations

import cv2
import numpy as np

_HEIGHT_PX = 256  # to which a person is scaled before its sharpness is measured


def sharpness_of(picture: np.ndarray, box: np.ndarray) -> float:
    """Return the variance of the Laplacian of the brightness (0 to 255) in a box, at a height of 256 px.

    picture: `h w 3` RGB.
    box: (x1, y1, x2, y2, ...) in its pixels; what lies outside the picture does not count.
    """
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = np.clip(box[:4], 0, [width, height, width, height]).astype(int)
    person = picture[y1 : y2 + 1, x1 : x2 + 1]
    if not person.size:
        return 0.0
    size = (max(round(person.shape[1] * _HEIGHT_PX / person.shape[0]), 1), _HEIGHT_PX)
    grey = cv2.cvtColor(cv2.resize(person, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())
