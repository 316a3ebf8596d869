"""The folder of a render. After every segment the job consists of files, and a new process can go on from them.

    job.json                   the identity of the job; another job's files are never continued
    mezzanine.mp4              the driving video, rewritten
    masks.mp4                  the caller's own masks, rewritten
    character.mp4              the character's video, rewritten
    people.npz                 everybody in the driving video, and the keypoints of the person to follow
    masks.npy                  the masks of the person to replace, eight pixels a byte
    segment-00000.mp4          one closed-GOP piece a segment, written by `VideoWriter`
    state-00000.safetensors    the carried frames and the generator after that segment

A segment is done when its state file exists: it is written last, whole, and after its piece is on the disk.
The content of a file is read and written by its own type; here are the names alone.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from animate_pipelines.request.params import RenderParams

OWNER = "job.json"


class Workspace:
    """The files of one job.

    discarded: whether another job's segments lay there, or this job's of a release that rendered differently.
    """

    def __init__(self, folder: Path, *, discarded: bool = False) -> None:
        self.folder = folder
        self.discarded = discarded

    @classmethod
    def claim(cls, folder: Path, identity: dict[str, Any]) -> Workspace:
        """Return the workspace of the job that `identity` describes. Another job's files in the folder are deleted."""
        owner, written = folder / OWNER, json.dumps(identity, sort_keys=True)
        if owner.is_file() and owner.read_text() == written:
            return cls(folder)
        discarded = cls(folder).count_done() > 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        owner.write_text(written)
        return cls(folder, discarded=discarded)

    @property
    def mezzanine(self) -> Path:
        """Return the path of the rewritten driving video."""
        return self.folder / "mezzanine.mp4"

    @property
    def mask_mezzanine(self) -> Path:
        """Return the path of the caller's rewritten masks."""
        return self.folder / "masks.mp4"

    @property
    def character_mezzanine(self) -> Path:
        """Return the path of the character's rewritten video."""
        return self.folder / "character.mp4"

    @property
    def people(self) -> Path:
        """Return the path of the people found in the driving video."""
        return self.folder / "people.npz"

    @property
    def masks(self) -> Path:
        """Return the path of the masks of the person to replace."""
        return self.folder / "masks.npy"

    def found_files(self) -> list[Path]:
        """Return the files with the networks' findings in the driving video, which are never written to again."""
        return [path for path in (self.people, self.masks) if path.is_file()]

    def state(self, index: int) -> Path:
        """Return the path of the state after segment `index`."""
        return self.folder / f"state-{index:05d}.safetensors"

    def count_done(self) -> int:
        """Return the number of segments that are done, counted from the first; a gap ends the count."""
        num_done = 0
        while self.state(num_done).is_file():
            num_done += 1
        return num_done


def find_seed(folder: Path, params: RenderParams) -> int | None:
    """Return the seed of the render whose files lie in `folder`, if it is `params` but for the seed; else None."""
    try:
        values = json.loads((folder / OWNER).read_text())["params"]
    except (OSError, ValueError, KeyError):
        return None
    wanted = params.to_json() | {"seed": values.get("seed")}
    return int(values["seed"]) if values == json.loads(json.dumps(wanted)) else None
