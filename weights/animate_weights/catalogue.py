"""The parts of a bundle: files, sizes, licences, purposes, and where they are published. Standard library only.

Sizes are those of the published listings. Each licence is what its publisher is known to state, with the page that
states it; none was compared with that page, and `weights list` says so: read it before you ship.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animate_weights.layouts import Layout

_GB, _MB = 10**9, 10**6
ORIGINAL_REPOSITORY = "Wan-AI/Wan2.2-Animate-14B"
DIFFUSERS_REPOSITORY = "Wan-AI/Wan2.2-Animate-14B-Diffusers"
_TURBO_REPOSITORY = "lightx2v/Wan2.1-Distill-Loras"
_SAM2_REPOSITORY = "facebook/sam2.1-hiera-large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A part of a bundle.

    name: what `weights list` calls it.
    repository: where it is published.
    patterns: patterns of its files in the repository.
    size_bytes: size of its files.
    licence: the licence, unverified.
    licence_page: the page on which its author states it.
    purpose: what it is for.
    needed: whether nothing renders without it.
    without: what happens without it.
    folder: where its files go in the bundle; empty for their place in the repository.
    instead: pattern of other files that serve as well; empty where none do.
    """

    name: str
    repository: str
    patterns: tuple[str, ...]
    size_bytes: int
    licence: str
    licence_page: str
    purpose: str
    needed: bool = True
    without: str = "nothing renders"
    folder: str = ""
    instead: str = ""

    def find(self, bundle: Path) -> list[Path]:
        """Return its files in a bundle, or those that serve instead."""
        files = sorted(path for pattern in self.patterns for path in (bundle / self.folder).glob(pattern))
        return files or (sorted(bundle.glob(self.instead)) if self.instead else [])


def _page(repository: str) -> str:
    return f"https://huggingface.co/{repository}"


# The parts of other authors in both layouts, under their licences.
_OF_OTHERS = {
    "text encoder": ("Apache-2.0", _page("google/umt5-xxl")),
    "tokeniser": ("Apache-2.0", _page("google/umt5-xxl")),
    "image encoder": ("MIT", _page("laion/CLIP-ViT-H-14-laion2B-s32B-b79K")),
}
_PREPROCESSING = (
    Item(
        name="person detector",
        repository=ORIGINAL_REPOSITORY,
        patterns=("process_checkpoint/det/yolov10m.onnx",),
        size_bytes=round(61.7 * _MB),
        licence="AGPL-3.0",
        licence_page="https://github.com/THU-MIG/yolov10",
        purpose="finds the person in each frame",
        without="keypoints must be given",
        instead="process_checkpoint/det/**/*.onnx",
    ),
    Item(
        name="pose network",
        repository=ORIGINAL_REPOSITORY,
        patterns=("process_checkpoint/pose2d/vitpose_h_wholebody.onnx/*",),
        size_bytes=round(2.55 * _GB),
        licence="Apache-2.0",
        licence_page="https://github.com/ViTAE-Transformer/ViTPose",
        purpose="finds 133 keypoints of the person",
        without="keypoints must be given",
        instead="process_checkpoint/pose2d/**/*.onnx",
    ),
    Item(
        name="mask network",
        repository=_SAM2_REPOSITORY,
        patterns=("config.json", "model.safetensors"),
        folder="process_checkpoint/sam2",
        size_bytes=round(0.9 * _GB),
        licence="Apache-2.0",
        licence_page=_page(_SAM2_REPOSITORY),
        purpose="outlines the person to replace",
        needed=False,
        without="replace mode masks a box around the keypoints",
    ),
    Item(
        name="few-step LoRA",
        repository=_TURBO_REPOSITORY,
        patterns=("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",),
        folder="loras",
        size_bytes=739 * _MB,
        licence="Apache-2.0",
        licence_page=_page(_TURBO_REPOSITORY),
        purpose="turbo: 4 steps in place of 20",
        needed=False,
        without="turbo is refused",
    ),
)
_RELIGHTING = Item(
    name="relighting LoRA",
    repository=ORIGINAL_REPOSITORY,
    patterns=("relighting_lora.ckpt", "relighting_lora/*"),
    size_bytes=round(2.9 * _GB),
    licence="Apache-2.0",
    licence_page=_page(ORIGINAL_REPOSITORY),
    purpose="fits a replaced person to the light of the scene",
    needed=False,
    without="replace mode keeps the light of the reference image",
)


def _original(name: str, patterns: tuple[str, ...], size_bytes: float, purpose: str) -> Item:
    return _part(ORIGINAL_REPOSITORY, name, patterns, size_bytes, purpose)


def _saved(name: str, folder: str, size_bytes: float, purpose: str) -> Item:
    return _part(DIFFUSERS_REPOSITORY, name, (f"{folder}/*",) if folder else ("model_index.json",), size_bytes, purpose)


def _part(repository: str, name: str, patterns: tuple[str, ...], size_bytes: float, purpose: str) -> Item:
    licence, page = _OF_OTHERS.get(name, ("Apache-2.0", _page(repository)))
    return Item(
        name=name,
        repository=repository,
        patterns=patterns,
        size_bytes=round(size_bytes),
        licence=licence,
        licence_page=page,
        purpose=purpose,
    )


CATALOGUE: dict[Layout, tuple[Item, ...]] = {
    "original": (
        _original(
            "transformer",
            ("config.json", "diffusion_pytorch_model*"),
            34.55 * _GB,
            "generates the video's latents, bf16",
        ),
        _original("text encoder", ("models_t5_umt5-xxl-enc-bf16.pth",), 11.4 * _GB, "reads the prompt"),
        _original("tokeniser", ("google/umt5-xxl/*",), 20 * _MB, "splits the prompt"),
        _original("image encoder", ("models_clip_*.pth",), 4.8 * _GB, "reads the reference image"),
        _original("VAE", ("Wan2.1_VAE.pth",), 508 * _MB, "pixels to latents and back, fp32"),
        *_PREPROCESSING,
        _RELIGHTING,
    ),
    "diffusers": (
        _saved("index", "", 1000, "says what the folders are"),
        _saved("transformer", "transformer", 69.1 * _GB, "generates the video's latents, fp32"),
        _saved("text encoder", "text_encoder", 11.4 * _GB, "reads the prompt"),
        _saved("tokeniser", "tokenizer", 20 * _MB, "splits the prompt"),
        _saved("image encoder", "image_encoder", 1.26 * _GB, "reads the reference image"),
        _saved("VAE", "vae", 508 * _MB, "pixels to latents and back, fp32"),
        *_PREPROCESSING,
        _RELIGHTING,
    ),
}
