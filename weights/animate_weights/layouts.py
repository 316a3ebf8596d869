"""The two published forms of a bundle, and the files of each network in them.

Standard library only: the HTTP side asks whether a folder is a bundle and must start without torch.

diffusers: `model_index.json` and a folder a network.
original: the files of Wan-AI/Wan2.2-Animate-14B, `.pth` for all but the transformer, which is sharded safetensors or,
    as published for ComfyUI, one safetensors file of the same names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from animate_weights.errors import BundleError

Layout = Literal["diffusers", "original"]
Component = Literal["transformer", "vae", "text_encoder", "image_encoder"]
COMPONENTS: tuple[Component, ...] = ("transformer", "vae", "text_encoder", "image_encoder")

_INDEX = "diffusion_pytorch_model.safetensors.index.json"
_ORIGINAL_CLASS = "WanAnimateModel"
_ORIGINAL_PATTERNS: dict[Component, str] = {
    "vae": "Wan2.1_VAE.pth",
    "text_encoder": "models_t5_umt5-xxl-enc-*.pth",
    "image_encoder": "models_clip_open-clip-xlm-roberta-large-vit-huge-14*.pth",
}
_TOKENIZERS: dict[Layout, str] = {"diffusers": "tokenizer", "original": "google/umt5-xxl"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentFiles:
    """The files of one network's tensors.

    files: the files, or shards.
    index: the file that lists the tensors of each shard; None without shards.
    """

    files: tuple[Path, ...]
    index: Path | None = None


def find_layout(folder: Path) -> Layout | None:
    """Return the form of a folder, or None when it is no bundle."""
    if (folder / "model_index.json").is_file():
        return "diffusers"
    if read_config(folder).get("_class_name") == _ORIGINAL_CLASS:
        return "original"
    if any(folder.glob(_ORIGINAL_PATTERNS["text_encoder"])) and any(folder.glob("*.safetensors")):
        return "original"
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """Read the folder's `config.json`; return an empty mapping when there is none.

    Raises `BundleError` when it is not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise BundleError(f"{path} cannot be read: {error}", field="bundle", value=str(folder)) from error
    return values if isinstance(values, dict) else {}


def component_files(bundle: Path, component: Component, chosen: str | None = None) -> ComponentFiles:
    """Find the files of one network.

    bundle: the folder.
    component: the network.
    chosen: the transformer's file as the manifest names it, a path in the bundle.
    Raises `BundleError` when there are none, or when several fit.
    """
    if chosen is not None and component == "transformer":
        return ComponentFiles(files=(_existing(bundle, bundle / chosen),))
    if find_layout(bundle) == "diffusers":
        return _safetensors(bundle, bundle / component)
    if component == "transformer":
        return _safetensors(bundle, bundle)
    pattern = _ORIGINAL_PATTERNS[component]
    found = sorted(bundle.glob(pattern))
    if len(found) != 1:
        missing = f"the bundle lacks {pattern}" if not found else f"the bundle has {len(found)} files {pattern}"
        raise BundleError(missing, field="bundle", value=str(bundle))
    return ComponentFiles(files=(found[0],))


def tokenizer_folder(bundle: Path) -> Path:
    """Return the folder of the umT5 tokeniser."""
    return bundle / _TOKENIZERS[find_layout(bundle) or "diffusers"]


def _safetensors(bundle: Path, folder: Path) -> ComponentFiles:
    for index in sorted(folder.glob("*.safetensors.index.json")):
        return ComponentFiles(files=_shards(bundle, index), index=index)
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        name = f"{folder.name}/" if folder != bundle else _INDEX
        raise BundleError(f"the bundle lacks {name}", field="bundle", value=str(bundle))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise BundleError(
            f"{folder} has several safetensors files and no index: {names}; name one as `transformer` in the manifest",
            field="bundle",
            value=str(bundle),
        )
    return ComponentFiles(files=(found[0],))


def _shards(bundle: Path, index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{index} cannot be read: {error}", field="bundle", value=str(bundle)) from error
    return tuple(_existing(bundle, index.parent / name) for name in names)


def _existing(bundle: Path, path: Path) -> Path:
    if not path.resolve().is_file():
        raise BundleError(f"the bundle lacks {path.relative_to(bundle)}", field="bundle", value=str(bundle))
    return path
