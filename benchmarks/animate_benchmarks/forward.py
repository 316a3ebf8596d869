"""Measures one transformer forward at full size with random weights: ours in each recipe beside diffusers' at its best.

    python -m animate_benchmarks.forward [--device cuda] [--size 1280x720] [--frames 77] [--layers 40] [--repeats 5]

Speed does not depend on the weights' values. The 16-bit forwards run the same module in the same process, in turns.
Then its matrices are made fp8 in place and our 8-bit recipes follow; the last one is broken down by kernel. A recipe
that fails is printed and left out. The last line of stdout is one JSON object. `--narrow` takes the `tiny` bundle's
widths, to try the command without a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanAnimateTransformer3DModel
from torch import nn
from torch.profiler import ProfilerActivity, profile

from animate_benchmarks.gpu.bench import reason
from animate_kernels.dispatch import choose
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparsity import DENSE, Sparsity
from animate_pipelines.families.wan_animate.blocks import ResidualStream, StepConstants, run_block
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.memory.fp8_linear import Fp8Linear, multiply_in_fp8
from animate_weights.quantized import is_quantised_parameter
from animate_weights.tiny import TRANSFORMER

_PUBLISHED: dict[str, Any] = {"added_kv_proj_dim": 5120, "text_dim": 4096}  # the rest are the class's own defaults
_TEXT_TOKENS, _IMAGE_TOKENS = 512, 257
_PROMPT_TOKENS = 16  # the rest of the text is zeros, as of every prompt
_LONGEST = 16  # rows of the breakdown
_BASELINES = {"diffusers": "native", "diffusers, cudnn": "_native_cudnn"}
# self-attention and its density, on fp8 linears
_EIGHT_BIT = {
    "ours, fp8": ("auto", DENSE),
    "ours, fp8, 8-bit attention": ("fp8", DENSE),
    "ours, fp8, fa3 in fp8": ("fa3-fp8", DENSE),
    "ours, fp8, density 0.2": ("auto", Sparsity(densities=(0.2,))),
    "ours, fp8, 8-bit, density 0.2": ("fp8", Sparsity(densities=(0.2,))),
}
Inputs = dict[str, torch.Tensor]
Work = Callable[[], torch.Tensor]


@dataclass(slots=True)
class Run:
    """The measurements of one forward.

    seconds: time of each run.
    peak_bytes: the most device memory in use during a run, weights included.
    """

    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0


@torch.no_grad()
def main() -> None:
    options = _options()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    began = time.perf_counter()
    model = _random_model(TRANSFORMER if options.narrow else _PUBLISHED, options.layers, device, dtype)
    _finish(device)
    print(f"random weights in {time.perf_counter() - began:.1f} s", flush=True)
    inputs = _random_inputs(model, options, device)
    runs = _interleave(dict(_sixteen_bit(model, inputs, dtype)), options.repeats, device)
    _make_fp8(model)
    for name, (attention, sparsity) in _EIGHT_BIT.items():
        runs |= _attempt(name, lambda a=attention, s=sparsity: _ours(model, inputs, a, s), options.repeats, device)  # type: ignore[misc]
    last, recipe = list(_EIGHT_BIT.items())[-1]
    _break_down(last, lambda: _ours(model, inputs, *recipe), device)
    tokens = inputs["latents"].shape[2] * inputs["latents"].shape[3] * inputs["latents"].shape[4] // 4
    _print(options, model, device, dtype, tokens, runs)


def _sixteen_bit(model: WanAnimateTransformer3DModel, inputs: Inputs, dtype: torch.dtype) -> Iterator[tuple[str, Work]]:
    yield "ours", _ours(model, inputs, "auto", DENSE)
    yield "ours, one block", _one_block(model, inputs)
    theirs = _diffusers(model, inputs, dtype)
    for name, backend in _BASELINES.items():
        if dtype == torch.bfloat16 or backend == "native":
            yield name, lambda backend=backend: _with_backend(model, backend, theirs)  # type: ignore[misc]
    if dtype == torch.bfloat16:
        yield "diffusers, compiled", lambda: _compiled(model, theirs)


def _with_backend(model: WanAnimateTransformer3DModel, backend: str, work: Work) -> torch.Tensor:
    model.set_attention_backend(backend)
    return work()


def _compiled(model: WanAnimateTransformer3DModel, work: Work) -> torch.Tensor:
    """Run a step with diffusers' regional compilation, switched on for this call alone."""
    model.set_attention_backend("_native_cudnn")
    if model.blocks[0]._compiled_call_impl is None:
        model.compile_repeated_blocks(dynamic=False)
        model._kept = [block._compiled_call_impl for block in model.blocks]
    try:
        for block, kept in zip(model.blocks, model._kept, strict=True):
            block._compiled_call_impl = kept
        return work()
    finally:
        for block in model.blocks:
            block._compiled_call_impl = None


def _one_block(model: WanAnimateTransformer3DModel, inputs: Inputs) -> Work:
    transformer, constants = _prepared(model, inputs, "auto", DENSE)
    tokens = transformer._embed_patches(inputs["latents"], constants).float()
    _, modulation = transformer._embed_time(torch.tensor([500], device=tokens.device))
    attend = transformer._attend

    def run() -> torch.Tensor:
        stream = ResidualStream(tokens.clone(), attend.ops, torch.float32)
        run_block(model.blocks[1], 1, stream, modulation, constants, attend, 1.0)
        normed = stream.norm(None, None, torch.float32)
        assert isinstance(normed, torch.Tensor)
        return normed

    return run


def _make_fp8(model: nn.Module) -> None:
    """Make the matrices fp8 in place, a layer at a time; the rows of fused projections have scales of their own."""
    for name, layer in list(model.named_modules()):
        plain = name.replace("to_qkv", "to_q")
        if isinstance(layer, nn.Linear) and is_quantised_parameter(f"{plain}.weight"):
            kept = Fp8Linear(layer)
            kept.fill(layer.weight, layer.weight.device)
            model.set_submodule(name, kept)
    multiply_in_fp8(model)


def _attempt(name: str, make: Callable[[], Work], repeats: int, device: torch.device) -> dict[str, Run]:
    try:
        return _interleave({name: make()}, repeats, device)
    except Exception as failure:  # noqa: BLE001 - a backend or kernel that fails is a result
        print(f"  {name}: failed, {reason(failure)}", flush=True)
        return {}


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


def _random_inputs(model: WanAnimateTransformer3DModel, options: argparse.Namespace, device: torch.device) -> Inputs:
    """Return random inputs in fp32: latents `1 16 t h w` with the reference frame, and their conditions."""
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
    inputs = {name: torch.randn(shape, generator=generator, device=device) for name, shape in shapes.items()}
    inputs["text"][:, _PROMPT_TOKENS:] = 0
    return inputs


def _prepared(
    model: WanAnimateTransformer3DModel, inputs: Inputs, attention: str, sparsity: Sparsity
) -> tuple[AnimateTransformer, StepConstants]:
    """Return our transformer and its constants, computed once for all steps."""
    attend = SelfAttention.of(choose(inputs["latents"].device, attention), sparsity)
    transformer = AnimateTransformer(model, attend=attend)
    constants = transformer.encode_step_constants(
        condition=inputs["condition"],
        pose=transformer.embed_pose(inputs["pose"]),
        motion=transformer.embed_face(inputs["face"].clamp(-1, 1)),
        context=transformer.embed_context(inputs["text"], inputs["image"]),
    )
    return transformer, constants


def _ours(model: WanAnimateTransformer3DModel, inputs: Inputs, attention: str, sparsity: Sparsity) -> Work:
    """Return a step of ours."""
    transformer, constants = _prepared(model, inputs, attention, sparsity)
    timestep = torch.tensor([500], device=inputs["latents"].device)
    return lambda: transformer.velocity(inputs["latents"], timestep, constants)


def _diffusers(
    model: WanAnimateTransformer3DModel, inputs: dict[str, torch.Tensor], dtype: torch.dtype
) -> Callable[[], torch.Tensor]:
    """Return a step as diffusers' pipeline takes it."""
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


def _interleave(works: dict[str, Work], repeats: int, device: torch.device) -> dict[str, Run]:
    """Run each work in turns; one that fails once is printed and left out."""
    runs = {name: Run() for name in works}
    for turn in range(repeats + 1):
        for name, run in list(runs.items()):
            _forget_peak(device)
            try:
                elapsed = _seconds(works[name], device)
            except Exception as failure:  # noqa: BLE001 - a backend or kernel that fails is a result
                print(f"  {name}: failed, {reason(failure)}", flush=True)
                del runs[name]
                continue
            print(
                f"  {name}: {elapsed:.4f} s, turn {turn}", flush=True
            )  # a run that is cut off has printed its results so far
            if turn:  # the first one warms up
                run.seconds.append(elapsed)
                run.peak_bytes = max(run.peak_bytes, _peak_bytes(device))
    return runs


def _break_down(name: str, make: Callable[[], Work], device: torch.device) -> None:
    """Print the kernels that run on the device in one step, the longest first."""
    kind = "device" if device.type == "cuda" else "cpu"
    try:
        work = make()
        work()
        with profile(activities=[ProfilerActivity.CUDA if kind == "device" else ProfilerActivity.CPU]) as profiler:
            work()
            _finish(device)
    except Exception as failure:  # noqa: BLE001 - what was measured before is still to be printed
        print(f"  no breakdown of {name}: {reason(failure)}", flush=True)
        return
    times_us = {
        event.key: (getattr(event, f"self_{kind}_time_total"), event.count) for event in profiler.key_averages()
    }
    print(f"\n  what took the time of {name}:")
    for key, (time_us, count) in sorted(times_us.items(), key=lambda item: -item[1][0])[:_LONGEST]:
        print(f"  {time_us / 1e3:10.2f} ms in {count:4} calls  {key[:90]}", flush=True)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


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
    """Return the operations of one forward: in the blocks' linears over the video tokens, and in self-attention."""
    width = model.config.num_attention_heads * model.config.attention_head_dim
    # q k v o; cross-attention's q and o; the feed-forward's two. The face blocks' q and out, once in five.
    per_token = 6 * width**2 + 2 * width * model.config.ffn_dim + 2 * width**2 / 5
    return 2 * tokens * per_token * model.config.num_layers, 4 * tokens**2 * width * model.config.num_layers


def _print(
    options: argparse.Namespace,
    model: WanAnimateTransformer3DModel,
    device: torch.device,
    dtype: torch.dtype,
    tokens: int,
    runs: dict[str, Run],
) -> None:
    heads, width = model.config.num_attention_heads, model.config.attention_head_dim
    linear, attention = _operations(model, tokens)
    matmul_rate = _matmul_rate(device, dtype)
    attention_rate = _attention_rate(device, dtype, heads, width, min(tokens, 32768))
    medians = {name: statistics.median(run.seconds) for name, run in runs.items()}
    peaks_gb = {name: run.peak_bytes / 1e9 for name, run in runs.items()}
    floor_s = linear / matmul_rate + attention / attention_rate
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    where = f"{name}, torch {torch.__version__}, {str(dtype).removeprefix('torch.')}"
    what = f"{options.size}, {options.frames} frames, {tokens} tokens, {options.layers} layers x {heads * width}"
    print(f"{where}\n{what}; medians of {options.repeats}\n")
    for work, median in medians.items():
        print(f"  {work:32}{median:10.4f} s   {peaks_gb[work]:6.1f} GB at most")
    print(f"  {'floor in 16 bits':32}{floor_s:10.4f} s   (linears at {matmul_rate / 1e12:.1f} TFLOP/s, self-attention")
    print(f"{'':48}at {attention_rate / 1e12:.1f} TFLOP/s, both measured now)")
    summary = {"title": "forward", "where": where, "what": what, "floor_s": floor_s}
    print(json.dumps(summary | {"seconds": medians, "peaks_gb": peaks_gb}))


if __name__ == "__main__":
    main()
