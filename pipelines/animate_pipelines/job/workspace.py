"""The folder a render lives in. After every segment the job consists of files, and a new process can go on from them.

    job.json                   what is being rendered; another job's files are never continued
    mezzanine.mp4              the driving video, rewritten
    masks.mp4                  the caller's own masks, rewritten
    character.mp4              the character's video, rewritten
    survey.npz                 what preflight saw in a few of its frames
    people.npz                 who is seen where, and the keypoints of the one who is followed
    masks.npy                  where the person is, eight pixels a byte (replace mode)
    segment-00000.mp4          one closed-GOP piece a segment, written by `VideoWriter`
    state-00000.safetensors    the carried frames and the generator after that segment

A segment is done when its state file exists: it is written last, whole, and after its piece is on the disk.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from animate_pipelines.diffusion.state import LoopState
from animate_pipelines.media.durable import written_whole
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.people import FoundPeople


class Workspace:
    """The files of one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def claim(cls, folder: Path, identity: dict[str, Any]) -> Workspace:
        """The workspace of the job described by `identity`. What another job left in the folder is deleted."""
        owner, written = folder / "job.json", json.dumps(identity, sort_keys=True, ensure_ascii=False)
        if not (owner.is_file() and owner.read_text() == written):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            owner.write_text(written)
        return cls(folder)

    @property
    def mezzanine(self) -> Path:
        return self.folder / "mezzanine.mp4"

    @property
    def mask_mezzanine(self) -> Path:
        return self.folder / "masks.mp4"

    @property
    def character_mezzanine(self) -> Path:
        return self.folder / "character.mp4"

    def found_files(self) -> list[Path]:
        """What the networks found in the driving video. Written whole, and never written to again."""
        return [path for path in (self._survey, self._people, self._masks) if path.is_file()]

    def has_survey(self) -> bool:
        return self._survey.is_file()

    def save_survey(self, seen: Observations) -> None:
        with written_whole(self._survey) as partial, partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(seen, field.name) for field in dataclasses.fields(seen)})

    def load_survey(self) -> Observations:
        with np.load(self._survey) as saved:
            width, height = saved["size"].tolist()
            return Observations(
                poses=saved["poses"],
                boxes=saved["boxes"],
                times_s=saved["times_s"],
                sharpness=saved["sharpness"],
                num_pictures=int(saved["num_pictures"]),
                people=int(saved["people"]),
                size=(width, height),
                cuts_s=tuple(saved["cuts_s"].tolist()),
            )

    def count_done(self) -> int:
        """Segments done, counted from the first; a gap ends the count."""
        done = 0
        while self._state(done).is_file():
            done += 1
        return done

    def save_people(self, people: FoundPeople) -> None:
        """Keep what was found in the driving video."""
        with written_whole(self._people) as partial, partial.open("wb") as file:
            np.savez(file, **{f.name: getattr(people, f.name) for f in dataclasses.fields(people)})

    def has_people(self) -> bool:
        return self._people.is_file()

    def load_people(self) -> FoundPeople:
        with np.load(self._people) as saved:
            values = {name: saved[name] for name in saved.files}
        return FoundPeople(**values | {"chosen": int(values["chosen"])})

    def has_masks(self) -> bool:
        return self._masks.is_file()

    def save_masks(self, masks: Iterable[tuple[int, np.ndarray]], num_frames: int, size: tuple[int, int]) -> None:
        """Keep (source frame, `h w` mask of 0 and 1) pairs on the disk. size: (width, height) of a mask."""
        width, height = size
        with written_whole(self._masks) as partial:
            packed = np.lib.format.open_memmap(
                partial, mode="w+", dtype=np.uint8, shape=(num_frames, height, -(-width // 8))
            )
            for index, mask in masks:
                packed[index] = np.packbits(mask, axis=1)
            packed.flush()

    def load_masks(self, indices: Sequence[int], width: int) -> np.ndarray:
        """The masks `t h w` of those source frames."""
        packed = np.load(self._masks, mmap_mode="r")
        return np.unpackbits(packed[list(indices)], axis=2, count=width)

    def masked(self, indices: Sequence[int]) -> dict[int, bool]:
        """For those source frames, whether their mask has anything in it."""
        packed = np.load(self._masks, mmap_mode="r")
        return {index: bool(packed[index].any()) for index in indices}

    def save_state(self, index: int, state: LoopState) -> None:
        """Mark segment `index` as done. Its piece must be on the disk already."""
        carried = state.carried if state.carried is not None else torch.empty(0)
        tensors = {"carried": carried.contiguous().cpu(), "generator": state.generator.get_state()}
        with written_whole(self._state(index)) as partial:
            save_file(tensors, partial)

    def load_state(self, index: int, device: torch.device) -> LoopState:
        """The state that segment `index` left."""
        tensors = load_file(self._state(index))
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
        return LoopState(generator=generator, carried=tensors["carried"].to(device))

    @property
    def _survey(self) -> Path:
        return self.folder / "survey.npz"

    @property
    def _people(self) -> Path:
        return self.folder / "people.npz"

    @property
    def _masks(self) -> Path:
        return self.folder / "masks.npy"

    def _state(self, index: int) -> Path:
        return self.folder / f"state-{index:05d}.safetensors"
