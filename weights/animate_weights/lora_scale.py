"""The alpha of a LoRA's layers: a product counts alpha / rank times. Each trainer writes it at another place.

Beside the factors (`LAYER.alpha`: kohya, ComfyUI), in PEFT's `adapter_config.json`, in the header of the file
(`lora_adapter_metadata` of diffusers' `save_lora_adapter`; `lora_alpha` and `rank`; kohya's `ss_network_alpha`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from animate_weights.names import diffusers_names

_TOLERANCE = 1e-3
_UNKNOWN = ("use_rslora", "use_dora", "rslora", "dora")  # change the scale in ways that are not known here
_PLAIN = (("lora_alpha", ("rank", "lora_rank", "r")), ("ss_network_alpha", ("ss_network_dim",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedScale:
    """What a file says of the scale of its products, beside the factors.

    source: where, for messages.
    alpha: of all layers without one of their own; None where nothing is said.
    rank: that it belongs to; None where it may differ from layer to layer.
    patterns: alpha by the end of a layer's name, as PEFT has it.
    """

    source: str = ""
    alpha: float | None = None
    rank: int | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)

    def alpha_of(self, layer: str) -> float | None:
        """Return the stated alpha of a layer, by its original name."""
        names = (layer, *diffusers_names(layer))
        for pattern, alpha in self.patterns.items():
            if any(re.search(rf"(^|\.){pattern}$", name) for name in names):
                return alpha
        return self.alpha

    def conflict(self, other: StatedScale) -> str | None:
        """Return a sentence where two statements differ."""
        if self.alpha is None or other.alpha is None or are_near(self.alpha, other.alpha):
            return None
        return f"{self.source} says alpha {self.alpha:g}, {other.source} says {other.alpha:g}"


def are_near(a: float, b: float) -> bool:
    """Return whether two alphas are one, but for rounding."""
    return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b), 1.0)


def read_stated_scale(config: Path | None, metadata: Mapping[str, str]) -> StatedScale:
    """Return what PEFT's config and a file's header say.

    config: `adapter_config.json`, where there is one.
    Raises `ValueError` where the two differ, and for options that change the scale in a way that is not known here.
    """
    stated = [*_of_config(config), *_of_adapter(metadata), *_of_header(metadata)]
    for first, second in pairwise(stated):
        if conflict := first.conflict(second):
            raise ValueError(conflict)
    return stated[0] if stated else StatedScale()


def _of_config(config: Path | None) -> list[StatedScale]:
    if config is None or not config.is_file():
        return []
    return [_of_peft(json.loads(config.read_text()), config.name)]


def _of_adapter(metadata: Mapping[str, str]) -> list[StatedScale]:
    """Return what diffusers keeps: PEFT's options as JSON, with the component's name before each."""
    text = metadata.get("lora_adapter_metadata")
    if text is None:
        return []
    options = {name.removeprefix("transformer."): value for name, value in json.loads(text).items()}
    return [_of_peft(options, "lora_adapter_metadata in the header")]


def _of_peft(options: Mapping[str, Any], source: str) -> StatedScale:
    unknown = next((name for name in _UNKNOWN if options.get(name)), None)
    if unknown:
        raise ValueError(f"{source} sets {unknown}, which is not supported")
    alpha, rank = options.get("lora_alpha"), options.get("r")
    return StatedScale(
        source=source,
        alpha=None if alpha is None else float(alpha),
        rank=None if rank is None or options.get("rank_pattern") else int(rank),
        patterns={str(name): float(value) for name, value in (options.get("alpha_pattern") or {}).items()},
    )


def _of_header(metadata: Mapping[str, str]) -> list[StatedScale]:
    stated = []
    for name, ranks in _PLAIN:
        alpha = _number(metadata.get(name))
        if alpha is not None:
            rank = next((found for key in ranks if (found := _number(metadata.get(key))) is not None), None)
            rank = int(rank) if rank is not None else None
            stated.append(StatedScale(source=f"{name} in the header", alpha=alpha, rank=rank))
    return stated


def _number(text: str | None) -> float | None:
    """Return a number; None for no text and for words such as kohya's "Dynamic"."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
