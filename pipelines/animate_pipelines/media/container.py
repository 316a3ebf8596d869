"""`Container`: the file formats that are read."""

from __future__ import annotations

from typing import Literal

Container = Literal["jpeg", "png", "webp", "mov", "matroska", "json"]
