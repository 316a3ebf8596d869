"""The input files of a request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from animate_pipelines.request.params import INPUTS, RenderParams


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFiles:
    """The input files, as they came."""

    reference_image: Path
    driving_video: Path | None = None
    driving_audio: Path | None = None
    keypoints: Path | None = None
    mask_video: Path | None = None
    neutral_reference: Path | None = None
    neutral_driver: Path | None = None

    @property
    def driver(self) -> Path:
        """Return the driving video; the tasks that look at one require it."""
        assert self.driving_video is not None
        return self.driving_video

    @property
    def files(self) -> dict[str, Path]:
        """Return those that are there, by their fields."""
        return {name: path for name in INPUTS if (path := getattr(self, name)) is not None}

    @classmethod
    def of(cls, params: RenderParams) -> InputFiles:
        """Return the files of params whose inputs are paths."""
        return cls(**{name: Path(path) for name in INPUTS if (path := getattr(params, name)) is not None})


def digests_of(media: InputFiles) -> dict[str, object]:
    """Return the SHA-256 of each input, by its field."""
    return {name: _digest(path) for name, path in media.files.items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
