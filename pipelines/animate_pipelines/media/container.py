"""Which files are read: the families of media, and the containers of each."""

from __future__ import annotations

from typing import Literal

Family = Literal["image", "video", "keypoints"]
Container = Literal["jpeg", "png", "webp", "mov", "matroska", "json"]
