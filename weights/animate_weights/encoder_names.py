"""The names of the original VAE's, text encoder's and image encoder's tensors in diffusers and transformers.

As in `names`, each function returns one name, several for equal parts of a tensor's rows, or none for a tensor that is
not used.
"""

from __future__ import annotations

import re

_TEXT_LAYERS = {
    "norm1": "layer.0.layer_norm",
    "norm2": "layer.1.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_IMAGE_LAYERS = {
    "norm1": ("layer_norm1",),
    "norm2": ("layer_norm2",),
    "attn.to_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.proj": ("self_attn.out_proj",),
    "mlp.0": ("mlp.fc1",),
    "mlp.2": ("mlp.fc2",),
}
_IMAGE_WHOLE = {
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "pre_norm.weight": "pre_layrnorm.weight",
    "pre_norm.bias": "pre_layrnorm.bias",
    "post_norm.weight": "post_layernorm.weight",
    "post_norm.bias": "post_layernorm.bias",
}
_RESIDUAL = {"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2"}
_RESIDUAL |= {"shortcut": "conv_shortcut"}
_VAE_ENDS = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    "encoder.conv1": "encoder.conv_in",
    "decoder.conv1": "decoder.conv_in",
    "encoder.head.0": "encoder.norm_out",
    "decoder.head.0": "decoder.norm_out",
    "encoder.head.2": "encoder.conv_out",
    "decoder.head.2": "decoder.conv_out",
}
_VAE_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_LEVEL = 4  # modules at a level of the decoder: three residual blocks and an upsampler


def text_encoder_names(original: str) -> tuple[str, ...]:
    """Translate a name of umT5, `models_t5_umt5-xxl-enc-bf16.pth`, for transformers' `UMT5EncoderModel`."""
    if original == "token_embedding.weight":
        return ("shared.weight",)
    if original == "norm.weight":
        return ("encoder.final_layer_norm.weight",)
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", original)
    if match and match[2] in _TEXT_LAYERS:
        return (f"encoder.block.{match[1]}.{_TEXT_LAYERS[match[2]]}.weight",)
    return (original,)


def image_encoder_names(original: str) -> tuple[str, ...]:
    """Translate a name of CLIP's vision tower for transformers' `CLIPVisionModel`.

    The text tower and the projection are not used.
    """
    if original.startswith("textual.") or original in ("log_scale", "visual.head"):
        return ()
    name = original.removeprefix("visual.")
    if name in _IMAGE_WHOLE:
        return (_IMAGE_WHOLE[name],)
    match = re.fullmatch(r"transformer\.(\d+)\.(.+)\.(weight|bias)", name)
    if match and match[2] in _IMAGE_LAYERS:
        return tuple(f"encoder.layers.{match[1]}.{layer}.{match[3]}" for layer in _IMAGE_LAYERS[match[2]])
    return (original,)


def vae_names(original: str) -> tuple[str, ...]:
    """Translate a name of `Wan2.1_VAE.pth` for diffusers' `AutoencoderKLWan`."""
    layer, _, parameter = original.rpartition(".")
    if layer in _VAE_ENDS:
        return (f"{_VAE_ENDS[layer]}.{parameter}",)
    match = re.fullmatch(r"(encoder|decoder)\.(downsamples|upsamples|middle)\.(\d+)\.(.+)", layer)
    if not match:
        return (original,)
    side, part, index, rest = match.groups()
    rest = _RESIDUAL.get(rest, rest)
    if part == "middle":
        return (f"{side}.mid_block.{_VAE_MIDDLE.get(index, index)}.{rest}.{parameter}",)
    if part == "downsamples":
        return (f"{side}.down_blocks.{index}.{rest}.{parameter}",)
    level, place = divmod(int(index), _LEVEL)
    module = "upsamplers.0" if place == _LEVEL - 1 else f"resnets.{place}"
    return (f"{side}.up_blocks.{level}.{module}.{rest}.{parameter}",)


def saved_text_encoder_names(name: str) -> tuple[str, ...]:
    """Translate a name of a file that transformers wrote; the embedding may be stored twice."""
    return () if name == "encoder.embed_tokens.weight" else (name,)


def saved_image_encoder_names(name: str) -> tuple[str, ...]:
    """Translate a name of a file that transformers wrote.

    Its versions write a model's names with or without a prefix, and older ones write buffers as well.
    """
    plain = name.removeprefix("vision_model.")
    return () if plain == "embeddings.position_ids" else (plain,)
