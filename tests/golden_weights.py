"""The small networks that the recorded values were made with: weights from names, in the original layout's names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel

from animate_weights.names import diffusers_names
from animate_weights.random_weights import Scale, random_tensor

GOLDEN = Path(__file__).parent / "golden"
_AFFINE_IMAGE_NORMS = ("img_emb.proj.0.weight", "img_emb.proj.4.weight")


def read_json(name: str) -> Any:
    return json.loads((GOLDEN / name).read_text())


def golden_scale(name: str, shape: tuple[int, ...]) -> Scale:
    """The range a tensor of that original name was drawn from."""
    if "motion_encoder" in name:
        return (0.1, 0.0) if name.endswith(".bias") else (math.sqrt(3), 0.0)
    if name.endswith("padding_tokens"):
        return 0.5, 0.0
    if name.endswith("modulation"):
        return 0.3, 0.0
    is_norm = "norm" in name and name.endswith(".weight") and len(shape) == 1
    if is_norm or name in _AFFINE_IMAGE_NORMS or name.endswith(".gamma"):
        return 0.2, 1.0
    if name.endswith(".bias"):
        return 0.1, 0.0
    return math.sqrt(3 / (math.prod(shape[1:]) if len(shape) > 1 else shape[0])), 0.0


def golden_transformer() -> WanAnimateTransformer3DModel:
    """256 wide, 2 heads, 10 layers, with motion and face encoders of real size."""
    model = WanAnimateTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=128,
        text_dim=64,
        freq_dim=256,
        ffn_dim=512,
        num_layers=10,
        image_dim=1280,
        added_kv_proj_dim=256,
    )
    weights: dict[str, torch.Tensor] = {}
    for name, shape in read_json("tiny_shapes.json")["transformer"].items():
        names = diffusers_names(name)
        tensor = random_tensor(name, tuple(shape), golden_scale(name, tuple(shape)))
        parts = tensor.chunk(len(names)) if len(names) > 1 else [tensor] * len(names)
        weights |= dict(zip(names, parts, strict=True))
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    model.load_state_dict({name: tensor.reshape(shapes[name]) for name, tensor in weights.items()})
    return model.eval().requires_grad_(False)


def golden_vae() -> AutoencoderKLWan:
    """8 channels at the base."""
    model = AutoencoderKLWan(base_dim=8, z_dim=16)
    renamed = read_json("vae_original_to_diffusers.json")
    weights = {
        renamed[name][0]: random_tensor(name, tuple(shape), golden_scale(name, tuple(shape)))
        for name, shape in read_json("tiny_shapes.json")["vae"].items()
    }
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
