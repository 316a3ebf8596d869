"""Measures loading a transformer of full size: time, rate, peaks of memory. Random weights, written shard by shard.

    python -m animate_benchmarks.load FOLDER --names tests/golden/transformer_original_shapes.json [--device cuda]
    python -m animate_benchmarks.load FOLDER --names tests/golden/transformer_diffusers_shapes.json

The table of names decides the layout: 34.5 GB in bf16 for the original one, 69.1 GB in fp32 for diffusers'. FOLDER must
not exist; it is removed afterwards unless `--keep`. The last line of stdout is one JSON object. Its `host_peak_bytes`
is the memory that loading adds, and must stay under `host_bound_bytes`: the model (where it is loaded to the CPU) + the
largest shard + 1 GB. `--device meta` reads and converts everything as for a GPU, and drops it: for hosts that cannot
hold the model. `--layers 5` writes 4.8 or 9.6 GB, to try the command.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import torch

from animate_pipelines.loading.execution import default_execution
from animate_pipelines.loading.networks import open_network
from animate_weights.safetensors_file import Shape, write_safetensors

_SHARD_BYTES = {torch.bfloat16: 9_940_000_000, torch.float32: 4_980_000_000}  # the published ones' sizes
_BLOCKS_PER_FACE_BLOCK = 5
_SLACK_BYTES = 1_000_000_000


def main() -> None:
    options = _options()
    if options.folder.exists():
        raise SystemExit(f"{options.folder} exists")
    try:
        # in a process of its own, so that its memory is not taken for that of loading
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(options,))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the weights could not be written")
        result = _load(options)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder, ignore_errors=True)
    print(json.dumps(result))


def _load(options: argparse.Namespace) -> dict[str, object]:
    dtype = options.dtype or default_execution(options.device).dtype
    network = open_network(options.folder, "transformer")
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    model = network.load(getattr(torch, dtype), torch.device(options.device), fp8=options.fp8)
    device_peak = 0
    if torch.device(options.device).type == "cuda":
        torch.cuda.synchronize(options.device)
        device_peak = torch.cuda.max_memory_allocated(options.device)
    seconds = time.perf_counter() - started
    host_peak = _peak_bytes() - before
    sizes = [path.stat().st_size for path in options.folder.rglob("*.safetensors")]
    tensors = [*model.parameters(), *model.buffers()]
    bound = max(sizes) + _SLACK_BYTES + sum(tensor.nbytes for tensor in tensors if tensor.device.type == "cpu")
    return {
        "layout": "diffusers" if (options.folder / "model_index.json").is_file() else "original",
        "device": options.device,
        "dtype": dtype,
        "fp8": options.fp8,
        "layers": options.layers,
        "files_bytes": sum(sizes),
        "largest_shard_bytes": max(sizes),
        "model_bytes": sum(tensor.nbytes for tensor in tensors),
        "seconds": round(seconds, 2),
        "bytes_per_s": round(sum(sizes) / seconds),
        "host_peak_bytes": host_peak,
        "host_bound_bytes": bound,
        "device_peak_bytes": device_peak,
        "within_bound": host_peak <= bound,
    }


def _write(options: argparse.Namespace) -> None:
    """Write config, shards and index of the table's first layers."""
    shapes = _shapes(json.loads(options.names.read_text()), options.layers)
    original = "patch_embedding.weight" in shapes and "head.head.weight" in shapes
    _write_layout(options.folder, shapes, options.layers, original=original)


def _write_layout(folder: Path, shapes: Mapping[str, Shape], num_layers: int, *, original: bool) -> None:
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
    # the same values in every tensor: to draw them anew, or to copy them, takes longer than to write them
    values = torch.randn(max(map(math.prod, shapes.values()))).mul_(0.02).to(dtype)
    for number, names in enumerate(_shards(shapes, dtype), start=1):
        file = f"diffusion_pytorch_model-{number:05}.safetensors"
        layout = {name: (shapes[name], dtype) for name in names}
        tensors = ((name, values[: math.prod(shapes[name])].reshape(shapes[name])) for name in names)
        write_safetensors(target / file, layout, tensors)
        placed |= dict.fromkeys(names, file)
    index = target / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))


def _shapes(table: Mapping[str, list[int]], num_layers: int) -> dict[str, Shape]:
    """Return the shapes of the first layers' tensors."""
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="to load in; default: the device's recipe")
    parser.add_argument("--fp8", action="store_true", help="keep the blocks' matrices in 8 bits")
    parser.add_argument(
        "--layers", type=int, default=40, choices=range(_BLOCKS_PER_FACE_BLOCK, 41, _BLOCKS_PER_FACE_BLOCK)
    )
    parser.add_argument("--keep", action="store_true")
    return parser.parse_args()


def _peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
