"""Random tensors that are the same on every machine: a function of the tensor's name and the element's index.

torch's own generators differ between devices and releases; a bundle made by code must not. The mixer is splitmix64
(Steele, Lea and Flood, 2014).
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import torch

Scale = tuple[float, float]  # (half-width of the uniform range, offset)


def uniform(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return fp32 values in [-1, 1) for a tensor of this name."""
    with np.errstate(over="ignore"):
        start = np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
        z = np.arange(math.prod(shape), dtype=np.uint64) + start + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    values = (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def random_tensor(name: str, shape: tuple[int, ...], scale: Scale) -> torch.Tensor:
    """Return fp32 values within `scale[0]` of `scale[1]`."""
    return uniform(name, shape) * scale[0] + scale[1]


def default_scale(name: str, shape: tuple[int, ...]) -> Scale:
    """Choose a range that keeps a deep network's activations near unit size, by the parameter's name and shape."""
    if "motion_encoder" in name:
        return (0.1, 0.0) if name.endswith("bias") else (math.sqrt(3), 0.0)
    if name.endswith("padding_tokens"):
        return 0.5, 0.0
    if name.endswith("scale_shift_table"):
        return 0.3, 0.0
    if name.endswith("gamma") or ("norm" in name and name.endswith("weight") and len(shape) == 1):
        return 0.2, 1.0
    if name.endswith("bias"):
        return 0.1, 0.0
    fan_in = math.prod(shape[1:]) if len(shape) > 1 else shape[0]
    return math.sqrt(3 / fan_in), 0.0


def random_weights(
    shapes: Mapping[str, torch.Size], scale: Callable[[str, tuple[int, ...]], Scale] = default_scale
) -> dict[str, torch.Tensor]:
    """Return a random tensor for every name.

    shapes: shapes by name.
    scale: chooses a tensor's range by its name and shape.
    """
    return {name: random_tensor(name, tuple(shape), scale(name, tuple(shape))) for name, shape in shapes.items()}
