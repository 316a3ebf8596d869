"""Weights stored in 8 bits: the spellings of their scales, conversion from 8 bits, and to fp8 with one scale a row.

A stored weight W8 stands for W8 * scale. Published: one fp32 scale a tensor (Kijai, `scale_weight` beside a marker
`scaled_fp8`, later `weight_scale`; ComfyUI adds `comfy_quant`), or one an output channel, `out 1` (LightX2V, ours).
"""

from __future__ import annotations

import re

import torch

SCALE_SUFFIX = ".weight_scale"
_SCALES = (".scale_weight", SCALE_SUFFIX)
# Scales of activations, which are measured anew here, and notes of the writer.
_MARKERS = (".scale_input", ".input_scale", ".comfy_quant")
_TOP_MARKER = "scaled_fp8"
EIGHT_BIT = frozenset({torch.float8_e4m3fn, torch.float8_e5m2, torch.int8})
_E4M3_MAX = 448.0
# What LightX2V quantises as well: attention, feed-forward and the face adapter's layers. By Diffusers name.
_QUANTISED = re.compile(
    r"(blocks\.\d+\.attn[12]\.(to_[qkv]|to_out\.0|add_[kv]_proj)"
    r"|blocks\.\d+\.ffn\.net\.(0\.proj|2)"
    r"|face_adapter\.\d+\.to_(q|k|v|out))\.weight"
)


def scale_owner(name: str) -> str | None:
    """Return the weight that a tensor of this name scales; None when it is no scale."""
    for suffix in _SCALES:
        if name.endswith(suffix):
            return f"{name.removesuffix(suffix)}.weight"
    return None


def is_marker(name: str) -> bool:
    """Return whether a tensor of this name only says something about quantisation and holds nothing of the network."""
    return name == _TOP_MARKER or name.endswith(_MARKERS)


def is_quantised_parameter(name: str) -> bool:
    """Return whether the parameter of a Diffusers name is a matrix that is kept in fp8."""
    return _QUANTISED.fullmatch(name) is not None


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether no value is NaN or infinite."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    if tensor.element_size() == 1:  # torch reduces no 8-bit floats
        tensor = tensor.to(torch.bfloat16)
    # The two extremes need no memory of the tensor's size, and NaN is one of them wherever it is.
    return bool(torch.isfinite(torch.stack(tensor.aminmax())).all())


def dequantize(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return 8-bit values in fp32.

    weight: `out in`, or any shape with one number as scale.
    scale: one number, or one a row (`out` or `out 1`).
    """
    factor = scale.float()
    if factor.numel() > 1:
        factor = factor.reshape(-1, *([1] * (weight.dim() - 1)))
    return weight.float() * factor


def quantize_rowwise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight `out in` in e4m3 and its fp32 scales, `out 1`; each row's largest value becomes 448.

    A row of zeros gets the scale 1. The error is at most 1/16 of each value that is not tiny: e4m3 has 3 bits.
    """
    rows = weight.float()
    largest = rows.abs().amax(dim=1, keepdim=True)
    scale = torch.where(largest > 0, largest / _E4M3_MAX, torch.ones_like(largest))
    return (rows / scale).clamp(-_E4M3_MAX, _E4M3_MAX).to(torch.float8_e4m3fn), scale
