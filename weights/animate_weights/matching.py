"""Matching of a checkpoint's tensors to a network's parameters, strictly, before one of them is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from animate_weights.checkpoint import Checkpoint, StoredTensor
from animate_weights.errors import BundleError
from animate_weights.lora import Lora, check_loras
from animate_weights.safetensors_file import Shape

# The parameters a stored tensor becomes: one, several (equal parts of its rows) or none (not used).
Rename = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A stored tensor and the parameters that equal parts of its rows become."""

    stored: StoredTensor
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """What a checkpoint gives a network.

    matches: the tensors that fit.
    problems: one sentence for each tensor that is missing, extra or misshapen.
    """

    matches: tuple[Match, ...]
    problems: tuple[str, ...]


def match_tensors(checkpoint: Checkpoint, expected: Mapping[str, Shape], rename: Rename) -> Matching:
    """Compare names and shapes. Dimensions of size 1 may be left out.

    checkpoint: the stored tensors.
    expected: shapes of the network's parameters by name.
    rename: the parameters' names of a stored tensor.
    """
    matches: list[Match] = []
    problems: list[str] = []
    given: set[str] = set()
    for stored in checkpoint.tensors.values():
        names = rename(stored.name)
        given.update(names)
        if unknown := [name for name in names if name not in expected]:
            problems.append(f"{stored.name} in {stored.file.name} is not part of the network ({unknown[0]})")
        elif wrong := _misshapen(stored, names, expected):
            problems.append(wrong)
        elif names:
            matches.append(Match(stored=stored, parameters=names))
    problems += [f"{name} is missing" for name in expected if name not in given]
    return Matching(matches=tuple(matches), problems=tuple(problems))


def read_tensors(
    checkpoint: Checkpoint,
    expected: Mapping[str, Shape],
    rename: Rename,
    *,
    dtype: torch.dtype,
    device: torch.device,
    loras: Sequence[Lora] = (),
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every parameter of a network in turn: converted, with the LoRAs merged in, on the device.

    checkpoint: the stored tensors.
    expected: shapes of the network's parameters by name.
    rename: the parameters' names of a stored tensor.
    dtype, device: type and place of the parameters.
    loras: LoRAs to merge.
    Raises `BundleError` with the first tensor that does not match, before anything is read.
    """
    matching = match_tensors(checkpoint, expected, rename)
    if matching.problems:
        more = f" (and {len(matching.problems) - 1} more)" if len(matching.problems) > 1 else ""
        raise BundleError(f"{matching.problems[0]}{more}", field="bundle", value=matching.problems[0].split()[0])
    check_loras(loras, expected)
    for match in matching.matches:
        tensor = checkpoint.read(match.stored.name)
        parts = tensor.chunk(len(match.parameters)) if len(match.parameters) > 1 else (tensor,)
        for name, part in zip(match.parameters, parts, strict=True):
            yield name, _merge(name, part.reshape(expected[name]), loras).to(device, dtype)


def _merge(name: str, tensor: torch.Tensor, loras: Sequence[Lora]) -> torch.Tensor:
    for lora in loras:
        if (delta := lora.delta(name)) is not None:
            tensor = tensor.float() + delta
    return tensor


def _misshapen(stored: StoredTensor, names: Sequence[str], expected: Mapping[str, Shape]) -> str | None:
    if not names:
        return None
    rows, *rest = stored.shape or (1,)
    part = (rows // len(names), *rest) if len(names) > 1 else stored.shape
    for name in names:
        if _without_ones(part) != _without_ones(expected[name]) or rows % len(names):
            wanted = expected[name] if len(names) == 1 else f"{len(names)} times {expected[name]}"
            return f"{stored.name} in {stored.file.name} has the shape {stored.shape}, not {wanted}"
    return None


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
