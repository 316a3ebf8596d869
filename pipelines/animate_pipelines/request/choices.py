"""What a field with several values may be."""

from __future__ import annotations

from typing import Literal

Task = Literal["animate", "replace", "image-to-video", "speak"]
Drive = Literal["video", "audio", "prompt"]
Resolution = Literal["480p", "580p", "720p", "1080p"]
Overlap = Literal[1, 5]
Preflight = Literal["warn", "strict", "off"]
ReferenceKind = Literal["image", "video"]
MaskFit = Literal["box", "blocks", "tight"]
Fit = Literal["pad", "crop"]
OutputFormat = Literal["mp4", "mov", "webm"]
