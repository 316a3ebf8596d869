"""Every file of the published bundles with its real names and shapes, and holes where the values would be.

The transformer's, the VAE's and the original encoders' tables are recorded (see `golden/README.md`). The saved text and
image encoders' are written out here from transformers' published naming.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from golden_weights import read_json

from animate_weights.layouts import COMPONENTS, Component, Layout
from animate_weights.safetensors_file import Shape

T5_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
CLIP_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
VAE_FILE = "Wan2.1_VAE.pth"
INDEX = "diffusion_pytorch_model.safetensors.index.json"
Table = dict[str, Shape]

_PICKLES: dict[Component, tuple[str, torch.dtype]] = {
    "vae": (VAE_FILE, torch.float32),
    "text_encoder": (T5_FILE, torch.bfloat16),
    "image_encoder": (CLIP_FILE, torch.float16),
}
# First part of the files' name, number of files and type, as published in the Diffusers layout; and the configurations.
_SAVED: dict[Component, tuple[str, int, str]] = {
    "transformer": ("diffusion_pytorch_model", 15, "F32"),
    "vae": ("diffusion_pytorch_model", 1, "F32"),
    "text_encoder": ("model", 3, "BF16"),
    "image_encoder": ("model", 1, "BF16"),
}
_CONFIGS: dict[Component, dict[str, Any]] = {
    "transformer": {"_class_name": "WanAnimateTransformer3DModel", "added_kv_proj_dim": 5120},
    "vae": {"_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": 16, "num_res_blocks": 2},
    "text_encoder": {
        "model_type": "umt5",
        "d_model": 4096,
        "d_ff": 10240,
        "d_kv": 64,
        "num_heads": 64,
        "num_layers": 24,
        "vocab_size": 256384,
        "feed_forward_proj": "gated-gelu",
    },
    "image_encoder": {
        "model_type": "clip_vision_model",
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
}


def read_shapes(name: str) -> Table:
    """A recorded table of names and shapes."""
    return {key: tuple(shape) for key, shape in read_json(name).items()}


def real_table(layout: Layout, component: Component) -> Table:
    """Names and shapes of one network's tensors as they are published."""
    if component == "transformer":
        return read_shapes(f"transformer_{layout}_shapes.json")
    if component == "vae":
        vae: dict[str, Any] = read_json("vae_original_to_diffusers.json")
        return {(name if layout == "original" else saved): tuple(shape) for name, (saved, shape) in vae.items()}
    if layout == "original":
        clip = read_shapes("clip_visual_original_shapes.json")
        return read_shapes("t5_original_shapes.json") if component == "text_encoder" else clip
    return dict(_saved_text_encoder() if component == "text_encoder" else _saved_image_encoder())


def write_real_size(
    folder: Path, layout: Layout, component: Component, table: Table | None = None, *, dtype: str = "BF16"
) -> None:
    """The files of one network, and what makes the folder a bundle. table: other tensors than the published ones.

    dtype: of the original transformer's tensors.
    """
    table = real_table(layout, component) if table is None else table
    if layout == "diffusers":
        target = folder / component
        target.mkdir(parents=True, exist_ok=True)
        (folder / "model_index.json").write_text("{}")
        (target / "config.json").write_text(json.dumps(_CONFIGS[component]))
        _write_shards(target, table, *_SAVED[component])
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = {"_class_name": "WanAnimateModel", "num_heads": 40, "num_layers": 40}
    (folder / "config.json").write_text(json.dumps(config))
    if component == "transformer":
        _write_shards(folder, table, "diffusion_pytorch_model", 4, dtype)
    else:
        name, stored = _PICKLES[component]
        more = {"textual.token_embedding.weight": (4, 4), "log_scale": ()} if component == "image_encoder" else {}
        torch.save(_hollow(table | more, stored), folder / name)


def write_real_size_bundle(folder: Path, layout: Layout = "original") -> Path:
    """All four networks."""
    for component in COMPONENTS:
        write_real_size(folder, layout, component)
    return folder


def write_sparse_safetensors(path: Path, shapes: Mapping[str, Shape], dtype: str = "BF16") -> None:
    """A safetensors file of that content that takes no room: a header, and a hole where the values would be."""
    width = {"BF16": 2, "F32": 4, "F16": 2}[dtype]
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + width * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def _write_shards(folder: Path, table: Table, stem: str, number: int, dtype: str) -> None:
    """One file, or several with an index."""
    if number == 1:
        write_sparse_safetensors(folder / f"{stem}.safetensors", table, dtype)
        return
    names, placed = list(table), {}
    for shard in range(number):
        file = f"{stem}-{shard + 1:05}-of-{number:05}.safetensors"
        mine = names[shard * len(names) // number : (shard + 1) * len(names) // number]
        write_sparse_safetensors(folder / file, {name: table[name] for name in mine}, dtype)
        placed |= dict.fromkeys(mine, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": placed}))


def _hollow(table: Table, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of those shapes that are one stored value each."""
    return {name: torch.zeros((), dtype=dtype).expand(shape) for name, shape in table.items()}


def _saved_text_encoder() -> Iterator[tuple[str, Shape]]:
    yield "shared.weight", (256384, 4096)
    for block in range(24):
        attention, dense = f"encoder.block.{block}.layer.0", f"encoder.block.{block}.layer.1"
        for matrix in "qkvo":
            yield f"{attention}.SelfAttention.{matrix}.weight", (4096, 4096)
        yield f"{attention}.SelfAttention.relative_attention_bias.weight", (32, 64)
        yield f"{attention}.layer_norm.weight", (4096,)
        yield f"{dense}.DenseReluDense.wi_0.weight", (10240, 4096)
        yield f"{dense}.DenseReluDense.wi_1.weight", (10240, 4096)
        yield f"{dense}.DenseReluDense.wo.weight", (4096, 10240)
        yield f"{dense}.layer_norm.weight", (4096,)
    yield "encoder.final_layer_norm.weight", (4096,)


def _saved_image_encoder() -> Iterator[tuple[str, Shape]]:
    head = "vision_model"
    yield f"{head}.embeddings.class_embedding", (1280,)
    yield f"{head}.embeddings.patch_embedding.weight", (1280, 3, 14, 14)
    yield f"{head}.embeddings.position_embedding.weight", (257, 1280)
    linears = {f"self_attn.{name}_proj": (1280, 1280) for name in ("q", "k", "v", "out")}
    linears |= {"mlp.fc1": (5120, 1280), "mlp.fc2": (1280, 5120)}
    for layer in range(32):
        for name, shape in linears.items():
            yield f"{head}.encoder.layers.{layer}.{name}.weight", shape
            yield f"{head}.encoder.layers.{layer}.{name}.bias", shape[:1]
    norms = [f"encoder.layers.{layer}.layer_norm{place}" for layer in range(32) for place in (1, 2)]
    for norm in ("pre_layrnorm", "post_layernorm", *norms):
        yield f"{head}.{norm}.weight", (1280,)
        yield f"{head}.{norm}.bias", (1280,)
