"""Stage 4: encodes training clips once and keeps them in shards, each of one size and kind.

python -m animate_benchmarks.training.latents --out /tmp/puppet --shards 40
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan

from animate_benchmarks.puppet.clips import RENDER_PX, SEGMENT_FRAMES, Clip, Mode, Size, random_clip
from animate_benchmarks.puppet.prompts import random_prompt
from animate_benchmarks.training.whole_clip_vae import decode_clip, encode_clip
from animate_pipelines.families.wan_animate.encode import known_mask

SHARD_CLIPS = 48
ENCODE_BATCH = 8
_SQUARE: Size = (RENDER_PX, RENDER_PX)
SIZES: tuple[Size, ...] = (*(_SQUARE,) * 4, (160, 96), *(_SQUARE,) * 4, (96, 160))
KINDS: tuple[tuple[Mode, int], ...] = (
    ("animate", 0),
    ("animate", 1),
    ("replace", 0),
    ("animate", 0),
    ("replace", 1),
    ("animate", 1),
    ("animate", 0),
    ("animate", 5),
    ("replace", 1),
)  # with the number of carried frames
PERSON_WEIGHT, HAND_WEIGHT, FACE_WEIGHT = 3.0, 6.0, 9.0
CHANNELS_FILE = "channels.npy"
Tensors = dict[str, torch.Tensor]


class Encoder:
    """The trained VAE with its statistics, on whole clips in bf16. Compiled it encodes 1.5 times as fast on a CPU."""

    def __init__(self, vae: AutoencoderKLWan, device: str, *, compiled: bool = False) -> None:
        self._vae = vae.to(device).eval()
        self._encode = torch.compile(encode_clip, dynamic=False) if compiled else encode_clip
        self._device = device
        self._mean = torch.tensor(vae.config.latents_mean, device=device).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(vae.config.latents_std, device=device).view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Encode pixels `b 3 t h w` in -1..1 to normalised latents."""
        parts = []
        for part in pixels.split(ENCODE_BATCH):
            with torch.autocast(torch.device(self._device).type, torch.bfloat16):
                latents = self._encode(self._vae, part.to(self._device, memory_format=torch.channels_last_3d))
            parts.append(((latents.float() - self._mean) / self._std).cpu())
        return torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode normalised latents to pixels in -1..1."""
        scaled = latents.to(self._device) * self._std + self._mean
        with torch.autocast(torch.device(self._device).type, torch.bfloat16):
            return decode_clip(self._vae, scaled).float().clamp(-1, 1).cpu()


def kind_of(index: int) -> tuple[Size, Mode, int]:
    """Return the size, the mode and the number of carried frames of all clips of shard `index`."""
    return SIZES[index % len(SIZES)], *KINDS[index % len(KINDS)]


def draw_shard(index: int, num_frames: int) -> list[Clip]:
    """Draw the clips of a shard, the same ones each time."""
    size, mode, _ = kind_of(index)
    rng = np.random.default_rng([7, index])
    return [random_clip(rng, size, mode, num_frames) for _ in range(SHARD_CLIPS)]


def encode_shard(encoder: Encoder, index: int, num_frames: int = SEGMENT_FRAMES) -> Tensors:
    """Encode the `SHARD_CLIPS` clips of a shard: latents fp16, pictures uint8, prompts as JSON bytes."""
    clips = draw_shard(index, num_frames)
    rng = np.random.default_rng([8, index])
    carried = kind_of(index)[2]
    target = encoder.encode(pixels_of([clip.target for clip in clips]))
    known = _known_pixels(encoder, rng, clips, target, carried)
    masks = [
        known_mask(
            target.shape[2:], num_known=carried, masks=None if clip.masks is None else torch.from_numpy(clip.masks)
        )
        for clip in clips
    ]
    prompts = [random_prompt(rng, clip.words) for clip in clips]
    return {
        "target": target.half(),
        "reference": encoder.encode(pixels_of([clip.reference[None] for clip in clips])).half(),
        "known": encoder.encode(known).expand_as(target).half(),
        "mask": torch.cat(masks).to(torch.uint8),
        "pose": encoder.encode(pixels_of([clip.pose for clip in clips])).half(),
        "weight": _weights(clips).half(),
        "face": torch.from_numpy(np.stack([clip.face for clip in clips])),
        "picture": torch.from_numpy(np.stack([clip.reference for clip in clips])),
        "prompts": torch.tensor(list(json.dumps(prompts).encode()), dtype=torch.uint8),
    }


def pixels_of(frames: list[np.ndarray]) -> torch.Tensor:
    """Stack frames as `b 3 t h w` in -1..1."""
    return torch.from_numpy(np.stack(frames)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _known_pixels(
    encoder: Encoder, rng: np.random.Generator, clips: list[Clip], target: torch.Tensor, carried: int
) -> torch.Tensor:
    """Return background or grey, begun by carried frames.

    These are as flawed as the model's own: decoded from slightly wrong latents. Where nothing is known there is one for
    all clips, `1 3 t h w`.
    """
    if clips[0].background is None:
        known = torch.zeros(len(clips) if carried else 1, 3, *clips[0].target.shape[:3])
    else:
        known = pixels_of([clip.background for clip in clips if clip.background is not None])
    if carried:
        latent_frames = (carried - 1) // 4 + 1
        start = target[:, :, :latent_frames]
        flaw = torch.from_numpy(rng.normal(size=start.shape)).float()
        flaw *= torch.from_numpy(rng.uniform(0, 0.25, (len(clips), 1, 1, 1, 1))).float()
        known[:, :, :carried] = encoder.decode(start + flaw)
    return known


def _weights(clips: list[Clip]) -> torch.Tensor:
    """Return how much each latent cell counts, `b 1 t' h/8 w/8`.

    Cells with the hero in any frame count more, hands and face most.
    """
    people, hands, faces = (_cells([getattr(clip, name) for clip in clips]) for name in ("people", "hands", "faces"))
    weights = torch.maximum(1 + (PERSON_WEIGHT - 1) * people, HAND_WEIGHT * hands)
    return torch.maximum(weights, FACE_WEIGHT * faces)


def _cells(masks: list[np.ndarray]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack(masks))[:, None].float() / 255
    return F.max_pool3d(F.pad(pixels, (0, 0, 0, 0, 3, 0)), (4, 8, 8))


def channel_weights(encoder: Encoder, latents: torch.Tensor) -> np.ndarray:
    """Return how much each latent channel counts, `c`, 1 on average: the pixels' squared error when it alone is wrong.

    In the trained VAE three channels, the smoothed colours, count 10 to 17 times as much as each of the other thirteen.

    latents: normalised, `b c t h w`.
    """
    whole = encoder.decode(latents)
    noise = 0.3 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    changed = []
    for channel in range(latents.shape[1]):
        wrong = latents.clone()
        wrong[:, channel] += noise[:, channel]
        changed.append((encoder.decode(wrong) - whole).square().mean())
    weights = torch.stack(changed).numpy()
    return np.asarray(weights / weights.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=int, default=60)
    parser.add_argument("--frames", type=int, default=SEGMENT_FRAMES, help="of a clip; 4n+1")
    parser.add_argument("--vae", type=Path, help="its folder; stage 1's of `--out` unless given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--part", type=int, default=0, help="of `--parts` processes that share the shards")
    parser.add_argument("--parts", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    vae = AutoencoderKLWan.from_pretrained(arguments.vae or arguments.out / "vae" / "model")
    encoder = Encoder(vae, arguments.device, compiled=arguments.compile)
    folder = arguments.out / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(arguments.part, arguments.shards, arguments.parts):
        path = folder / f"{index:04d}.pt"
        if path.is_file():
            continue
        began = time.monotonic()
        shard = encode_shard(encoder, index, arguments.frames)
        torch.save(shard, path.with_suffix(".new"))
        path.with_suffix(".new").rename(path)
        if not (folder / CHANNELS_FILE).is_file():
            np.save(folder / CHANNELS_FILE, channel_weights(encoder, shard["target"][:ENCODE_BATCH].float()))
        print(path.name, *kind_of(index), f"{time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
