"""Bundles in the original layout, made by code: of the recorded small networks, and of any bundle of ours renamed."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from golden_weights import golden_scale, read_json
from real_size import CLIP_FILE, INDEX, T5_FILE, VAE_FILE, real_table, write_real_size
from safetensors.torch import load_file, save_file

from animate_weights.encoder_names import image_encoder_names, text_encoder_names
from animate_weights.layouts import Layout
from animate_weights.random_weights import Scale, random_tensor

_SHARDS = 4
_MOTION = "motion_encoder.enc.net_app.convs"
_BLUR = torch.tensor([1.0, 3.0, 3.0, 1.0])
Tensors = dict[str, torch.Tensor]


def text_scale(name: str, shape: tuple[int, ...]) -> Scale:
    """The range of the recorded umT5's tensors."""
    if name == "norm.weight" or name.endswith(("norm1.weight", "norm2.weight")):
        return 0.2, 1.0
    if "pos_embedding" in name or name == "token_embedding.weight":
        return (0.5, 0.0) if "pos_embedding" in name else (1.0, 0.0)
    return (3 / shape[1]) ** 0.5 * (0.35 if ".attn.q." in name else 1.0), 0.0


def golden_tensors(part: str, scale: Callable[[str, tuple[int, ...]], Scale] = golden_scale) -> Tensors:
    """Tensors by original name of "transformer", "vae", "t5" or "clip_visual", blur kernels included."""
    shapes = {name: tuple(shape) for name, shape in read_json("tiny_shapes.json")[part].items()}
    return {
        name: torch.outer(_BLUR, _BLUR) / 64
        if name.endswith(".kernel")
        else random_tensor(name, shape, scale(name, shape))
        for name, shape in shapes.items()
    }


def write_golden_bundle(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """The recorded transformer, VAE, umT5 and CLIP as the original download has them."""
    write_shards(folder, {name: tensor.to(dtype) for name, tensor in golden_tensors("transformer").items()})
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanAnimateModel", "num_heads": 2}))
    torch.save(golden_tensors("vae"), folder / VAE_FILE)
    torch.save(golden_tensors("t5", text_scale), folder / T5_FILE)
    torch.save(_with_text_tower(golden_tensors("clip_visual")), folder / CLIP_FILE)
    return folder


def write_renamed_bundle(bundle: Path, folder: Path) -> Path:
    """The same weights as a Diffusers bundle, in the original layout, with the same tokeniser and manifest."""
    transformer = load_file(bundle / "transformer/diffusion_pytorch_model.safetensors")
    names = read_json("transformer_original_to_diffusers.json")
    original = {name: _joined(name, to, transformer) for name, to in names.items() if _has(name, to, transformer)}
    last = 1 + max(int(name.split(".")[4]) for name in original if ".conv1." in name)
    original[f"{_MOTION}.{last}.weight"] = original.pop(f"{_MOTION}.8.weight")
    write_shards(folder, original)
    heads = json.loads((bundle / "transformer/config.json").read_text())["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps({"_class_name": "WanAnimateModel", "num_heads": heads}))
    vae = load_file(bundle / "vae/diffusion_pytorch_model.safetensors")
    vae_names = {name: [renamed] for name, (renamed, _) in read_json("vae_original_to_diffusers.json").items()}
    torch.save({name: vae[targets[0]] for name, targets in vae_names.items()}, folder / VAE_FILE)
    text = load_file(bundle / "text_encoder/model.safetensors")
    torch.save(_renamed(text, read_json("t5_original_shapes.json"), text_encoder_names), folder / T5_FILE)
    image = {
        k.removeprefix("vision_model."): v for k, v in load_file(bundle / "image_encoder/model.safetensors").items()
    }
    visual = _renamed(image, read_json("clip_visual_original_shapes.json"), image_encoder_names)
    visual["visual.cls_embedding"] = visual["visual.cls_embedding"][None, None]
    visual["visual.pos_embedding"] = visual["visual.pos_embedding"][None]
    torch.save(_with_text_tower({name.removeprefix("visual."): t for name, t in visual.items()}), folder / CLIP_FILE)
    shutil.copytree(bundle / "tokenizer", folder / "google/umt5-xxl")
    shutil.copytree(bundle / "process_checkpoint", folder / "process_checkpoint")
    shutil.copytree(bundle / "loras", folder / "loras")
    shutil.copy(bundle / "manifest.json", folder)
    return folder


def write_shards(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Four safetensors files and their index, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(tensors)
    placed: dict[str, str] = {}
    for shard in range(_SHARDS):
        file = f"diffusion_pytorch_model-{shard + 1:05}-of-{_SHARDS:05}.safetensors"
        mine = names[shard * len(names) // _SHARDS : (shard + 1) * len(names) // _SHARDS]
        save_file({name: tensors[name].contiguous() for name in mine}, folder / file)
        placed |= dict.fromkeys(mine, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}))


def _with_text_tower(visual: Tensors) -> Tensors:
    """What else the published CLIP file holds."""
    renamed = {f"visual.{name}": tensor for name, tensor in visual.items()}
    return renamed | {"textual.token_embedding.weight": torch.zeros(4, 4), "log_scale": torch.zeros(())}


def _renamed(tensors: Tensors, originals: Mapping[str, Any], rename: Callable[[str], tuple[str, ...]]) -> Tensors:
    found = {name: rename(name) for name in originals}
    return {
        name: torch.cat([tensors[target] for target in targets])
        for name, targets in found.items()
        if targets and all(target in tensors for target in targets)
    }


def _has(name: str, targets: list[str], tensors: Tensors) -> bool:
    if name.endswith(".kernel"):
        block = int(name.split(".")[4]) - 1
        return f"motion_encoder.res_blocks.{block}.conv1.weight" in tensors
    return all(target in tensors for target in targets) and bool(targets)


def _joined(name: str, targets: list[str], tensors: Tensors) -> torch.Tensor:
    if name.endswith(".kernel"):
        return torch.outer(_BLUR, _BLUR) / 64
    tensor = torch.cat([tensors[target] for target in targets])
    return tensor.view(1, -1, 1, 1) if name.startswith("motion_encoder.enc.net_app") and tensor.dim() == 1 else tensor


def write_sparse_shards(folder: Path, layout: Layout, *, width: int, ffn_width: int, num_layers: int) -> int:
    """A scaled-down transformer in fp32 with holes for values, in the published names. Bytes of all its parameters."""
    sizes = {5120: width, 13824: ffn_width, 30720: 6 * width, 10240: 2 * width}
    shapes = {
        name: tuple(sizes.get(size, size) for size in shape)
        for name, shape in real_table(layout, "transformer").items()
        if _number(name, "blocks.") < num_layers
        and _number(name.replace("fuser_blocks.", ""), "face_adapter.") * 5 < num_layers
    }
    heads = width // 128
    small = {"num_attention_heads": heads, "ffn_dim": ffn_width, "num_layers": num_layers, "added_kv_proj_dim": width}
    write_real_size(folder, layout, "transformer", shapes, dtype="F32")
    config = folder / "config.json" if layout == "original" else folder / "transformer/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | small | {"num_heads": heads}))
    return sum(4 * math.prod(shape) for name, shape in shapes.items() if not name.endswith(".kernel"))


def _number(name: str, prefix: str) -> int:
    """The block's, in names that begin so; 0 in others."""
    return int(name.removeprefix(prefix).split(".")[0]) if name.startswith(prefix) else 0
