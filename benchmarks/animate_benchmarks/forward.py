"""One transformer forward at full size with random weights: ours beside diffusers', and the ceilings of the device.

    python -m animate_benchmarks.forward [--device cuda] [--size 1280x720] [--frames 77] [--layers 40] [--repeats 5]

Speed does not depend on the weights' values. Both sides run the same module in the same process, turn about. The last
line of stdout is one JSON object. `--narrow` runs the `tiny` bundle's widths: to try the command without a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanAnimateTransformer3DModel

from animate_pipelines.transformer import AnimateTransformer
from animate_weights.tiny import TRANSFORMER

_PUBLISHED: dict[str, Any] = {"added_kv_proj_dim": 5120, "text_dim": 4096}  # the rest are the class's own defaults
_TEXT_TOKENS, _IMAGE_TOKENS = 512, 257


@torch.no_grad()
def main() -> None:
    options = _options()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = _random_model(TRANSFORMER if options.narrow else _PUBLISHED, options.layers, device, dtype)
    inputs = _random_inputs(model, options, device)
    ours, theirs = _ours(model, inputs), _diffusers(model, inputs, dtype)
    seconds = _interleave({"ours": ours, "diffusers": theirs}, options.repeats, device)
    tokens = inputs["latents"].shape[2] * inputs["latents"].shape[3] * inputs["latents"].shape[4] // 4
    _print(options, model, device, tokens, seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--frames", type=int, default=77)
    parser.add_argument("--layers", type=int, default=40, help="a multiple of 5")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--narrow", action="store_true")
    return parser.parse_args()


def _random_model(
    config: dict[str, Any], layers: int, device: torch.device, dtype: torch.dtype
) -> WanAnimateTransformer3DModel:
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = WanAnimateTransformer3DModel(**config | {"num_layers": layers})
    finally:
        torch.set_default_dtype(default)
    return model.eval().requires_grad_(False)


def _random_inputs(
    model: WanAnimateTransformer3DModel, options: argparse.Namespace, device: torch.device
) -> dict[str, torch.Tensor]:
    """fp32; latents `1 16 t h w` with the reference frame, and what goes with them."""
    width, height = map(int, options.size.split("x"))
    frames = (options.frames - 1) // 4 + 1
    side = model.config.motion_encoder_size
    shapes = {
        "latents": (1, 16, frames + 1, height // 8, width // 8),
        "condition": (1, 20, frames + 1, height // 8, width // 8),
        "pose": (1, 16, frames, height // 8, width // 8),
        "face": (1, 3, options.frames, side, side),
        "text": (1, _TEXT_TOKENS, model.config.text_dim),
        "image": (1, _IMAGE_TOKENS, model.config.image_dim),
    }
    generator = torch.Generator(device).manual_seed(1)
    return {name: torch.randn(shape, generator=generator, device=device) for name, shape in shapes.items()}


def _ours(model: WanAnimateTransformer3DModel, inputs: dict[str, torch.Tensor]) -> Callable[[], torch.Tensor]:
    """A step: what the step does not change is computed here, once."""
    transformer = AnimateTransformer(model)
    embedded = {
        "condition": inputs["condition"],
        "pose": transformer.embed_pose(inputs["pose"]),
        "motion": transformer.embed_face(inputs["face"].clamp(-1, 1)),
        "context": transformer.embed_context(inputs["text"], inputs["image"]),
    }
    timestep = torch.tensor([500], device=inputs["latents"].device)
    return lambda: transformer.velocity(inputs["latents"], timestep, **embedded)


def _diffusers(
    model: WanAnimateTransformer3DModel, inputs: dict[str, torch.Tensor], dtype: torch.dtype
) -> Callable[[], torch.Tensor]:
    """A step as diffusers' pipeline takes it."""
    hidden = torch.cat([inputs["latents"], inputs["condition"]], dim=1).to(dtype)
    timestep = torch.tensor([500], device=hidden.device)
    return lambda: model(
        hidden_states=hidden,
        timestep=timestep,
        encoder_hidden_states=inputs["text"].to(dtype),
        encoder_hidden_states_image=inputs["image"].to(dtype),
        pose_hidden_states=inputs["pose"].to(dtype),
        face_pixel_values=inputs["face"].clamp(-1, 1).to(dtype),
        return_dict=False,
    )[0]


def _interleave(
    works: dict[str, Callable[[], torch.Tensor]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            elapsed = _seconds(work, device)
            if turn:  # the first one warms up
                seconds[name].append(elapsed)
    return seconds


def _seconds(work: Callable[[], torch.Tensor], device: torch.device) -> float:
    _finish(device)
    began = time.perf_counter()
    work()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    side = 8192 if device.type == "cuda" else 512
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / min(_seconds(lambda: matrix @ matrix, device) for _ in range(10))


def _attention_rate(device: torch.device, dtype: torch.dtype, heads: int, width: int, tokens: int) -> float:
    q, k, v = torch.randn(3, 1, heads, tokens, width, device=device, dtype=dtype)
    best = min(_seconds(lambda: F.scaled_dot_product_attention(q, k, v), device) for _ in range(3))
    return 4 * heads * width * tokens**2 / best


def _operations(model: WanAnimateTransformer3DModel, tokens: int) -> tuple[float, float]:
    """Of one forward: in the blocks' linears over the video tokens, and in self-attention."""
    width = model.config.num_attention_heads * model.config.attention_head_dim
    # q k v o; cross-attention's q and o; the feed-forward's two. The face blocks' q and out, once in five.
    per_token = 6 * width**2 + 2 * width * model.config.ffn_dim + 2 * width**2 / 5
    return 2 * tokens * per_token * model.config.num_layers, 4 * tokens**2 * width * model.config.num_layers


def _print(
    options: argparse.Namespace,
    model: WanAnimateTransformer3DModel,
    device: torch.device,
    tokens: int,
    seconds: dict[str, list[float]],
) -> None:
    heads, width = model.config.num_attention_heads, model.config.attention_head_dim
    linear, attention = _operations(model, tokens)
    matmul_rate = _matmul_rate(device, model.dtype)
    attention_rate = _attention_rate(device, model.dtype, heads, width, min(tokens, 32768))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    floor_s = linear / matmul_rate + attention / attention_rate
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    where = f"{name}, torch {torch.__version__}, {str(model.dtype).removeprefix('torch.')}"
    what = f"{options.size}, {options.frames} frames, {tokens} tokens, {options.layers} layers x {heads * width}"
    print(f"{where}\n{what}; medians of {options.repeats}, interleaved\n")
    print(f"  ours                  {medians['ours']:10.4f} s")
    print(f"  diffusers             {medians['diffusers']:10.4f} s")
    print(f"  floor                 {floor_s:10.4f} s   (linears at {matmul_rate / 1e12:.1f} TFLOP/s, self-attention")
    print(f"                                       at {attention_rate / 1e12:.1f} TFLOP/s, both measured now)")
    print(f"  peak memory           {peak:10.1f} GB")
    summary = {"where": where, "what": what, "floor_s": floor_s, "peak_gb": peak} | {
        f"{name}_s": value for name, value in medians.items()
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
