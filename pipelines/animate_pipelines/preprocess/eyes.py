"""`Eyes`: the two networks that look at pictures."""

from __future__ import annotations

from dataclasses import dataclass

import onnxruntime


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """The detector (`preprocess/detector.py`) and the pose network (`preprocess/pose.py`)."""

    detector: onnxruntime.InferenceSession
    pose: onnxruntime.InferenceSession
