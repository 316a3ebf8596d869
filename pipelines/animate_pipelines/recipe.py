"""The recipe: how the networks are run. Recorded with every result, because it decides speed and last digits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Names as torch writes them: "float32", "bfloat16". The VAE keeps fp32: its errors are seen as colour drift."""

    device: str
    dtype: str
    vae_dtype: str = "float32"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def default_recipe(device: str) -> Recipe:
    """bf16 on CUDA devices, fp32 on the CPU, whose bf16 is slower and no truer."""
    kind = torch.device(device).type
    return Recipe(device=device, dtype="float32" if kind == "cpu" else "bfloat16")
