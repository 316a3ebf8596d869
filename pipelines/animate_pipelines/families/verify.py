"""Checks that a bundle is whole and fits the networks, and which modes work with it. No weights are computed with."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from animate_pipelines.families.registry import find_family
from animate_pipelines.loading.networks import NetworkFiles, network_shapes, open_network
from animate_pipelines.loading.readers import load_detector, load_pose_network
from animate_pipelines.perception.sam2_files import CHECKPOINT_NAME
from animate_weights.checkpoint import Checkpoint
from animate_weights.errors import BundleError
from animate_weights.hashes import HASHES_NAME, OnBytes, find_changes, read_hashes
from animate_weights.layouts import COMPONENTS, find_layout, tokenizer_folder
from animate_weights.lora import read_lora
from animate_weights.manifest import SAM2_PATH, Manifest, find_detector, find_pose_network, read_manifest
from animate_weights.traits import Traits

State = Literal["ok", "note", "bad"]
_MAX_PROBLEMS = 5  # of one component, before the rest is only counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one part of a bundle.

    state: `bad` keeps renders from working or being right; `note` is worth knowing.
    """

    subject: str
    state: State
    detail: str


def verify_bundle(bundle: Path, on_bytes: OnBytes, *, hashes: bool = True) -> list[Verdict]:
    """Return every verdict on a bundle; the last ones are on the modes.

    on_bytes: called with the bytes hashed.
    hashes: False to leave the slow part out: reading every byte, for its hash and for values that are not finite.
    """
    manifest = read_manifest(bundle)
    traits = find_family(manifest.family).TRAITS
    verdicts = [Verdict(subject="bundle", state="ok", detail=f"{manifest.name}, {find_layout(bundle)} layout")]
    verdicts.append(_bytes(bundle, on_bytes) if hashes else _unchecked("left out"))
    verdicts += _networks(bundle, manifest, traits, read=hashes)
    verdicts += _files(bundle, traits)
    return verdicts + _modes(manifest, verdicts)


def _bytes(bundle: Path, on_bytes: OnBytes) -> Verdict:
    try:
        hashes = read_hashes(bundle)
    except BundleError as error:
        return Verdict(subject="bytes", state="bad", detail=error.message)
    if hashes is None:
        return _unchecked(f"the bundle has no {HASHES_NAME}")
    changes = find_changes(bundle, hashes, on_bytes)
    if changes:
        return Verdict(subject="bytes", state="bad", detail=_several(changes))
    return Verdict(subject="bytes", state="ok", detail=f"{len(hashes)} files are what they were")


def _unchecked(reason: str) -> Verdict:
    return Verdict(subject="bytes", state="note", detail=f"not checked: {reason}")


def _networks(bundle: Path, manifest: Manifest, traits: Traits, *, read: bool) -> Iterator[Verdict]:
    for component in (known for known in COMPONENTS if known in traits.components):
        try:
            files = open_network(bundle, component, chosen=manifest.transformer)
            problems = list(files.match().problems)
            problems += _unreadable(files.checkpoint) if read else []
        except BundleError as error:
            yield Verdict(subject=component, state="bad", detail=error.message)
            continue
        detail = _several(problems) if problems else _contents(files)
        yield Verdict(subject=component, state="bad" if problems else "ok", detail=detail)
        if component == "transformer" and not problems:
            yield from _loras(bundle, manifest, files)


def _unreadable(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield what reading every tensor finds: values that are not finite."""
    for name in checkpoint.tensors:
        try:
            checkpoint.read(name)
        except BundleError as error:
            yield error.message


def _contents(files: NetworkFiles) -> str:
    """Return the number, types and size of a network's tensors, for people."""
    types = collections.Counter(
        str(stored.dtype).removeprefix("torch.") for stored in files.checkpoint.tensors.values()
    )
    listed = ", ".join(f"{number} {name}" for name, number in types.most_common())
    size = sum(path.stat().st_size for path in files.checkpoint.files.files)
    return f"{len(files.checkpoint.tensors)} tensors ({listed}), {size / 1e9:.2f} GB"


def _loras(bundle: Path, manifest: Manifest, transformer: NetworkFiles) -> Iterator[Verdict]:
    expected = network_shapes(transformer.build_empty())
    for subject, path in (("relighting LoRA", manifest.relighting_lora), ("few-step LoRA", manifest.turbo_lora)):
        if path is None:
            continue
        try:
            lora = read_lora(bundle / path)
            problems = lora.problems(expected)
        except BundleError as error:
            problems = [error.message]
        detail = _several(problems) if problems else f"{path} changes {len(lora.targets)} tensors"
        yield Verdict(subject=subject, state="bad" if problems else "ok", detail=detail)


def _files(bundle: Path, traits: Traits) -> Iterator[Verdict]:
    """Judge the tokeniser, and the networks that look at pictures where the family has them look."""
    if "text_encoder" in traits.components:
        yield _present("tokeniser", bundle, tokenizer_folder(bundle))
    if "detector" in traits.readers:
        yield _reader("person detector", bundle, find_detector(bundle), load_detector)
    if "pose" in traits.readers:
        yield _reader("pose network", bundle, find_pose_network(bundle), load_pose_network)
    if "masks" in traits.readers:
        exists = any((bundle / SAM2_PATH / name).is_file() for name in ("config.json", CHECKPOINT_NAME))
        detail = f"{SAM2_PATH}" if exists else f"the bundle lacks {SAM2_PATH}: masks are boxes around the keypoints"
        yield Verdict(subject="mask network", state="ok" if exists else "note", detail=detail)


def _present(subject: str, bundle: Path, path: Path) -> Verdict:
    exists, name = path.exists(), path.relative_to(bundle)
    return Verdict(
        subject=subject, state="ok" if exists else "bad", detail=f"{name}" if exists else f"the bundle lacks {name}"
    )


def _reader(subject: str, bundle: Path, path: Path, load: Callable[[Path], object]) -> Verdict:
    """Judge a network that looks at pictures by opening it: one of no known kind would fail in the first render."""
    try:
        load(bundle)
    except BundleError as error:
        return Verdict(subject=subject, state="bad", detail=error.message)
    return _present(subject, bundle, path)


def _modes(manifest: Manifest, verdicts: list[Verdict]) -> list[Verdict]:
    """Return the verdicts on the modes.

    Animate and replace need all that is not a LoRA; turbo and relighting need theirs as well.
    """
    bad = {verdict.subject for verdict in verdicts if verdict.state == "bad"}
    blocking = sorted(bad - {"relighting LoRA", "few-step LoRA"})
    says = []
    for mode, lora, path in (
        ("animate", None, None),
        ("replace", "relighting LoRA", manifest.relighting_lora),
        ("turbo", "few-step LoRA", manifest.turbo_lora),
    ):
        missing = blocking + ([lora] if lora in bad and lora else [])
        if missing:
            says.append(Verdict(subject=mode, state="bad", detail=f"does not work: {', '.join(missing)}"))
        elif mode == "turbo" and path is None:
            says.append(Verdict(subject=mode, state="note", detail="is refused: the bundle has no few-step LoRA"))
        elif mode == "replace" and path is None:
            says.append(Verdict(subject=mode, state="note", detail="works, without relighting"))
        else:
            says.append(Verdict(subject=mode, state="ok", detail="works"))
    return says


def _several(problems: list[str]) -> str:
    text = "; ".join(problems[:_MAX_PROBLEMS])
    return text if len(problems) <= _MAX_PROBLEMS else f"{text}; and {len(problems) - _MAX_PROBLEMS} more"
