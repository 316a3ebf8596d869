"""Stage 5: trains transformer, motion and face encoders, text and image encoder, on the model's own steps from noise.

python -m animate_benchmarks.training.train_animator --out /tmp/puppet
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from animate_benchmarks.puppet.clips import SEGMENT_FRAMES
from animate_benchmarks.puppet.prompts import puppet_tokenizer
from animate_benchmarks.training.animator import Animator, Known
from animate_benchmarks.training.batches import Batch, Shards
from animate_benchmarks.training.loop import stage_parser, train

BATCH = 16
SHIFT = 5.0
REFRESH_EVERY = 50
SHORT_FRAMES, LONG_EVERY = 9, 4  # a short clip costs half as much and shows as many characters


def noise_levels(base: np.ndarray) -> torch.Tensor:
    """Return the sigmas of the sampler's schedule at `base` (0..1, uniform over its steps): shifted towards noise."""
    return torch.from_numpy(SHIFT * base / (1 + (SHIFT - 1) * base)).float()


def random_paths(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Draw falling noise levels `3 count`: pure noise, halfway, and the level at which a clip is learned from.

    A quarter of the clips stay at pure noise, three eighths take one step from there, the others two.
    """
    last = (np.arange(count) + rng.random(count)) / count
    halfway = last + (1 - last) * rng.random(count)
    last[count * 3 // 4 :] = 1.0
    halfway[count * 3 // 8 :] = 1.0
    return noise_levels(np.stack([np.ones(count), halfway, last]))


def path_loss(animator: Animator, batch: Batch, path: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the weighted squared error of the clean latents guessed at the end of `path`.

    At each noise level the model then meets what it meets in use, with its own mistakes in it, and has to answer with
    the truth; from true latents it would learn to take its mistakes for the truth.
    """
    error = (guess(animator, batch, path, noise) - batch.clean).square()
    return (error * batch.weight).mean() / batch.weight.mean()


def guess(animator: Animator, batch: Batch, path: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the clean latents that the model guesses at the end of `path` (`k b`, falling noise levels).

    The model walks there from `noise` by its own steps; only the last guess is differentiated.
    """
    with torch.autocast(noise.device.type, torch.bfloat16):
        known = animator.read(batch)
    latents = noise
    for level, lower in pairwise(path):
        moving = lower < level
        if not moving.any():
            continue
        with torch.no_grad():
            velocity = velocity_of(animator, known.only(moving), latents[moving], level[moving])
        latents = latents.clone()
        latents[moving] += (lower - level)[moving].view(-1, 1, 1, 1, 1) * velocity
    return latents - path[-1].view(-1, 1, 1, 1, 1) * velocity_of(animator, known, latents, path[-1])


def velocity_of(animator: Animator, known: Known, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Return the velocity noise - clean at noise levels `sigma` (`b`)."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        return animator.velocity(latents, sigma * 1000, known)


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
    parser = stage_parser(__doc__, steps=6000)
    parser.add_argument("--start", type=Path, help="a bundle folder")
    parser.add_argument("--compile", action="store_true", help="costs minutes, then a step takes half the time")
    parser.add_argument("--keep-motion", action="store_true", help="leave the motion encoder as it is")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--learning-rate", type=float, default=1.8e-3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    animator = new_animator(arguments.device)
    if arguments.start is not None:
        load_bundle(animator, arguments.start)
    if arguments.compile:
        animator.compile()
    keep_motion = animator.read_motion if arguments.keep_motion else None
    shards = Shards(arguments.out / "latents", arguments.device, keep_motion)

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        if step % REFRESH_EVERY == 0:
            shards.refresh()
        batch = shards.draw(rng, arguments.batch, SEGMENT_FRAMES if step % LONG_EVERY == 0 else SHORT_FRAMES)
        path = random_paths(rng, arguments.batch).to(arguments.device)
        height, width = batch.clean.shape[-2:]
        # Compiling takes minutes: only for the usual shape.
        with torch.compiler.set_stance("default" if height == width else "force_eager"):
            return path_loss(animator, batch, path, torch.randn_like(batch.clean))

    train(
        animator,
        loss_of,
        arguments.out / "animator",
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        boosts={"transformer.motion_encoder": 5.0},  # its weights are of unit size, scaled down when used
        average=0.995,
        minutes=arguments.minutes,
    )


if __name__ == "__main__":
    main()
