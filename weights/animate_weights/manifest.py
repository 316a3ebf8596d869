"""`Manifest`: what a bundle of weights is made for, and where the networks outside the diffusion model lie in it.

Standard library only, because the HTTP side reads manifests and must start without torch. A plain download of the
published checkpoint has no manifest; the published defaults describe it then.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from animate_weights.errors import BundleError
from animate_weights.hashes import HASHES_NAME
from animate_weights.layouts import find_layout
from animate_weights.recognition import WAN_ANIMATE, recognise_family
from animate_weights.traits import installed_families

MANIFEST_NAME = "manifest.json"
READERS_PATH = Path("process_checkpoint")  # the networks that read pictures: who is there, and in which pose
DETECTOR_PATH = READERS_PATH / "det/yolov10m.onnx"
POSE_PATH = READERS_PATH / "pose2d/vitpose_h_wholebody.onnx/end2end.onnx"
# A bundle may have other networks in their place: the only ONNX file in these folders.
DETECTOR_FOLDER, POSE_FOLDER = READERS_PATH / "det", READERS_PATH / "pose2d"
SAM2_PATH = READERS_PATH / "sam2"
SAFETY_PATH = Path("safety_checker")

# What pictures a bundle's networks can read: people in photographs and drawings; only the puppets that
# `animate_weights.puppet` draws; or none, having random weights.
Reads = Literal["people", "puppets", "nothing"]
REAL_WEIGHTS = "real weights: animate-server weights fetch wan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle is made for.

    name: what results call it.
    render_areas: (width, height) in pixels, whose products are the areas that the model was trained to generate at.
    segment_frames: frames generated at once, 4n+1.
    steps, shift: the full schedule.
    turbo_lora: path in the bundle of the few-step LoRA; None when the bundle has none.
    turbo_steps: its number of steps.
    warning: a sentence shown with every result of this bundle; empty for real weights.
    relighting_lora: path in the bundle of the LoRA that fits a replaced person to the light of the scene.
    turbo_strength, relighting_strength: factors for the LoRAs' deltas.
    transformer: path in the bundle of the transformer's safetensors file, where it is not the layout's own.
    family: whose checkpoint it is; see `animate_weights.traits`.
    reads: the pictures that its networks can read.
    """

    name: str
    render_areas: tuple[tuple[int, int], ...]
    segment_frames: int
    steps: int
    shift: float
    turbo_lora: str | None = None
    turbo_steps: int | None = None
    warning: str = ""
    relighting_lora: str | None = None
    turbo_strength: float = 1.0
    relighting_strength: float = 1.0
    transformer: str | None = None
    family: str = WAN_ANIMATE.name
    reads: Reads = "people"

    def __post_init__(self) -> None:
        if self.reads not in get_args(Reads):
            raise ValueError(f"reads must be one of {', '.join(get_args(Reads))}, not {self.reads!r}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


# What the published checkpoints are made for, by family.
_PUBLISHED = {
    "wan-animate": Manifest(
        name="wan2.2-animate-14b", render_areas=((1280, 720), (832, 480)), segment_frames=77, steps=20, shift=5.0
    ),
}
# Where the original layout of Wan2.2-Animate has the relighting LoRA, by preference.
_RELIGHTING = ("relighting_lora/adapter_model.safetensors", "relighting_lora.ckpt")


def find_detector(bundle: Path) -> Path:
    """Return where a bundle's person detector is: in the published one's place, or the only ONNX file beside it."""
    return _only_onnx(bundle / DETECTOR_PATH, bundle / DETECTOR_FOLDER)


def find_pose_network(bundle: Path) -> Path:
    """Return where a bundle's pose network is, likewise."""
    return _only_onnx(bundle / POSE_PATH, bundle / POSE_FOLDER)


def _only_onnx(published: Path, folder: Path) -> Path:
    if published.is_file():
        return published
    others = [path for path in folder.rglob("*.onnx") if path.is_file()]
    return others[0] if len(others) == 1 else published


def note_reads(bundle: str, reads: Reads) -> str | None:
    """Return what to say of a bundle before any work: that it does not read people. None of one that does."""
    return None if reads == "people" else f"{say_reads(bundle, reads)}; {REAL_WEIGHTS}"


def say_reads(bundle: str, reads: Reads) -> str:
    """Return what a bundle of that name reads, for people."""
    verbs = {
        "people": "reads people in photographs and drawings",
        "puppets": "reads drawn puppets only",
        "nothing": "has random weights and reads nothing",
    }
    return f"{bundle} {verbs[reads]}"


def is_bundle(folder: Path) -> bool:
    """Return whether a folder holds a bundle, be its family supported or not."""
    return (folder / MANIFEST_NAME).is_file() or find_layout(folder) is not None or recognise_family(folder) is not None


def read_manifest(bundle: Path) -> Manifest:
    """Return the manifest of a bundle folder, or what is known of the published checkpoint that lies there.

    Raises `BundleError` when the folder is no bundle, holds a family that is known but not supported, or its manifest
    cannot be read.
    """
    path = bundle / MANIFEST_NAME
    if not path.is_file():
        published = _PUBLISHED[_supported_family(bundle)]
        relighting = next((name for name in _RELIGHTING if (bundle / name).is_file()), None)
        return replace(published, relighting_lora=relighting)
    try:
        values = json.loads(path.read_text())
        areas = tuple((int(width), int(height)) for width, height in values["render_areas"])
        return Manifest(**values | {"render_areas": areas})
    except (ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path} cannot be read: {error}", field="bundle", value=str(bundle)) from error


def _supported_family(bundle: Path) -> str:
    """Return the family of a folder without a manifest: one that is installed, and whose checkpoint is published."""
    known = recognise_family(bundle)
    if known is None and find_layout(bundle) is None:
        raise BundleError(
            f"{bundle} holds no bundle: it has neither model_index.json nor the original config.json",
            field="bundle",
            value=str(bundle),
        )
    known = known or WAN_ANIMATE
    supported = sorted(installed_families().keys() & _PUBLISHED.keys())
    if known.name not in supported:
        raise BundleError(
            f"{bundle} holds {known.title}, a family that is not supported; supported are {', '.join(supported)}",
            field="bundle",
            value=known.name,
            limit=supported,
        )
    return known.name


def fingerprint(bundle: Path) -> str:
    """Return a short hash that changes with the bundle: its JSON files' bytes, and every file's name and size.

    The list of hashes does not count: a bundle is the same with and without it. Weights are not read: a bundle of 80 GB
    must not delay the start. `verify` reads them.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in bundle.rglob("*") if p.is_file() and p.name != HASHES_NAME):
        digest.update(f"{path.relative_to(bundle)}\0{path.stat().st_size}\0".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
