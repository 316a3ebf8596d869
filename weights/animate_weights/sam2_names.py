"""The names of the original SAM 2 checkpoints' tensors in transformers' `Sam2VideoModel`."""

from __future__ import annotations

import re

_WHOLE = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
}
# In this order; each is a regular expression and what it becomes.
_PARTS = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"\.pix_feat_proj\.", ".feature_projection."),
    (r"\.fuser\.", ".memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv", ".pointwise_conv"),
    (r"\.gamma$", ".scale"),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
)
_MASK_DOWNSAMPLER = re.compile(r"(memory_encoder\.mask_downsampler)\.encoder\.(\d+)\.(\w+)")
# Perceptrons of two layers, and of three: transformers names the first and the last one.
_TWO_LAYERS = re.compile(r"(blocks\.\d+\.mlp|transformer\.layers\.\d\.mlp)\.layers\.([01])\.")
_THREE_LAYERS = re.compile(
    r"(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head|object_pointer_proj)\.layers\.([012])\."
)
_POINTS = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight")
_ENDS = {2: ("proj_in", "proj_out"), 3: ("proj_in", "layers.0", "proj_out")}


def sam2_name(original: str) -> str:
    """Return a tensor's name in transformers.

    All rows of `prompt_encoder.point_embed.weight` have this one name; see `point_row`.
    """
    if original in _WHOLE:
        return _WHOLE[original]
    if _POINTS.fullmatch(original):
        return "prompt_encoder.point_embed.weight"
    if match := _MASK_DOWNSAMPLER.fullmatch(original):
        return f"{match[1]}.{_downsampler_layer(int(match[2]))}.{match[3]}"
    name = original
    for pattern, replacement in _PARTS:
        name = re.sub(pattern, replacement, name)
    name = _TWO_LAYERS.sub(lambda m: f"{m[1]}.{_ENDS[2][int(m[2])]}.", name)
    name = _THREE_LAYERS.sub(lambda m: f"{m[1]}.{_ENDS[3][int(m[2])]}.", name)
    return re.sub(r"\.norm(\d?)\.", r".layer_norm\1.", name)


def point_row(original: str) -> int | None:
    """Return the row of the point embeddings that a tensor is; None for all other tensors."""
    match = _POINTS.fullmatch(original)
    return int(match[1]) if match else None


def _downsampler_layer(index: int) -> str:
    """Name a layer of the mask downsampler: convolution, norm and activation four times, then a last convolution."""
    group, kind = divmod(index, 3)
    return "final_conv" if group == 4 else f"layers.{group}.{('conv', 'layer_norm')[kind]}"
