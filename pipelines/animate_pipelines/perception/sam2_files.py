"""SAM 2's tracker from the original checkpoint, `sam2_hiera_large.pt`, as it lies beside Wan2.2-Animate-14B.

transformers reads its own layout only; the published one is renamed here, a tensor at a time, and checked strictly.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import init_empty_weights
from transformers import Sam2VideoConfig, Sam2VideoModel

from animate_pipelines.errors import BundleError
from animate_weights.sam2_names import point_row, sam2_name

CHECKPOINT_NAME = "sam2_hiera_large.pt"
_EMBEDDING = "positional_embedding"  # one tensor under two names in transformers
_TWINS = {f"prompt_encoder.shared_embedding.{_EMBEDDING}": f"shared_image_embedding.{_EMBEDDING}"}


def hiera_large_config() -> Sam2VideoConfig:
    """Return the configuration of SAM 2.0 with its large encoder (sam2_hiera_l.yaml).

    Values that are not set here are the same in 2.1.
    """
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "window_positional_embedding_background_size": [7, 7],
        "global_attention_blocks": [23, 33, 43],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [1152, 576, 288, 144],
    }
    return Sam2VideoConfig(
        vision_config=vision,
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
    )


def load_original(path: Path) -> Sam2VideoModel:
    """Load the tracker with the checkpoint's values, on the CPU in float32.

    Raises `BundleError` for a file that does not fit.
    """
    try:
        saved = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        tensors: dict[str, torch.Tensor] = saved["model"]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise BundleError(f"{path.name} cannot be read: {error}", field="bundle", value=str(path)) from error
    with init_empty_weights(include_buffers=False):
        model = Sam2VideoModel(hiera_large_config())
    model.load_state_dict(renamed(tensors, {k: v.shape for k, v in model.state_dict().items()}), assign=True)
    return model


def renamed(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Return the checkpoint's tensors under transformers' names.

    shapes: those that the model needs, all of them and no others.
    Raises `BundleError` with the first tensor that is wrong.
    """
    result: dict[str, torch.Tensor] = {}
    points: dict[int, torch.Tensor] = {}
    for original, tensor in tensors.items():
        row = point_row(original)
        if row is None:
            result[sam2_name(original)] = tensor
        else:
            points[row] = tensor
    if points:
        result[sam2_name("sam_prompt_encoder.point_embeddings.0.weight")] = torch.cat(
            [points[row] for row in sorted(points)]
        )
    for name, twin in _TWINS.items():
        if name in result:
            result[twin] = result[name]
    for name in shapes.keys() | result.keys():
        needed, shape = shapes.get(name), result[name].shape if name in result else None
        if needed != shape:
            problem = "is missing" if shape is None else "is not of this network"
            problem = f"is {tuple(shape)}, not {tuple(needed)}" if shape is not None and needed is not None else problem
            raise BundleError(f"{CHECKPOINT_NAME}: {name} {problem}", field="bundle", value=name)
    return result
