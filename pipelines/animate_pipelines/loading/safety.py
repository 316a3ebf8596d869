"""The safety checker: an image classifier for the reference image and frames of the output.

Any transformers image classification model will do, in the bundle's folder `safety_checker/`. It must name at least
one of its labels as harmless, in the words below; every other label refuses the picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from animate_pipelines.errors import BundleError, ContentRefused

MIN_SCORE = 0.5
FRAMES_A_SEGMENT = 3
_HARMLESS = frozenset({"normal", "safe", "sfw", "neutral", "drawings", "clean"})


class SafetyChecker:
    """An image classifier.

    model: returns `logits` `n labels` for `pixel_values`.
    processor: makes these of `h w 3` uint8 pictures.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor
        self._labels = {int(index): str(label) for index, label in model.config.id2label.items()}
        if not any(label.lower() in _HARMLESS for label in self._labels.values()):
            named = ", ".join(self._labels.values())
            raise BundleError(f"safety_checker/ calls none of its labels harmless: {named}", field="bundle")

    def check(self, pictures: np.ndarray, *, field: str) -> None:
        """Raise `ContentRefused` for a picture that does not pass, with `field`, the label and its score.

        pictures: `n h w 3` uint8.
        """
        inputs = self._processor(images=list(pictures), return_tensors="pt")
        with torch.no_grad():
            scores = self._model(inputs["pixel_values"].to(self._model.device)).logits.float().softmax(-1).cpu()
        for index, label in self._labels.items():
            score = float(scores[:, index].max())
            if label.lower() not in _HARMLESS and score >= MIN_SCORE:
                raise ContentRefused(
                    f"the safety checker finds {label} in {{field}}",
                    field=field,
                    value=round(score, 3),
                    limit=MIN_SCORE,
                )


def load_safety_checker(folder: Path, device: str) -> SafetyChecker | None:
    """Load the bundle's checker; None when it has none.

    Raises `BundleError` for one that cannot be loaded.
    """
    if not folder.is_dir():
        return None
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    try:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise BundleError(f"safety_checker/ cannot be loaded: {error}", field="bundle", value=str(folder)) from error
    return SafetyChecker(model.to(device).eval(), processor)


def sample(frames: np.ndarray) -> np.ndarray:
    """Return the first, middle and last of frames `t h w 3`."""
    return frames[np.unique(np.linspace(0, len(frames) - 1, FRAMES_A_SEGMENT).round().astype(int))]
