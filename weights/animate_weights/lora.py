"""LoRAs: read, matched to the transformer's tensors by name, and merged into them.

The step-distillation LoRAs carry more than low-rank products: deltas of biases, of norm weights and of the modulation
tables. All are merged; a key that matches nothing is an error, never silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from animate_weights.errors import BundleError
from animate_weights.names import diffusers_names

_PREFIXES = ("base_model.model.", "diffusion_model.", "transformer.")
_DOWN, _UP = ("lora_down.weight", "lora_A.weight"), ("lora_up.weight", "lora_B.weight")
# The whole-tensor deltas and the parameter of the layer that each one changes.
_DELTAS = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}


def read_lora(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by original layer name, prefixes of the various spellings removed. `BundleError` when unreadable."""
    try:
        tensors = load_file(path)
    except Exception as error:
        raise BundleError(f"the LoRA {path.name} cannot be read: {error}", field="lora", value=path.name) from error
    return {_plain_name(name): tensor for name, tensor in tensors.items()}


def merge_lora(weights: Mapping[str, torch.Tensor], lora: Mapping[str, torch.Tensor], *, strength: float = 1.0) -> None:
    """Add a LoRA to the transformer's tensors, in place, in fp32. `weights` are by Diffusers name.

    `BundleError` names the first key that matches no tensor or has the wrong shape.
    """
    used: set[str] = set()
    for key in lora:
        for down, up in zip(_DOWN, _UP, strict=True):
            if key.endswith(f".{down}"):
                used |= _merge_product(weights, lora, key.removesuffix(f".{down}"), down, up, strength)
        for suffix, parameter in _DELTAS.items():
            if key.endswith(f".{suffix}"):
                target = f"{key.removesuffix(suffix)}{parameter}"
                _add(weights, target, lora[key].float() * strength, key)
                used.add(key)
    if unused := sorted(set(lora) - used):
        raise BundleError(f"{len(unused)} keys of the LoRA are of no known kind: {unused[0]}", field="lora")


def _merge_product(
    weights: Mapping[str, torch.Tensor],
    lora: Mapping[str, torch.Tensor],
    layer: str,
    down: str,
    up: str,
    strength: float,
) -> set[str]:
    keys = {f"{layer}.{down}", f"{layer}.{up}"}
    if missing := sorted(keys - set(lora)):
        raise BundleError(f"the LoRA lacks {missing[0]}", field="lora", value=missing[0])
    low, high = lora[f"{layer}.{down}"].float(), lora[f"{layer}.{up}"].float()
    rank = low.shape[0]
    alpha = lora.get(f"{layer}.alpha")
    scale = strength if alpha is None else strength * float(alpha) / rank
    _add(weights, f"{layer}.weight", high @ low * scale, f"{layer}.{up}")
    return keys | ({f"{layer}.alpha"} & set(lora))


def _add(weights: Mapping[str, torch.Tensor], original: str, delta: torch.Tensor, key: str) -> None:
    names = diffusers_names(original)
    targets = [weights.get(name) for name in names]
    parts = delta.chunk(len(targets)) if len(targets) > 1 else [delta]
    for target, part in zip(targets, parts, strict=True):
        if target is None:
            raise BundleError(f"the LoRA's {key} matches no tensor of the transformer", field="lora", value=key)
        if target.shape != part.shape:
            shapes = f"{tuple(part.shape)} for {tuple(target.shape)}"
            raise BundleError(f"the LoRA's {key} has the wrong shape: {shapes}", field="lora", value=key)
        target.copy_((target.float() + part.to(target.device)).to(target.dtype))


def _plain_name(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace(".default.", ".")
