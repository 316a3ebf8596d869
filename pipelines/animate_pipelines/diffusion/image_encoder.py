"""Encodes the reference image into CLIP states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import CLIPVisionModel

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder:
    """CLIP's vision tower, read one layer before its last."""

    def __init__(self, model: CLIPVisionModel) -> None:
        self._model = model

    def encode(self, reference: torch.Tensor) -> torch.Tensor:
        """Return the states `1 tokens width` of the letter-boxed reference `1 3 h w` in -1..1."""
        pixels = self.prepare(reference, int(self._model.config.image_size)).to(self._model.device, self._model.dtype)
        states: torch.Tensor = self._model(pixels, output_hidden_states=True).hidden_states[-2]
        return states

    @staticmethod
    def prepare(reference: torch.Tensor, side_px: int) -> torch.Tensor:
        """Return the encoder's input `1 3 side side`, normalised.

        The reference is squashed to the square without keeping its aspect and without anti-aliasing: so the model was
        trained. diffusers crops the centre of the raw image instead.
        """
        squashed = F.interpolate(reference.float(), size=(side_px, side_px), mode="bicubic", align_corners=False)
        mean = torch.tensor(_MEAN, device=squashed.device).view(1, 3, 1, 1)
        std = torch.tensor(_STD, device=squashed.device).view(1, 3, 1, 1)
        return ((squashed * 0.5 + 0.5) - mean) / std
