"""Stage 5: transformer, motion and face encoders, text and image encoder, by flow matching.

python -m animate_benchmarks.puppet.train_animator --out /tmp/puppet
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from animate_benchmarks.puppet.animator import Animator
from animate_benchmarks.puppet.batches import Batch, Shards
from animate_benchmarks.puppet.clips import SEGMENT_FRAMES
from animate_benchmarks.puppet.prompts import puppet_tokenizer
from animate_benchmarks.puppet.training import train

BATCH = 16
SHIFT = 5.0
REFRESH_EVERY = 50
SHORT_FRAMES, LONG_EVERY = 9, 4  # a short clip costs half as much and shows as many characters


def noise_levels(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Sigmas spread as the sampler's are: uniform, then shifted towards noise. Stratified over the batch."""
    base = (np.arange(count) + rng.random(count)) / count
    return torch.from_numpy(SHIFT * base / (1 + (SHIFT - 1) * base)).float()


def flow_loss(animator: Animator, batch: Batch, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Weighted squared error of the velocity noise - clean at noise levels `sigma` (`b`)."""
    level = sigma.view(-1, 1, 1, 1, 1)
    latents = (1 - level) * batch.clean + level * noise
    with torch.autocast(latents.device.type, torch.bfloat16):
        text, image = animator.context(batch.tokens, batch.picture)
        velocity = animator.velocity(
            latents, sigma * 1000, batch.condition, batch.pose, batch.face, text.float(), image.float()
        )
    error = (velocity.float() - (noise - batch.clean)).square()
    return (error * batch.weight).mean() / batch.weight.mean()


def new_animator(device: str) -> Animator:
    torch.manual_seed(0)
    return Animator(len(puppet_tokenizer())).to(device)


def load_bundle(animator: Animator, bundle: Path) -> None:
    """Put a bundle's weights into the animator, in fp32."""
    for name, file in (
        ("transformer", "diffusion_pytorch_model.safetensors"),
        ("text_encoder", "model.safetensors"),
        ("image_encoder", "model.safetensors"),
    ):
        tensors = {key: tensor.float() for key, tensor in load_file(bundle / name / file).items()}
        module = animator.get_submodule(name)
        # Tied weights are written once: the text encoder's second name for its embedding is missing.
        left_out = set(module.state_dict()) - set(tensors)
        if left_out - {"encoder.embed_tokens.weight", "shared.weight"}:
            raise ValueError(f"{bundle / name} lacks {sorted(left_out)[0]}")
        module.load_state_dict(tensors, strict=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--start", type=Path, help="a bundle folder")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=BATCH)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    animator = new_animator(arguments.device)
    if arguments.start is not None:
        load_bundle(animator, arguments.start)
    shards = Shards(arguments.out / "latents", arguments.device)
    compiled = torch.compile(flow_loss, dynamic=False) if arguments.compile else flow_loss

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        if step % REFRESH_EVERY == 0:
            shards.refresh()
        batch = shards.draw(rng, arguments.batch, SEGMENT_FRAMES if step % LONG_EVERY == 0 else SHORT_FRAMES)
        height, width = batch.clean.shape[-2:]
        loss = compiled if height == width else flow_loss  # compiling takes minutes: only for the usual shape
        sigma = noise_levels(rng, arguments.batch).to(arguments.device)
        return loss(animator, batch, sigma, torch.randn_like(batch.clean))

    train(
        animator,
        loss_of,
        arguments.out / "animator",
        steps=arguments.steps,
        learning_rate=1.8e-3,
        boosts={"transformer.motion_encoder": 5.0},  # its weights are of unit size, scaled down when used
        average=0.995,
        minutes=arguments.minutes,
    )


if __name__ == "__main__":
    main()
