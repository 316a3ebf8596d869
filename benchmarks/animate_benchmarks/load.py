"""Loading a transformer of full size: time, rate and the peak of host memory. Random weights, written shard by shard.

    python -m animate_benchmarks.load FOLDER --names tests/golden/transformer_original_shapes.json [--device cuda]
    python -m animate_benchmarks.load FOLDER --names tests/golden/transformer_diffusers_shapes.json

The table of names decides the layout: 34.5 GB in bf16 for the original one, 69.1 GB in fp32 for diffusers'. FOLDER must
not exist; it is removed afterwards unless `--keep`. The host's peak is what loading adds: it should stay under the
model (where it is loaded to the CPU) + the largest shard + 1 GB. The last line of stdout is one JSON object.
`--layers 5` writes 4.8 or 9.6 GB, to try the command.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from animate_pipelines.networks import open_network
from animate_pipelines.recipe import default_recipe
from animate_weights.safetensors_file import Shape, write_safetensors

_SHARD_BYTES = {torch.bfloat16: 9_940_000_000, torch.float32: 4_980_000_000}  # the published ones' sizes
_BLOCKS_PER_FACE_BLOCK = 5


def main() -> None:
    options = _options()
    shapes = _shapes(json.loads(options.names.read_text()), options.layers)
    original = "patch_embedding.weight" in shapes and "head.head.weight" in shapes
    _write(options.folder, shapes, options.layers, original=original)
    before = _peak_bytes()
    started = time.perf_counter()
    dtype = getattr(torch, default_recipe(options.device).dtype)
    model = open_network(options.folder, "transformer").load(dtype, torch.device(options.device))
    if torch.device(options.device).type == "cuda":
        torch.cuda.synchronize(options.device)
    seconds = time.perf_counter() - started
    sizes = [path.stat().st_size for path in options.folder.rglob("*.safetensors")]
    result = {
        "layout": "original" if original else "diffusers",
        "device": options.device,
        "layers": options.layers,
        "files_bytes": sum(sizes),
        "largest_shard_bytes": max(sizes),
        "model_bytes": sum(p.numel() * p.element_size() for p in model.parameters()),
        "seconds": round(seconds, 2),
        "bytes_per_s": round(sum(sizes) / seconds),
        "host_peak_bytes": _peak_bytes() - before,
    }
    if not options.keep:
        shutil.rmtree(options.folder)
    print(json.dumps(result))


def _write(folder: Path, shapes: Mapping[str, Shape], num_layers: int, *, original: bool) -> None:
    """Config, shards and index."""
    dtype = torch.bfloat16 if original else torch.float32
    target = folder if original else folder / "transformer"
    target.mkdir(parents=True)
    if original:
        config: dict[str, object] = {"_class_name": "WanAnimateModel", "num_heads": 40, "num_layers": num_layers}
    else:
        config = {"_class_name": "WanAnimateTransformer3DModel", "added_kv_proj_dim": 5120, "num_layers": num_layers}
        (folder / "model_index.json").write_text("{}")
    (target / "config.json").write_text(json.dumps(config))
    placed: dict[str, str] = {}
    for number, names in enumerate(_shards(shapes, dtype), start=1):
        file = f"diffusion_pytorch_model-{number:05}.safetensors"
        layout = {name: (shapes[name], dtype) for name in names}
        write_safetensors(target / file, layout, ((name, _random(shapes[name], dtype)) for name in names))
        placed |= dict.fromkeys(names, file)
    index = target / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))


def _shapes(table: Mapping[str, list[int]], num_layers: int) -> dict[str, Shape]:
    """Of the table's tensors, those of the first layers."""
    shapes = {}
    for name, shape in table.items():
        block = int(name.split(".")[1]) if name.startswith("blocks.") else 0
        place = name.removeprefix("face_adapter.").removeprefix("fuser_blocks.").split(".")[0]
        face_block = int(place) if name.startswith("face_adapter.") else 0
        if block < num_layers and face_block < max(1, num_layers // _BLOCKS_PER_FACE_BLOCK):
            shapes[name] = tuple(shape)
    return shapes


def _shards(shapes: Mapping[str, Shape], dtype: torch.dtype) -> Iterator[list[str]]:
    names: list[str] = []
    size = 0
    for name, shape in shapes.items():
        num_bytes = math.prod(shape) * dtype.itemsize
        if names and size + num_bytes > _SHARD_BYTES[dtype]:
            yield names
            names, size = [], 0
        names.append(name)
        size += num_bytes
    yield names


def _random(shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float32).mul_(0.02).to(dtype)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=40, help="blocks: 40, or a multiple of five below it")
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _peak_bytes() -> int:
    """The most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
