"""The kinds of media that are read, and the containers of each."""

from __future__ import annotations

from typing import Literal

Container = Literal["jpeg", "png", "webp", "mov", "matroska", "json"]
