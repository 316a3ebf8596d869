"""Batches of encoded clips for the transformer, drawn from the shards written so far."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import T5TokenizerFast

from animate_benchmarks.puppet.prompts import MAX_TOKENS, puppet_tokenizer
from animate_benchmarks.training.latents import CHANNELS_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch of `b` clips of one size, on the device, fp32.

    Frame 0 of `clean`, `condition` and `weight` is the reference's.
    """

    clean: torch.Tensor  # b 16 t+1 h w
    condition: torch.Tensor  # b 20 t+1 h w
    pose: torch.Tensor  # b 16 t h w
    weight: torch.Tensor  # b 16 t+1 h w
    face: torch.Tensor  # crops b 3 n s s in -1..1, or motion vectors b n d that were read of them
    picture: torch.Tensor  # b 3 H W in -1..1
    tokens: torch.Tensor  # b MAX_TOKENS


REFERENCE_WEIGHT = 0.3


class Shards:
    """All shards in memory; `refresh` reads those written since.

    read_motion: reads motion vectors of face crops, once a shard; without it batches hold the crops.
    """

    def __init__(
        self, folder: Path, device: str, read_motion: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> None:
        self._folder, self._device, self._read_motion = folder, device, read_motion
        self._channels = torch.from_numpy(np.load(folder / CHANNELS_FILE)).view(-1, 1, 1, 1).to(device)
        self._tokenizer = puppet_tokenizer()
        self._shards: dict[str, dict[str, torch.Tensor]] = {}
        self.refresh()

    def __len__(self) -> int:
        return sum(len(shard["target"]) for shard in self._shards.values())

    def refresh(self) -> None:
        for path in sorted(self._folder.glob("*.pt")):
            if path.stem in self._shards:
                continue
            shard = torch.load(path, weights_only=True)
            shard["tokens"] = tokenize(self._tokenizer, json.loads(bytes(shard.pop("prompts").tolist()).decode()))
            shard["face"] = self._read_faces(shard["face"])
            self._shards[path.stem] = shard

    @torch.no_grad()
    def _read_faces(self, crops: torch.Tensor) -> torch.Tensor:
        return crops if self._read_motion is None else self._read_motion(_pixels(crops.to(self._device))).cpu()

    def draw(self, rng: np.random.Generator, count: int, num_frames: int) -> Batch:
        """Draw the first frames of clips of one size, from all shards of that size that are as long.

        A size is as likely as its share of the clips.
        """
        long = [name for name in self.names if self.num_frames(name) >= num_frames]
        size = self._size(long[rng.integers(len(long))])
        group = [name for name in long if self._size(name) == size]
        picks = [(group[rng.integers(len(group))], int(rng.integers(1 << 30))) for _ in range(count)]
        rows = [self._row(self._shards[name], at, num_frames) for name, at in picks]
        return self._assemble({key: torch.stack([row[key] for row in rows]) for key in rows[0]})

    @property
    def names(self) -> list[str]:
        return list(self._shards)

    def num_frames(self, name: str) -> int:
        return self._shards[name]["face"].shape[1]

    def pick(self, name: str, rows: slice) -> Batch:
        """Return these clips of a shard, whole."""
        return self._assemble({key: tensor[rows] for key, tensor in self._shards[name].items()})

    def _row(self, shard: dict[str, torch.Tensor], at: int, num_frames: int) -> dict[str, torch.Tensor]:
        row = {key: tensor[at % len(tensor)] for key, tensor in shard.items()}
        # The VAE is causal: the beginning of a clip's latents is the latents of its beginning.
        latent_frames = (num_frames - 1) // 4 + 1
        row |= {key: row[key][:, :latent_frames] for key in ("target", "known", "mask", "pose", "weight")}
        return row | {"face": row["face"][:num_frames]}

    def _size(self, name: str) -> tuple[int, ...]:
        return tuple(self._shards[name]["target"].shape[3:])

    def _assemble(self, rows: dict[str, torch.Tensor]) -> Batch:
        rows = {key: value.to(self._device) for key, value in rows.items()}
        reference = rows["reference"].float()
        known = torch.cat([rows["mask"].float(), rows["known"].float()], dim=1)
        first = torch.cat([torch.ones_like(known[:, :4, :1]), reference], dim=1)
        weight = rows["weight"].float()
        return Batch(
            clean=torch.cat([reference, rows["target"].float()], dim=2),
            condition=torch.cat([first, known], dim=2),
            pose=rows["pose"].float(),
            weight=torch.cat([torch.full_like(weight[:, :, :1], REFERENCE_WEIGHT), weight], dim=2) * self._channels,
            face=_pixels(face) if (face := rows["face"]).ndim == 5 else face,
            picture=_pixels(rows["picture"]),
            tokens=rows["tokens"],
        )


def _pixels(frames: torch.Tensor) -> torch.Tensor:
    """Convert bytes `b ... h w 3` to `b 3 ... h w` in -1..1."""
    return frames.movedim(-1, 1).float() / 127.5 - 1


def tokenize(tokenizer: T5TokenizerFast, prompts: list[str]) -> torch.Tensor:
    """Return token ids `n MAX_TOKENS`; at least the last one is padding."""
    ids = tokenizer(
        prompts, padding="max_length", max_length=MAX_TOKENS - 1, truncation=True, return_tensors="pt"
    ).input_ids
    return torch.nn.functional.pad(ids, (0, 1))
