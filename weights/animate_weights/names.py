"""The names of the published transformer's tensors in the Diffusers layout.

The original checkpoint, its LoRAs and its quantised variants use the original names; our modules have diffusers'.
"""

from __future__ import annotations

import re

_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_k_img": "norm_added_k",
}
_FACE = {"linear1_q": "to_q", "linear2": "to_out", "q_norm": "norm_q", "k_norm": "norm_k"}
_EMBEDDERS = {
    "text_embedding.0": "text_embedder.linear_1",
    "text_embedding.2": "text_embedder.linear_2",
    "time_embedding.0": "time_embedder.linear_1",
    "time_embedding.2": "time_embedder.linear_2",
    "time_projection.1": "time_proj",
    "img_emb.proj.0": "image_embedder.norm1",
    "img_emb.proj.1": "image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "image_embedder.ff.net.2",
    "img_emb.proj.4": "image_embedder.norm2",
}
_FEED_FORWARD = {"0": "net.0.proj", "2": "net.2"}


def diffusers_names(original: str) -> tuple[str, ...]:
    """Return the Diffusers names of an original tensor or layer name.

    There are two where one tensor became two (a face block's keys and values, halves of its rows), none for the
    constant blur kernels, and one otherwise. A name that needs no change, or that is unknown, is returned as it is.
    """
    if original.startswith("motion_encoder."):
        return _motion_encoder(original)
    if match := re.fullmatch(r"face_adapter\.fuser_blocks\.(\d+)\.(\w+)(.*)", original):
        block, layer, rest = match.groups()
        layers = ("to_k", "to_v") if layer == "linear1_kv" else (_FACE.get(layer, layer),)
        return tuple(f"face_adapter.{block}.{name}{rest}" for name in layers)
    return (_backbone(original),)


def _backbone(name: str) -> str:
    for original, renamed in _EMBEDDERS.items():
        if name == original or name.startswith(f"{original}."):
            return f"condition_embedder.{renamed}{name.removeprefix(original)}"
    if match := re.fullmatch(r"blocks\.(\d+)\.(self|cross)_attn\.(\w+)(.*)", name):
        block, kind, layer, rest = match.groups()
        attention = "attn1" if kind == "self" else "attn2"
        return f"blocks.{block}.{attention}.{_ATTENTION.get(layer, layer)}{rest}"
    name = re.sub(r"^(blocks\.\d+)\.ffn\.(\d)(?=\.|$)", lambda m: f"{m[1]}.ffn.{_FEED_FORWARD.get(m[2], m[2])}", name)
    name = re.sub(r"^(blocks\.\d+)\.norm3\b", r"\1.norm2", name)
    name = re.sub(r"^(blocks\.\d+)\.modulation$", r"\1.scale_shift_table", name)
    name = re.sub(r"^head\.head\b", "proj_out", name)
    name = re.sub(r"^head\.modulation$", "scale_shift_table", name)
    return re.sub(r"^face_encoder\.conv(1_local|2|3)\.conv\.", r"face_encoder.conv\1.", name)


def _motion_encoder(name: str) -> tuple[str, ...]:
    if name.endswith(".kernel"):
        return ()
    name = name.removeprefix("motion_encoder.")
    if match := re.fullmatch(r"enc\.net_app\.convs\.(\d+)\.(.+)", name):
        return (f"motion_encoder.{_motion_convolution(int(match[1]), match[2])}",)
    name = re.sub(r"^enc\.fc\.", "motion_network.", name)
    return (f"motion_encoder.{name.replace('dec.direction.weight', 'motion_synthesis_weight')}",)


def _motion_convolution(index: int, rest: str) -> str:
    if index == 0:
        return {"0.weight": "conv_in.weight", "1.bias": "conv_in.act_fn.bias"}[rest]
    if rest == "weight":
        return "conv_out.weight"
    block = f"res_blocks.{index - 1}"
    return {
        "conv1.0.weight": f"{block}.conv1.weight",
        "conv1.1.bias": f"{block}.conv1.act_fn.bias",
        "conv2.1.weight": f"{block}.conv2.weight",
        "conv2.2.bias": f"{block}.conv2.act_fn.bias",
        "skip.1.weight": f"{block}.conv_skip.weight",
    }[rest]
