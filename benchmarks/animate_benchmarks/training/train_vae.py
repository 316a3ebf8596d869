"""Stage 1: trains the VAE on drawn clips, skeletons, carried frames before grey, and clips with a black hole.

    python -m animate_benchmarks.training.train_vae --out /tmp/puppet

Whole frames are not needed: everything in it is local, so it trains on crops. With `--start BUNDLE` a bundle's VAE goes
on, held near the latents that it gives now, which a transformer has learned to predict.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan

from animate_benchmarks.puppet.clips import RENDER_PX
from animate_benchmarks.puppet.shots import Shot, pictures, relative_keypoints
from animate_benchmarks.training.loop import stage_parser, train
from animate_benchmarks.training.prefetch import Prefetch
from animate_benchmarks.training.vae_start import start_near_linear
from animate_benchmarks.training.whole_clip_vae import decode_clip, encode_clip
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of

CROP_PX, FRAMES, BATCH = 64, 17, 4
PATCH_PX = 2
LATENT_NOISE = 0.1  # of a channel's deviation
PERSON_WEIGHT = 3.0
SHIFT_TO_UNIT, HOLD_NEAR = 1e-3, 0.01


def new_vae() -> AutoencoderKLWan:
    """Return a VAE of stride 4 x 8 x 8 like the real one.

    Patches of 2 x 2 pixels stand for its first level, the costliest to train.
    """
    return AutoencoderKLWan(
        base_dim=24,
        z_dim=16,
        dim_mult=[1, 2, 2],
        temperal_downsample=[True, True],
        num_res_blocks=1,
        in_channels=3 * PATCH_PX**2,
        out_channels=3 * PATCH_PX**2,
        patch_size=PATCH_PX,
        scale_factor_spatial=8,
        latents_mean=[0.0] * 16,
        latents_std=[1.0] * 16,
    )


def random_crop(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a clip `t h w 3` uint8 of one of the kinds that the VAE meets, and the weight of each pixel `t h w`."""
    shot = Shot.random(rng, drift=0.03)
    frames = shot.draw(shot.poses(FRAMES), (RENDER_PX, RENDER_PX))
    clip = pictures(frames)
    masks = np.stack([frame.mask for frame in frames]) / 255.0
    weight = 1 + (PERSON_WEIGHT - 1) * masks
    kind = rng.choice(4, p=(0.62, 0.2, 0.08, 0.1))
    if kind == 1:
        side = int(rng.choice((1, 2))) * RENDER_PX
        poses = relative_keypoints(frames)
        clip = np.stack([draw_skeleton(skeleton_of(pose, side, side), side, side) for pose in poses])
        clip = clip[:, :: side // RENDER_PX, :: side // RENDER_PX]
        weight = 1 + 2.0 * (clip.max(axis=-1) > 0)
    elif kind == 2:
        clip[rng.integers(0, 2) :] = 127
    elif kind == 3:
        clip = clip * (1 - masks.max(axis=0) > 0.5)[None, ..., None]
    top, left = rng.integers(0, RENDER_PX - CROP_PX + 1, size=2)
    window = (slice(None), slice(top, top + CROP_PX), slice(left, left + CROP_PX))
    return clip[window].astype(np.uint8), weight[window]


def batch_of(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw pixels `b 3 t h w` in -1..1 and weights `b 1 t h w`."""
    crops = [random_crop(rng) for _ in range(count)]
    pixels = torch.from_numpy(np.stack([clip for clip, _ in crops])).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    weights = torch.from_numpy(np.stack([weight for _, weight in crops]))[:, None].float()
    return pixels.contiguous(memory_format=torch.channels_last_3d), weights


def reconstruction_loss(
    vae: AutoencoderKLWan, before: AutoencoderKLWan | None, pixels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the squared and absolute error of pixels decoded from slightly noisy latents, plus a pull of the latents.

    They are pulled to those of the VAE `before`, or without one to unit size.
    """
    deviation = torch.tensor(vae.config.latents_std, device=pixels.device).view(1, -1, 1, 1, 1)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        latents = encode_clip(vae, pixels)
        decoded = decode_clip(vae, latents + LATENT_NOISE * deviation * torch.randn_like(latents))
        held = None if before is None else encode_clip(before, pixels)
    error = decoded.float() - pixels
    fidelity = (weights * (error.square() + 0.15 * error.abs())).sum() / (weights.sum() * 3)
    if held is None:
        return fidelity + SHIFT_TO_UNIT * F.relu(latents.float().square() - 1).mean()
    return fidelity + HOLD_NEAR * ((latents.float() - held.float()) / deviation).square().mean()


@torch.no_grad()
def keep_statistics(vae: AutoencoderKLWan, device: str, *, batches: int = 16) -> None:
    """Put the latents' mean and deviation, channel by channel, into the configuration."""
    rng = np.random.default_rng(1)
    latents = torch.cat([encode_clip(vae, batch_of(rng, BATCH)[0].to(device)) for _ in range(batches)])
    flat = latents.transpose(0, 1).flatten(1).float().cpu()
    vae.register_to_config(latents_mean=flat.mean(1).tolist(), latents_std=flat.std(1).tolist())


def main() -> None:
    parser = stage_parser(__doc__, steps=1000)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw ahead")
    parser.add_argument("--start", type=Path, help="a bundle folder")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.start is None:
        vae, before = new_vae(), None
        start_near_linear(vae)
    else:
        vae = AutoencoderKLWan.from_pretrained(arguments.start / "vae")
        before = deepcopy(vae).to(arguments.device).requires_grad_(False)
    vae.to(arguments.device)
    compiled = torch.compile(reconstruction_loss)
    batches = Prefetch(partial(batch_of, count=BATCH), workers=arguments.workers)

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        return compiled(vae, before, *(part.to(arguments.device) for part in batches.batch(step)))

    with batches:
        train(
            vae,
            loss_of,
            arguments.out / "vae",
            steps=arguments.steps,
            learning_rate=1.2e-3,
            average=0.98,
            minutes=arguments.minutes,
        )
    if before is None:
        keep_statistics(vae, arguments.device)
    vae.save_pretrained(arguments.out / "vae" / "model")


if __name__ == "__main__":
    main()
