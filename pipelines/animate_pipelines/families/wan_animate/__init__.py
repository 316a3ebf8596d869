"""Wan2.2-Animate: skeletons, face motion, background and masks as conditions. See `FamilyModule`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from animate_weights.traits import Traits

if TYPE_CHECKING:
    from animate_pipelines.families.wan_animate.family import WanAnimate
    from animate_pipelines.loading.execution import Execution
    from animate_weights.manifest import Manifest

TRAITS = Traits(
    family="wan-animate",
    tasks=("animate", "replace"),
    components=("transformer", "vae", "text_encoder", "image_encoder"),
    readers=("detector", "pose", "masks"),
)


def load(
    bundle: Path, manifest: Manifest, execution: Execution, *, fit_memory: bool, ignore_memory: bool
) -> WanAnimate:
    """Load a bundle's networks; torch is imported only here."""
    from animate_pipelines.families.wan_animate.loader import load as load_networks

    return load_networks(bundle, manifest, execution, fit_memory=fit_memory, ignore_memory=ignore_memory)
