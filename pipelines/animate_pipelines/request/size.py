"""`Size`: width and height in pixels, in this order, everywhere."""

from __future__ import annotations

Size = tuple[int, int]
