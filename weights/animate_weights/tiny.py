"""The `tiny` bundle: every network of the real one, a few channels wide, with random weights made by code.

It exists to run the whole way through on a laptop in seconds. Its pictures are noise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanAnimateTransformer3DModel
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel
from transformers.utils import logging as hub_logging

from animate_weights.manifest import DETECTOR_PATH, MANIFEST_NAME, POSE_PATH, Manifest
from animate_weights.random_weights import default_scale, random_tensor, random_weights
from animate_weights.stand_ins import write_detector, write_pose_network

_WIDTH, _HEADS, _LAYERS = 48, 2, 5
_FFN_WIDTH = 96
_TEXT_WIDTH, _IMAGE_WIDTH = 32, 32
_LORA_RANK = 4
_LORA_PATH = "loras/lightx2v_4step.safetensors"

_MANIFEST = Manifest(
    name="tiny",
    render_areas=((128, 72),),
    segment_frames=17,
    steps=2,
    shift=5.0,
    turbo_lora=_LORA_PATH,
    turbo_steps=4,
    warning="the bundle 'tiny' has random weights: the picture is noise",
    reads="nothing",
)

TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": _HEADS,
    "attention_head_dim": _WIDTH // _HEADS,
    "text_dim": _TEXT_WIDTH,
    "freq_dim": 32,
    "ffn_dim": _FFN_WIDTH,
    "num_layers": _LAYERS,
    "image_dim": _IMAGE_WIDTH,
    "added_kv_proj_dim": _WIDTH,
    "motion_encoder_size": 32,
    "motion_encoder_channel_sizes": {"4": 16, "8": 16, "16": 8, "32": 8},
    "motion_style_dim": 16,
    "motion_dim": 4,
    "motion_encoder_dim": 16,
    "face_encoder_hidden_dim": 16,
    "face_encoder_num_heads": 2,
}
_VAE: dict[str, Any] = {"base_dim": 8, "z_dim": 16, "num_res_blocks": 1}
_TEXT: dict[str, Any] = {
    "d_model": _TEXT_WIDTH,
    "d_kv": 8,
    "d_ff": 64,
    "num_heads": 4,
    "num_layers": 2,
    "feed_forward_proj": "gated-gelu",
}
_IMAGE: dict[str, Any] = {
    "hidden_size": _IMAGE_WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
    "hidden_act": "gelu",
}


def write_tiny_bundle(folder: Path) -> None:
    """Write the bundle's files into an existing folder: Diffusers layout, `process_checkpoint`, LoRA, manifest."""
    hub_logging.disable_progress_bar()
    write_json(folder / "model_index.json", model_index())
    write_json(folder / "image_processor/preprocessor_config.json", image_processor_config(_IMAGE["image_size"]))
    tokenizer = character_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    scheduler(_MANIFEST.shift).save_pretrained(folder / "scheduler")
    _write_model(WanAnimateTransformer3DModel(**TRANSFORMER), folder / "transformer")
    _write_model(AutoencoderKLWan(**_VAE), folder / "vae")
    _write_model(UMT5EncoderModel(UMT5Config(vocab_size=len(tokenizer), **_TEXT)), folder / "text_encoder")
    _write_model(CLIPVisionModel(CLIPVisionConfig(**_IMAGE)), folder / "image_encoder")
    write_detector(folder / DETECTOR_PATH)
    write_pose_network(folder / POSE_PATH)
    _write_lora(folder / _LORA_PATH)
    write_json(folder / MANIFEST_NAME, _MANIFEST.to_json())


def model_index() -> dict[str, Any]:
    """Return the `model_index.json` of the published pipeline."""
    return {
        "_class_name": "WanAnimatePipeline",
        "_diffusers_version": "0.36.0.dev0",
        "image_encoder": ["transformers", "CLIPVisionModel"],
        "image_processor": ["transformers", "CLIPImageProcessor"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanAnimateTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def image_processor_config(side_px: int) -> dict[str, Any]:
    """Return the `preprocessor_config.json` of CLIP for images of `side_px`."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side_px},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": side_px, "width": side_px},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "do_convert_rgb": True,
    }


def scheduler(shift: float) -> UniPCMultistepScheduler:
    """Return the scheduler whose configuration the published pipeline ships."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, final_sigmas_type="zero"
    )


def character_tokenizer() -> T5TokenizerFast:
    """Return a T5 tokeniser of printable ASCII, one token a character; anything else is `<unk>`."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    return T5TokenizerFast(vocab=specials + [(chr(code), -3.0) for code in range(33, 127)], extra_ids=0)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` as readable JSON and make the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _write_model(model: Any, folder: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
    model.load_state_dict(random_weights(shapes), strict=False)
    model.save_pretrained(folder)


def _write_lora(path: Path) -> None:
    """Write a few-step LoRA in the lightx2v form, small enough to leave the random picture a random picture."""
    tensors: dict[str, torch.Tensor] = {}
    for block in range(_LAYERS):
        layers = {f"self_attn.{name}": (_WIDTH, _WIDTH) for name in "qkvo"}
        layers |= {"ffn.0": (_FFN_WIDTH, _WIDTH), "ffn.2": (_WIDTH, _FFN_WIDTH)}
        for layer, (rows, columns) in layers.items():
            key = f"diffusion_model.blocks.{block}.{layer}"
            shapes = {"lora_down.weight": (_LORA_RANK, columns), "lora_up.weight": (rows, _LORA_RANK)}
            for part, shape in shapes.items():
                tensors[f"{key}.{part}"] = random_tensor(f"{key}.{part}", shape, default_scale("lora", shape))
            tensors[f"{key}.diff_b"] = random_tensor(f"{key}.diff_b", (rows,), (0.01, 0.0))
        key = f"diffusion_model.blocks.{block}.diff_m"
        tensors[key] = random_tensor(key, (1, 6, _WIDTH), (0.01, 0.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
