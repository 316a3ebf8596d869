"""Finds the installed families, and loads a bundle with its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from animate_pipelines.errors import BundleError
from animate_pipelines.families.family import Family, FamilyModule
from animate_pipelines.job.render_job import Memory
from animate_pipelines.loading.execution import Execution, default_execution
from animate_pipelines.loading.safety import SafetyChecker, load_safety_checker
from animate_pipelines.loading.shortcuts import take_shortcuts
from animate_pipelines.loading.threads import limit_threads
from animate_weights.manifest import SAFETY_PATH, Manifest, fingerprint, note_reads, read_manifest
from animate_weights.traits import Traits, installed_families


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The loaded networks of one bundle on one device.

    recipe_defaults: fields of `Recipe` that jobs take where they are silent.
    safety: checks pictures when a job wants that; None when the bundle has no checker.
    """

    bundle: Path
    manifest: Manifest
    bundle_hash: str
    traits: Traits
    family: Family
    recipe_defaults: dict[str, Any] = field(default_factory=dict)
    safety: SafetyChecker | None = None

    @property
    def execution(self) -> Execution:
        """Return how this process runs the networks."""
        return self.family.execution

    @property
    def memory(self) -> Memory | None:
        """Return the memory that jobs are held to; None where memory is not planned."""
        return self.family.memory

    @property
    def device(self) -> torch.device:
        """Return the device of the networks."""
        return torch.device(self.execution.device)

    def describe(self) -> dict[str, Any]:
        """Return the JSON values by which a server accepts jobs for this bundle."""
        manifest = self.manifest
        notes = [note for note in (manifest.warning, note_reads(manifest.name, manifest.reads)) if note]
        told = {"safety_checker": self.safety is not None, "warning": "; ".join(notes)}
        return manifest.to_json() | self.traits.to_json() | told


def find_family(name: str) -> FamilyModule:
    """Return the installed family of that name. Raises `BundleError` with those that are installed."""
    installed = installed_families()
    if name not in installed:
        raise BundleError(
            f"the bundle is of the family {name!r}; installed are {', '.join(sorted(installed))}",
            field="bundle",
            value=name,
            limit=sorted(installed),
        )
    return cast(FamilyModule, installed[name].load())


def load_models(
    bundle: Path,
    *,
    device: str = "cpu",
    shortcuts: Sequence[str] = (),
    execution: Execution | None = None,
    recipe_defaults: dict[str, Any] | None = None,
    ignore_memory: bool = False,
) -> Models:
    """Load every network of a bundle. Reads local files only.

    shortcuts: see `animate_pipelines.loading.shortcuts`.
    execution: how to run the networks; None takes the official types with the shortcuts, and on a GPU the residency
        that fits its free memory.
    recipe_defaults: fields of `Recipe` beside those that the shortcuts set.
    ignore_memory: whether to try although the prediction does not fit.
    Raises `BundleError` for missing or unreadable files, `DeviceError` when memory is too small or a shortcut does not
    work on the device.
    """
    manifest = read_manifest(bundle)
    module = find_family(manifest.family)
    if torch.device(device).type == "cpu":
        limit_threads(bundle)
    settings = take_shortcuts(shortcuts)
    family = module.load(
        bundle,
        manifest,
        execution or default_execution(device, **settings.execution),
        fit_memory=execution is None,
        ignore_memory=ignore_memory,
    )
    return Models(
        bundle=bundle,
        manifest=manifest,
        bundle_hash=fingerprint(bundle),
        traits=module.TRAITS,
        family=family,
        recipe_defaults=settings.recipe | (recipe_defaults or {}),
        safety=load_safety_checker(bundle / SAFETY_PATH, device),
    )
