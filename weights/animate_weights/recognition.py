"""Which family of models a folder holds, told by its index files, its configuration or its tensors' names.

Standard library only. Sources: `model_index.json` of the Diffusers repositories, `config.json` of the original ones,
and names that one family's transformer alone has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animate_weights.errors import BundleError
from animate_weights.safetensors_header import read_header


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFamily:
    """A published family. title: as its authors call it."""

    name: str
    title: str


WAN_ANIMATE = KnownFamily(name="wan-animate", title="Wan2.2-Animate")
WAN_ANIMATE_2 = KnownFamily(name="wan-animate-2", title="Wan-Animate-2")
WAN_I2V = KnownFamily(name="wan-i2v", title="Wan2.2-I2V-A14B (image to video)")
WAN_T2V = KnownFamily(name="wan-t2v", title="Wan2.2-T2V-A14B (text to video)")
WAN_TI2V = KnownFamily(name="wan-ti2v", title="Wan2.2-TI2V-5B (text and image to video)")
WAN_S2V = KnownFamily(name="wan-s2v", title="Wan2.2-S2V-14B (speech to video)")
SCAIL_2 = KnownFamily(name="scail-2", title="SCAIL-2")

_PIPELINES = {
    "WanAnimatePipeline": WAN_ANIMATE,
    "WanAnimate2": WAN_ANIMATE_2,
    "WanAnimate2Distilled": WAN_ANIMATE_2,
    "WanImageToVideoPipeline": WAN_I2V,
    "WanPipeline": WAN_T2V,
    "WanSpeechToVideoPipeline": WAN_S2V,
}
_CLASSES = {"WanAnimateModel": WAN_ANIMATE, "WanModel_S2V": WAN_S2V}
_TYPES = {
    "animate": WAN_ANIMATE,
    "animate2": WAN_ANIMATE_2,
    "s2v": WAN_S2V,
    "i2v": WAN_I2V,
    "ti2v": WAN_TI2V,
    "t2v": WAN_T2V,
}
_TENSORS = {
    "face_adapter.": WAN_ANIMATE,
    "audio_injector.": WAN_S2V,
    "patch_embedding_mask.": SCAIL_2,
    "blocks.0.block.": WAN_ANIMATE_2,
}
_I2V_CHANNELS, _TI2V_CHANNELS = 36, 48


def recognise_family(folder: Path) -> KnownFamily | None:
    """Return the family whose files lie in `folder`; None when nothing tells.

    Raises `BundleError` for an index or a configuration that is not JSON.
    """
    index = _read_json(folder / "model_index.json") or _read_json(folder / "modular_model_index.json")
    if "_class_name" in index:
        return _by_pipeline(index)
    # Two experts lie in folders of their own, with a configuration each.
    configs = [_read_json(folder / name / "config.json") for name in ("", "high_noise_model")]
    return _by_config(configs[0]) or _by_config(configs[1]) or _by_tensors(_tensor_shapes(folder))


def _by_pipeline(index: dict[str, Any]) -> KnownFamily:
    """By `_class_name` of the Diffusers pipeline, and what tells two families of one class apart."""
    name = str(index["_class_name"])
    if name in ("WanPipeline", "WanImageToVideoPipeline") and index.get("expand_timesteps"):
        return WAN_TI2V
    return _PIPELINES.get(name.removesuffix("ModularPipeline"), KnownFamily(name=name, title=f"a {name}"))


def _by_config(config: dict[str, Any]) -> KnownFamily | None:
    return _CLASSES.get(str(config.get("_class_name"))) or _TYPES.get(str(config.get("model_type")))


def _by_tensors(shapes: Mapping[str, Sequence[int]]) -> KnownFamily | None:
    """By names that one family's transformer alone has, then by how many channels it reads."""
    for start, family in _TENSORS.items():
        if any(name.startswith(start) for name in shapes):
            return family
    channels = [*shapes.get("patch_embedding.weight", ()), 0, 0][1]
    if channels == _I2V_CHANNELS:
        return WAN_ANIMATE_2 if any(name.startswith("img_emb.") for name in shapes) else WAN_I2V
    return WAN_TI2V if channels == _TI2V_CHANNELS else None


def _tensor_shapes(folder: Path) -> dict[str, Sequence[int]]:
    """Return the tensors of the safetensors files that lie in the folder itself, without their values."""
    shapes: dict[str, Sequence[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            header, _ = read_header(path)
        except (OSError, ValueError):
            continue  # what is wrong with it is said where it is loaded
        shapes |= {name: entry["shape"] for name, entry in header.items()}
    return shapes


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise BundleError(f"{path} cannot be read: {error}", field="bundle", value=str(path.parent)) from error
    return values if isinstance(values, dict) else {}
