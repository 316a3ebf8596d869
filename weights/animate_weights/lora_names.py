"""The spellings of LoRA keys: what trainers put before and into a layer's original name.

ComfyUI and LightX2V put `diffusion_model.` before it, diffusers `transformer.`, PEFT `base_model.model.` and the name
of the adapter behind the factor; kohya's sd-scripts and musubi-tuner put `lora_unet_` before it, and underscores for
its dots.
"""

from __future__ import annotations

import re

_PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.")
_KOHYA = "lora_unet_"
_ADAPTER = re.compile(r"\.(lora_[AB]|lora_down|lora_up)\.[\w-]+\.weight$")
# Parts of layer names that have underscores of their own; every other underscore of a kohya name was a dot.
_PARTS = frozenset(
    (
        *("self_attn", "cross_attn", "k_img", "v_img", "norm_q", "norm_k", "norm_k_img"),
        *("patch_embedding", "pose_patch_embedding", "text_embedding", "time_embedding", "time_projection", "img_emb"),
        *("face_adapter", "fuser_blocks", "linear1_kv", "linear1_q", "q_norm", "k_norm", "face_encoder", "conv1_local"),
        *("motion_encoder", "net_app", "to_q", "to_k", "to_v", "to_out", "add_k_proj", "add_v_proj", "norm_added_k"),
        *("condition_embedder", "text_embedder", "time_embedder", "image_embedder", "time_proj"),
        *("linear_1", "linear_2", "proj_out", "out_proj", "scale_shift_table"),
    )
)
_MOST_WORDS = max(part.count("_") + 1 for part in _PARTS)


def plain_key(key: str) -> str:
    """Return a LoRA's key by the layer's own name: without prefix, without the adapter's name, with dots."""
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    if key.startswith(_KOHYA):
        layer, dot, kind = key.removeprefix(_KOHYA).partition(".")
        key = _dotted(layer) + dot + kind
    return _ADAPTER.sub(r".\1.weight", key)


def _dotted(layer: str) -> str:
    """Return a layer's name of words that underscores join, with dots between its parts: the longest parts first."""
    words, parts = layer.split("_"), []
    while words:
        for count in range(min(_MOST_WORDS, len(words)), 0, -1):
            part = "_".join(words[:count])
            if count == 1 or part in _PARTS:
                parts.append(part)
                del words[:count]
                break
    return ".".join(parts)
