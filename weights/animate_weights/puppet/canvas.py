"""A supersampled picture and its coverage mask: OpenCV draws without anti-aliasing, and averaging supplies it."""

import cv2
import numpy as np

from animate_weights.puppet.character import Rgb

SHIFT = 3  # fractional bits of the coordinates given to OpenCV
LEAST_SIDE = 280  # the supersampled picture's shorter side is at least this


class Canvas:
    """A canvas that is drawn on in pixels of the final picture and averaged down by `finish`."""

    def __init__(self, background: np.ndarray, scale: int) -> None:
        self.scale = scale
        self.rgb = background
        self.mask = np.zeros(background.shape[:2], np.uint8)

    @staticmethod
    def scale_for(width: int, height: int) -> int:
        """Return the number of samples along each side of a pixel, at least two."""
        return max(2, -(-LEAST_SIDE // min(width, height)))

    def polygon(self, points: np.ndarray, colour: Rgb) -> None:
        corners = self._fixed(points)
        cv2.fillPoly(self.rgb, [corners], colour, cv2.LINE_8, SHIFT)
        cv2.fillPoly(self.mask, [corners], 255, cv2.LINE_8, SHIFT)

    def stroke(self, points: np.ndarray, width: float, colour: Rgb) -> None:
        """Draw a line through the points `n 2` with round ends."""
        thickness = max(round(width * self.scale), 1)
        corners = self._fixed(points)
        cv2.polylines(self.rgb, [corners], False, colour, thickness, cv2.LINE_8, SHIFT)
        cv2.polylines(self.mask, [corners], False, 255, thickness, cv2.LINE_8, SHIFT)

    def disc(self, centre: np.ndarray, radius: float, colour: Rgb) -> None:
        (point,) = self._fixed(centre[None])
        size = max(round(radius * self.scale * (1 << SHIFT)), 1)
        cv2.circle(self.rgb, tuple(map(int, point)), size, colour, -1, cv2.LINE_8, SHIFT)
        cv2.circle(self.mask, tuple(map(int, point)), size, 255, -1, cv2.LINE_8, SHIFT)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture `h w 3` uint8 and the coverage `h w` uint8."""
        height, width = self.rgb.shape[0] // self.scale, self.rgb.shape[1] // self.scale
        rgb = cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA)
        return rgb, cv2.resize(self.mask, (width, height), interpolation=cv2.INTER_AREA)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        """Convert points to OpenCV's fixed point.

        Pixel centres are at half: a point at 0.5 is the middle of the first pixel.
        """
        return np.round((points * self.scale - 0.5) * (1 << SHIFT)).astype(np.int32)
