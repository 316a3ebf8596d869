"""Stage 7: trains the few-step companion, a LoRA for four flow-Euler steps without guidance, in lightx2v's key format.

    python -m animate_benchmarks.training.train_turbo --out /tmp/puppet

Fine-tuned for that schedule, not distilled: the finished transformer is frozen and low-rank matrices learn at the four
noise levels alone, on latents that the few steps before have led to.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

from animate_benchmarks.puppet.clips import SEGMENT_FRAMES
from animate_benchmarks.training.animator import LAYERS, Animator
from animate_benchmarks.training.batches import Shards
from animate_benchmarks.training.loop import load_average, stage_parser, train
from animate_benchmarks.training.train_animator import BATCH, SHIFT, new_animator, path_loss
from animate_pipelines.diffusion.schedule import euler_sigmas
from animate_weights.names import diffusers_names

RANK = 4
STEPS = 4
LORA_FILE = "lightx2v_4step.safetensors"
_LAYERS = [f"self_attn.{part}" for part in "qkvo"]
_LAYERS += [f"cross_attn.{part}" for part in ("q", "k", "v", "o", "k_img", "v_img")]
_LAYERS += ["ffn.0", "ffn.2"]


class LowRank(nn.Module):
    """A low-rank product up @ down added to a frozen weight."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.up @ self.down


def add_low_rank(animator: Animator) -> dict[str, LowRank]:
    """Freeze everything and put a trainable low-rank product beside each Linear of the blocks, by original name."""
    animator.requires_grad_(False)
    added = {}
    for block in range(LAYERS):
        for layer in _LAYERS:
            name = f"blocks.{block}.{layer}"
            (target,) = diffusers_names(f"{name}.weight")
            linear = animator.transformer.get_submodule(target.removesuffix(".weight"))
            added[name] = LowRank(*linear.weight.shape).to(linear.weight.device)
            parametrize.register_parametrization(linear, "weight", added[name])
    return added


def write_lora(layers: dict[str, LowRank], path: Path) -> None:
    tensors = {}
    for name, low_rank in layers.items():
        tensors[f"diffusion_model.{name}.lora_down.weight"] = low_rank.down.detach().half().cpu().contiguous()
        tensors[f"diffusion_model.{name}.lora_up.weight"] = low_rank.up.detach().half().cpu().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def main() -> None:
    arguments = stage_parser(__doc__, steps=300).parse_args()
    torch.set_num_threads(arguments.threads)
    animator = new_animator(arguments.device)
    load_average(animator, arguments.out / "animator")
    layers = add_low_rank(animator)
    shards = Shards(arguments.out / "latents", arguments.device)

    sigmas = torch.from_numpy(euler_sigmas(STEPS, SHIFT)).to(arguments.device)

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        batch = shards.draw(rng, BATCH, SEGMENT_FRAMES)
        path = sigmas[: rng.integers(STEPS) + 1, None].expand(-1, BATCH)
        return path_loss(animator, batch, path, torch.randn_like(batch.clean))

    folder = arguments.out / "turbo"
    trained = nn.ModuleDict({name.replace(".", "/"): layer for name, layer in layers.items()})
    train(trained, loss_of, folder, steps=arguments.steps, learning_rate=1e-3, average=0.98, minutes=arguments.minutes)
    write_lora(layers, folder / LORA_FILE)


if __name__ == "__main__":
    main()
