"""Stage 6: trains the VAE's decoder alone, on the transformer's guesses.

    python -m animate_benchmarks.training.train_decoder --out /tmp/puppet --vae BUNDLE/vae

A guess is blurred where the transformer is unsure, which latents of true pictures never are. The encoder stays as it
is, and with it the latents and all that was trained on them.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKLWan

from animate_benchmarks.puppet.clips import Clip
from animate_benchmarks.training.animator import Animator
from animate_benchmarks.training.batches import Batch, Shards
from animate_benchmarks.training.latents import SHARD_CLIPS, draw_shard, pixels_of
from animate_benchmarks.training.loop import load_average, stage_parser, train
from animate_benchmarks.training.train_animator import guess, new_animator, random_paths
from animate_benchmarks.training.train_vae import PERSON_WEIGHT
from animate_benchmarks.training.whole_clip_vae import decode_clip

BATCH = 4
BATCHES_A_SHARD = SHARD_CLIPS // BATCH
TRUE_SHARE = 0.2  # of the clips: decoded from their own latents, a little wrong
LATENT_NOISE = 0.1


class Shard:
    """One shard at random. Its pictures are drawn again, as they are not kept."""

    def __init__(self, shards: Shards, number: int) -> None:
        self.number = number
        self._name = shards.names[np.random.default_rng(number).integers(len(shards.names))]
        self._shards = shards
        self._clips = draw_shard(int(self._name), shards.num_frames(self._name))

    def batch(self, number: int) -> tuple[Batch, torch.Tensor, torch.Tensor]:
        """Return the next `BATCH` clips with their pixels `b 3 t h w` in -1..1 and the pixels' weights `b 1 t h w`."""
        rows = slice(number * BATCH, (number + 1) * BATCH)
        clips = self._clips[rows]
        return self._shards.pick(self._name, rows), pixels_of([clip.target for clip in clips]), _weights(clips)


def _weights(clips: list[Clip]) -> torch.Tensor:
    people = torch.from_numpy(np.stack([clip.people for clip in clips]))[:, None].float() / 255
    return 1 + (PERSON_WEIGHT - 1) * people


def decoding_loss(
    vae: AutoencoderKLWan, latents: torch.Tensor, pixels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the squared error of the pixels decoded from `latents`, which are not normalised."""
    with torch.autocast(pixels.device.type, torch.bfloat16):
        error = decode_clip(vae, latents).float() - pixels
    return (weights * error.square()).sum() / (weights.sum() * 3)


@torch.no_grad()
def guessed_latents(animator: Animator, batch: Batch, rng: np.random.Generator) -> torch.Tensor:
    """Return latents to decode, normalised `b 16 t' h' w'`: guesses at the end of paths, or nearly the truth."""
    noise = torch.randn_like(batch.clean)
    guesses = guess(animator, batch, random_paths(rng, len(noise)).to(noise.device), noise)
    nearly = batch.clean + LATENT_NOISE * torch.randn_like(noise)
    true = torch.from_numpy(rng.random(len(noise)) < TRUE_SHARE).to(noise.device).view(-1, 1, 1, 1, 1)
    return torch.where(true, nearly, guesses)[:, :, 1:]


def freeze_encoder(vae: AutoencoderKLWan) -> None:
    vae.requires_grad_(False)
    vae.decoder.requires_grad_(True)
    vae.post_quant_conv.requires_grad_(True)


def main() -> None:
    parser = stage_parser(__doc__, steps=1500)
    parser.add_argument("--vae", type=Path, help="its folder; stage 1's of `--out` unless given")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    vae = AutoencoderKLWan.from_pretrained(arguments.vae or arguments.out / "vae" / "model").to(arguments.device)
    freeze_encoder(vae)
    animator = new_animator(arguments.device)
    load_average(animator, arguments.out / "animator")
    animator.eval().requires_grad_(False)
    shards = Shards(arguments.out / "latents", arguments.device)
    mean = torch.tensor(vae.config.latents_mean, device=arguments.device).view(1, -1, 1, 1, 1)
    deviation = torch.tensor(vae.config.latents_std, device=arguments.device).view(1, -1, 1, 1, 1)
    compiled = torch.compile(decoding_loss, dynamic=False) if arguments.compile else decoding_loss
    current: Shard | None = None

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        nonlocal current
        if current is None or current.number != step // BATCHES_A_SHARD:
            current = Shard(shards, step // BATCHES_A_SHARD)
        batch, pixels, weights = current.batch(step % BATCHES_A_SHARD)
        latents = guessed_latents(animator, batch, rng) * deviation + mean
        height, width = latents.shape[-2:]
        loss = compiled if height == width else decoding_loss  # compiling takes minutes: only for the usual shape
        return loss(vae, latents, pixels.to(arguments.device), weights.to(arguments.device))

    train(
        vae,
        loss_of,
        arguments.out / "decoder",
        steps=arguments.steps,
        learning_rate=6e-4,
        average=0.98,
        minutes=arguments.minutes,
    )


if __name__ == "__main__":
    main()
