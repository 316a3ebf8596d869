"""The folder a render lives in. After every segment the job consists of files, and a new process can go on from them.

    job.json                   what is being rendered; another job's files are never continued
    mezzanine.mp4              the driving video, rewritten
    masks.mp4                  the caller's own masks, rewritten
    character.mp4              the character's video, rewritten
    people.npz                 who is seen where, and the keypoints of the one who is followed
    masks.npy                  where the person is, eight pixels a byte (to replace)
    segment-00000.mp4          one closed-GOP piece a segment, written by `VideoWriter`
    state-00000.safetensors    the carried frames and the generator after that segment

A segment is done when its state file exists: it is written last, whole, and after its piece is on the disk.
What is in a file, its own type reads and writes; here are the names alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


class Workspace:
    """The files of one job.

    discarded: whether another job's segments lay there, or this job's of a release that rendered differently.
    """

    def __init__(self, folder: Path, *, discarded: bool = False) -> None:
        self.folder = folder
        self.discarded = discarded

    @classmethod
    def claim(cls, folder: Path, identity: dict[str, Any]) -> Workspace:
        """Return the workspace of the job that `identity` describes. What another job left in the folder is deleted."""
        owner, written = folder / "job.json", json.dumps(identity, sort_keys=True, ensure_ascii=False)
        if owner.is_file() and owner.read_text() == written:
            return cls(folder)
        discarded = cls(folder).count_done() > 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        owner.write_text(written)
        return cls(folder, discarded=discarded)

    @property
    def mezzanine(self) -> Path:
        """Return where the rewritten driving video is."""
        return self.folder / "mezzanine.mp4"

    @property
    def mask_mezzanine(self) -> Path:
        """Return where the caller's rewritten masks are."""
        return self.folder / "masks.mp4"

    @property
    def character_mezzanine(self) -> Path:
        """Return where the character's rewritten video is."""
        return self.folder / "character.mp4"

    @property
    def people(self) -> Path:
        """Return where the people found in the driving video are."""
        return self.folder / "people.npz"

    @property
    def masks(self) -> Path:
        """Return where the masks of the person to replace are."""
        return self.folder / "masks.npy"

    def found_files(self) -> list[Path]:
        """Return the files of what the networks found in the driving video, which are never written to again."""
        return [path for path in (self.people, self.masks) if path.is_file()]

    def state(self, index: int) -> Path:
        """Return where the state after segment `index` is."""
        return self.folder / f"state-{index:05d}.safetensors"

    def count_done(self) -> int:
        """Return how many segments are done, counted from the first; a gap ends the count."""
        done = 0
        while self.state(done).is_file():
            done += 1
        return done
