"""LoRAs: read, matched to the transformer's tensors by name, and merged into them.

The step-distillation LoRAs carry more than low-rank products: deltas of biases, of norm weights and of the modulation
tables. All are merged; a key that matches nothing is an error, never silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from animate_weights.errors import BundleError
from animate_weights.lora_names import plain_key
from animate_weights.lora_scale import StatedScale, are_near, read_stated_scale
from animate_weights.names import diffusers_names
from animate_weights.quantized import is_finite
from animate_weights.tensor_files import open_tensor_file

_DOWN, _UP = ("lora_down.weight", "lora_A.weight"), ("lora_up.weight", "lora_B.weight")
# The whole-tensor deltas and the parameter of the layer that each one changes.
_DELTAS = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The source of a delta or of a part of its rows.

    layer: original name of the layer.
    key: the tensor that holds the delta, or its upper factor.
    down: the lower factor of a low-rank product; None where `key` is the delta itself.
    part, parts: this is part `part` of `parts` equal parts of the rows.
    """

    layer: str
    key: str
    down: str | None
    part: int
    parts: int


class Lora:
    """The deltas of one LoRA by the transformer's tensor names. Products are computed when they are read.

    name: the name in messages and results, such as `lightx2v_4step.safetensors`.
    strength: a factor for every delta.
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        *,
        strength: float = 1.0,
        stated: StatedScale = StatedScale(),  # noqa: B008 -- frozen
    ) -> None:
        self.name, self.strength = name, strength
        self._tensors, self._stated = tensors, stated
        self._sources = _index(name, tensors)

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the Diffusers names of the tensors that it changes."""
        return tuple(self._sources)

    def problems(self, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return one sentence for each key that matches no tensor, does not fit, or is not finite.

        expected: shapes of the transformer's tensors by Diffusers name.
        """
        found = [
            problem
            for target, sources in self._sources.items()
            for source in sources
            if (problem := self._misfit(source, target, expected) or self._flaw(source))
        ]
        return list(dict.fromkeys(found))

    def _misfit(self, source: _Source, target: str, expected: Mapping[str, tuple[int, ...]]) -> str | None:
        if target not in expected:
            return f"the LoRA's {source.key} matches no tensor of the transformer"
        shape = self._part_shape(source)
        if shape != tuple(expected[target]):
            return f"the LoRA's {source.key} has the wrong shape: {shape} for {tuple(expected[target])}"
        return None

    def _flaw(self, source: _Source) -> str | None:
        """Return what is wrong with the numbers of a delta."""
        wild = next((key for key in (source.key, source.down) if key and not is_finite(self._tensors[key])), None)
        if wild:
            return f"the LoRA's {wild} has values that are not finite"
        if source.down is None:
            return None
        rank, other = self._tensors[source.down].shape[0], self._tensors[source.key].shape[1]
        if rank != other:
            return f"the LoRA's {source.down} has the rank {rank}, {source.key} has {other}"
        if self._stated.rank not in (None, rank):
            return f"{self._stated.source} says rank {self._stated.rank}, the LoRA's {source.down} has {rank}"
        own, stated = self._own_alpha(source), self._stated.alpha_of(source.layer)
        if own is not None and stated is not None and not are_near(own, stated):
            return f"{self._stated.source} says alpha {stated:g}, the LoRA's {source.layer}.alpha is {own:g}"
        return None

    def delta(self, target: str) -> torch.Tensor | None:
        """Return the delta of a tensor, fp32 with the strength applied; None when it is not changed.

        target: its Diffusers name.
        """
        deltas = [self._part(source) for source in self._sources.get(target, ())]
        return torch.stack(deltas).sum(0) * self.strength if deltas else None

    def _part(self, source: _Source) -> torch.Tensor:
        tensors = self._tensors
        if source.down is None:
            whole = tensors[source.key].float()
        else:
            low, high = tensors[source.down].float(), tensors[source.key].float()
            whole = (high.flatten(1) @ low.flatten(1)).reshape(high.shape[0], *low.shape[1:])
            whole *= self._scale(source, rank=low.shape[0])
        return whole.chunk(source.parts)[source.part]

    def _scale(self, source: _Source, rank: int) -> float:
        own = self._own_alpha(source)
        alpha = self._stated.alpha_of(source.layer) if own is None else own
        return 1.0 if alpha is None else alpha / rank

    def _own_alpha(self, source: _Source) -> float | None:
        stored = self._tensors.get(f"{source.layer}.alpha")
        return None if stored is None else float(stored)

    def _part_shape(self, source: _Source) -> tuple[int, ...]:
        shape = tuple(self._tensors[source.key].shape)
        if source.down is not None:
            shape = (shape[0], *self._tensors[source.down].shape[1:])
        return (shape[0] // source.parts, *shape[1:]) if source.parts > 1 else shape


def read_lora(path: Path, *, strength: float = 1.0) -> Lora:
    """Read a LoRA in any published spelling, by original layer name.

    path: safetensors, a pickle with a `state_dict`, or PEFT's folder (`adapter_model.safetensors` beside
        `adapter_config.json`).
    strength: a factor for every delta.
    Raises `BundleError` when a file cannot be read, says two things of its scale, names a layer twice, or has a key of
    no known kind.
    """
    folder = path if path.is_dir() else path.parent
    file = path / "adapter_model.safetensors" if path.is_dir() else path
    config = folder / "adapter_config.json" if file.name.startswith("adapter_model") else None
    try:
        opened = open_tensor_file(file)
        tensors = _by_plain_key({name: opened.read(name) for name, _, _ in opened.list()})
        stated = read_stated_scale(config, opened.metadata)
    except Exception as error:
        raise BundleError(f"the LoRA {path.name} cannot be read: {error}", field="lora", value=path.name) from error
    return Lora(path.name, tensors, strength=strength, stated=stated)


def _by_plain_key(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors by the layers' own names. Raises `ValueError` for two spellings of one key."""
    spelled: dict[str, str] = {}
    for key in tensors:
        first = spelled.setdefault(plain_key(key), key)
        if first != key:
            raise ValueError(f"it has one key in two spellings, {first} and {key}")
    return {plain: tensors[key] for plain, key in spelled.items()}


def check_loras(loras: Sequence[Lora], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `BundleError` with the first key of a LoRA that matches no tensor or has the wrong shape."""
    for lora in loras:
        if problems := lora.problems(expected):
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise BundleError(f"{lora.name}: {problems[0]}{more}", field="lora", value=lora.name)


@torch.no_grad()
def merge_lora(weights: Mapping[str, torch.Tensor], lora: Lora) -> None:
    """Add a LoRA to the transformer's tensors, in place, in fp32.

    weights: tensors by Diffusers name.
    Raises `BundleError` as `check_loras` does; nothing is changed then.
    """
    check_loras([lora], {name: tuple(tensor.shape) for name, tensor in weights.items()})
    for target in lora.targets:
        delta = lora.delta(target)
        assert delta is not None
        weights[target].copy_(weights[target].float() + delta.to(weights[target].device))


def _index(lora: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, list[_Source]]:
    """Return the sources of each tensor's delta.

    Raises `BundleError` on a key of no known kind, a product with one half, or a layer in two spellings.
    """
    sources: dict[str, list[_Source]] = {}
    used = set()
    for key in tensors:
        layer, kind = _split(key)
        if kind in _UP:
            down = f"{layer}.{_DOWN[_UP.index(kind)]}"
            _require(lora, tensors, down)
            used |= {key, down, f"{layer}.alpha"}
            target = f"{layer}.weight"
        elif kind in _DOWN:
            _require(lora, tensors, f"{layer}.{_UP[_DOWN.index(kind)]}")
            continue
        elif kind in _DELTAS:
            down, target = None, f"{layer}.{_DELTAS[kind]}"
            used.add(key)
        else:
            continue
        names = diffusers_names(target)
        for part, name in enumerate(names):
            source = _Source(layer=layer, key=key, down=down, part=part, parts=len(names))
            earlier = sources.setdefault(name, [])
            if other := next((known.layer for known in earlier if known.layer != layer), None):
                message = f"{lora} has one layer in two spellings, {other} and {layer}"
                raise BundleError(message, field="lora", value=lora)
            earlier.append(source)
    if unused := sorted(set(tensors) - used):
        raise BundleError(f"{lora}: {len(unused)} keys are of no known kind: {unused[0]}", field="lora", value=lora)
    return sources


def _split(key: str) -> tuple[str, str]:
    """Split a key into layer and kind."""
    for kind in (*_UP, *_DOWN, *_DELTAS):
        if key.endswith(f".{kind}"):
            return key.removesuffix(f".{kind}"), kind
    return key, ""


def _require(lora: str, tensors: Mapping[str, torch.Tensor], name: str) -> None:
    if name not in tensors:
        raise BundleError(f"the LoRA {lora} lacks {name}", field="lora", value=name)
