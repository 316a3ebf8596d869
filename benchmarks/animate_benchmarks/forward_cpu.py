"""Measures our forward beside diffusers' on the same weights and the CPU: a segment's 20 steps, and the blocks alone.

    python -m animate_benchmarks.forward_cpu [--repeats 5] [--steps 20] [--threads 1] [--prompt-tokens 16]

Widths and depth are the puppet bundle's, at 96x96 and 17 frames. Weights are random, as speed does not depend on their
values; the text after the prompt is zeros, as it always is. A render is everything that the transformer does for one
segment: for us the part that the steps share, once, and then the steps; for diffusers' module a call a step. The stack
is the blocks and face adapters alone, with faces, pose and context embedded beforehand for both. Seconds are the
process's own, which other work on the machine does not lengthen. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import WanAnimateTransformer3DModel

from animate_pipelines.families.wan_animate.blocks import ResidualStream, run_block, run_face_block
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_weights.bundles import find_bundle

_SIDE_PX, _FRAMES, _TEXT_TOKENS, _IMAGE_TOKENS = 96, 17, 512, 17
Inputs = dict[str, torch.Tensor]


@torch.no_grad()
def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    config = json.loads((find_bundle("puppet", Path()) / "transformer/config.json").read_text())
    model = WanAnimateTransformer3DModel.from_config(config).eval().requires_grad_(False)
    transformer, inputs = AnimateTransformer(model), _inputs(model, options.prompt_tokens)
    renders = {
        "ours": lambda: _render(transformer, inputs, options.steps),
        "diffusers": _theirs(model, inputs, options.steps),
    }
    difference = (renders["ours"]() - renders["diffusers"]()).abs().max().item()
    stacks = {"ours": _our_stack(transformer, inputs), "diffusers": _their_stack(model, inputs)}
    seconds = {f"render_{n}": s for n, s in _interleave(renders, options.repeats).items()}
    seconds |= {f"blocks_{n}": s for n, s in _interleave(stacks, 10 * options.repeats).items()}
    _print(options, model, inputs, seconds, difference)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=16, help=f"of the text's {_TEXT_TOKENS}")
    return parser.parse_args()


def _inputs(model: WanAnimateTransformer3DModel, prompt_tokens: int) -> Inputs:
    frames, side, face = (_FRAMES - 1) // 4 + 1, _SIDE_PX // 8, model.config.motion_encoder_size
    prompt = torch.randn(1, prompt_tokens, model.config.text_dim)
    return {
        "latents": torch.randn(1, 16, frames + 1, side, side),
        "condition": torch.randn(1, 20, frames + 1, side, side),
        "pose": torch.randn(1, 16, frames, side, side),
        "face": torch.rand(1, 3, _FRAMES, face, face) * 2 - 1,
        "text": F.pad(prompt, (0, 0, 0, _TEXT_TOKENS - prompt_tokens)),
        "image": torch.randn(1, _IMAGE_TOKENS, model.config.image_dim),
        "timestep": torch.tensor([500]),
    }


def _embed(transformer: AnimateTransformer, inputs: Inputs) -> dict[str, Any]:
    return {
        "pose": transformer.embed_pose(inputs["pose"]),
        "motion": transformer.embed_face(inputs["face"]),
        "context": transformer.embed_context(inputs["text"], inputs["image"]),
    }


def _render(transformer: AnimateTransformer, inputs: Inputs, steps: int) -> torch.Tensor:
    constants = transformer.encode_step_constants(condition=inputs["condition"], **_embed(transformer, inputs))
    for _ in range(steps):
        velocity = transformer.velocity(inputs["latents"], inputs["timestep"], constants)
    return velocity


def _theirs(model: WanAnimateTransformer3DModel, inputs: Inputs, steps: int) -> Callable[[], torch.Tensor]:
    hidden = torch.cat([inputs["latents"], inputs["condition"]], dim=1)

    def render() -> torch.Tensor:
        for _ in range(steps):
            (velocity,) = model(
                hidden_states=hidden,
                timestep=inputs["timestep"],
                encoder_hidden_states=inputs["text"],
                encoder_hidden_states_image=inputs["image"],
                pose_hidden_states=inputs["pose"],
                face_pixel_values=inputs["face"],
                return_dict=False,
            )
        return velocity

    return render


def _our_stack(transformer: AnimateTransformer, inputs: Inputs) -> Callable[[], object]:
    model = transformer._model
    constants = transformer.encode_step_constants(condition=inputs["condition"], **_embed(transformer, inputs))
    tokens, (_, modulation) = _tokens(model, inputs)[0], transformer._embed_time(inputs["timestep"])

    def run() -> object:
        stream = ResidualStream(tokens, transformer._attend.ops, torch.float32)
        for index, block in enumerate(model.blocks):
            run_block(block, index, stream, modulation, constants, transformer._attend, 1.0)
            if index % model.config.inject_face_latents_blocks == 0:
                place = index // model.config.inject_face_latents_blocks
                face, order = constants.faces[place], constants.order
                run_face_block(model.face_adapter[place], stream, face, order, transformer._attend.ops)
        return stream.norm(None, None, torch.float32)

    return run


def _their_stack(model: WanAnimateTransformer3DModel, inputs: Inputs) -> Callable[[], object]:
    embedded, tokens = _embed(AnimateTransformer(model), inputs), _tokens(model, inputs)
    rotary = model.rope(inputs["condition"])
    _, projected, text, image = model.condition_embedder(inputs["timestep"], inputs["text"], inputs["image"])
    time, motion, context = projected.unflatten(1, (6, -1)), embedded["motion"], torch.cat([image, text], dim=1)

    def run() -> object:
        states = tokens
        for index, block in enumerate(model.blocks):
            states = block(states, context, time, rotary)
            if index % model.config.inject_face_latents_blocks == 0:
                states = states + model.face_adapter[index // model.config.inject_face_latents_blocks](states, motion)
        return model.norm_out(states)

    return run


def _tokens(model: WanAnimateTransformer3DModel, inputs: Inputs) -> torch.Tensor:
    patches = model.patch_embedding(torch.cat([inputs["latents"], inputs["condition"]], dim=1))
    return patches.flatten(2).transpose(1, 2).contiguous()


def _interleave(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return median seconds of each work in turns, after one run of each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            if turn:
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _print(
    options: argparse.Namespace,
    model: WanAnimateTransformer3DModel,
    inputs: Inputs,
    seconds: dict[str, float],
    difference: float,
) -> None:
    config, grid = model.config, inputs["latents"].shape[2:]
    shape = {
        "dim": config.num_attention_heads * config.attention_head_dim,
        "heads": config.num_attention_heads,
        "head_width": config.attention_head_dim,
        "ffn_width": config.ffn_dim,
        "layers": config.num_layers,
        "tokens": grid[0] * grid[1] * grid[2] // 4,
        "context_tokens": _TEXT_TOKENS + _IMAGE_TOKENS,
        "prompt_tokens": options.prompt_tokens,
        "face_frames": _FRAMES,
        "face_px": config.motion_encoder_size,
    }
    print(f"CPU, {options.threads} threads, torch {torch.__version__}, fp32; {shape}")
    print(f"medians of {options.repeats} and {10 * options.repeats}, interleaved; outputs differ by {difference:.1e}\n")
    print(f"{'':18}{'ours':>10}{'diffusers':>12}   CPU seconds")
    for name, what in (("render", f"{options.steps}-step render"), ("blocks", "blocks alone")):
        print(f"{what:18}{seconds[f'{name}_ours']:10.4f}{seconds[f'{name}_diffusers']:12.4f}")
    ratios = {
        "ratio_over_diffusers": round(seconds["render_diffusers"] / seconds["render_ours"], 3),
        "ratio_blocks": round(seconds["blocks_diffusers"] / seconds["blocks_ours"], 3),
    }
    rounded = {f"{name}_s": round(value, 5) for name, value in seconds.items()}
    conditions = {"steps": options.steps, "threads": options.threads, "largest_difference": difference}
    print(json.dumps(ratios | shape | conditions | rounded))


if __name__ == "__main__":
    main()
