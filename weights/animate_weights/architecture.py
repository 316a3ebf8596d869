"""The sizes of the original checkpoint's networks, read off their tensors' shapes.

The original files come with a configuration for the transformer only, and its single-file copies with none at all.
What shapes do not tell is as published: the width of a head, the VAE's levels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from animate_weights.checkpoint import StoredTensor
from animate_weights.errors import BundleError
from animate_weights.layouts import Component

_TRANSFORMER_HEAD = 128
_PATCH_AREA = 4
# 16 heads of 80 as published; 4 in the small networks made by code.
_CLIP_WIDTH, _CLIP_HEADS, _SMALL_CLIP_HEADS = 1280, 16, 4
_MOTION = "motion_encoder.enc.net_app.convs"
_MOTION_LAST_PX = 4  # side of the motion encoder's last feature map

# Names that one network alone has, in either layout.
_TELLING: dict[str, Component] = {
    "patch_embedding.weight": "transformer",
    "encoder.conv1.weight": "vae",
    "encoder.conv_in.weight": "vae",
    "token_embedding.weight": "text_encoder",
    "shared.weight": "text_encoder",
    "visual.patch_embedding.weight": "image_encoder",
    "embeddings.patch_embedding.weight": "image_encoder",
    "vision_model.embeddings.patch_embedding.weight": "image_encoder",
}
_LORA_PARTS = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight")

Tensors = Mapping[str, StoredTensor]


def recognise(tensors: Collection[str]) -> str | None:
    """Return what a file with tensors of these names holds, in words; None when that is not known."""
    if any(name.endswith(_LORA_PARTS) for name in tensors):
        return "LoRA"
    return next((component for name, component in _TELLING.items() if name in tensors), None)


def transformer_options(tensors: Tensors, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of diffusers' `WanAnimateTransformer3DModel`.

    tensors: names and shapes of the original file.
    config: the original `config.json`, or empty.
    """
    width, in_channels = _shape(tensors, "patch_embedding.weight")[:2]
    heads = config.get("num_heads", width // _TRANSFORMER_HEAD)
    return _motion_options(tensors) | {
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "in_channels": in_channels,
        "latent_channels": _shape(tensors, "pose_patch_embedding.weight")[1],
        "out_channels": _shape(tensors, "head.head.weight")[0] // _PATCH_AREA,
        "text_dim": _shape(tensors, "text_embedding.0.weight")[1],
        "freq_dim": _shape(tensors, "time_embedding.0.weight")[1],
        "ffn_dim": _shape(tensors, "blocks.0.ffn.0.weight")[0],
        "num_layers": config.get("num_layers", _count(tensors, r"blocks\.(\d+)\.")),
        "image_dim": _shape(tensors, "img_emb.proj.1.weight")[1],
        "added_kv_proj_dim": width,
    }


def _motion_options(tensors: Tensors) -> dict[str, Any]:
    """Return the arguments of the motion and face encoders.

    Each residual block of the motion encoder halves the side of the picture.
    """
    blocks = _count(tensors, re.escape(_MOTION) + r"\.(\d+)\.conv1\.") - 1  # they count from 1
    side = _MOTION_LAST_PX << max(blocks, 0)
    channels = {str(side): _shape(tensors, f"{_MOTION}.0.0.weight")[0]}
    for block in range(1, blocks + 1):
        channels[str(side >> block)] = _shape(tensors, f"{_MOTION}.{block}.conv2.1.weight")[0]
    width, features = _shape(tensors, "motion_encoder.dec.direction.weight")
    face_width = _shape(tensors, "face_encoder.conv2.conv.weight")[0]
    return {
        "motion_encoder_size": side,
        "motion_encoder_channel_sizes": channels,
        "motion_style_dim": _shape(tensors, f"{_MOTION}.{blocks + 1}.weight")[0],
        "motion_dim": features,
        "motion_encoder_dim": width,
        "face_encoder_hidden_dim": face_width,
        "face_encoder_num_heads": _shape(tensors, "face_encoder.conv1_local.conv.weight")[0] // face_width,
    }


def text_encoder_options(tensors: Tensors) -> dict[str, Any]:
    """Return the arguments of transformers' `UMT5Config`."""
    vocabulary, width = _shape(tensors, "token_embedding.weight")
    buckets, heads = _shape(tensors, "blocks.0.pos_embedding.embedding.weight")
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": _shape(tensors, "blocks.0.attn.q.weight")[0] // heads,
        "d_ff": _shape(tensors, "blocks.0.ffn.fc1.weight")[0],
        "num_heads": heads,
        "num_layers": _count(tensors, r"blocks\.(\d+)\."),
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
    }


def image_encoder_options(tensors: Tensors) -> dict[str, Any]:
    """Return the arguments of transformers' `CLIPVisionConfig`."""
    width, _, patch, _ = _shape(tensors, "visual.patch_embedding.weight")
    num_patches = _shape(tensors, "visual.pos_embedding")[1] - 1
    return {
        "hidden_size": width,
        "intermediate_size": _shape(tensors, "visual.transformer.0.mlp.0.weight")[0],
        "num_hidden_layers": _count(tensors, r"visual\.transformer\.(\d+)\."),
        "num_attention_heads": _CLIP_HEADS if width == _CLIP_WIDTH else _SMALL_CLIP_HEADS,
        "image_size": math.isqrt(num_patches) * patch,
        "patch_size": patch,
        "hidden_act": "gelu",
    }


def vae_options(tensors: Tensors) -> dict[str, Any]:
    """Return the arguments of diffusers' `AutoencoderKLWan`."""
    return {
        "base_dim": _shape(tensors, "encoder.conv1.weight")[0],
        "z_dim": _shape(tensors, "conv2.weight")[0],
    }


def _shape(tensors: Tensors, name: str) -> tuple[int, ...]:
    if name not in tensors:
        raise BundleError(f"{name} is missing", field="bundle", value=name)
    return tensors[name].shape


def _count(tensors: Tensors, pattern: str) -> int:
    found = [int(match[1]) for name in tensors if (match := re.match(pattern, name))]
    return max(found, default=-1) + 1
