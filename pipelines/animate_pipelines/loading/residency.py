"""Decides what stays in a GPU's memory, from its free bytes and the needs of a segment of a size."""

from __future__ import annotations

from dataclasses import dataclass, replace

from animate_pipelines.errors import DeviceError
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.predict import host_bytes, predict_peak
from animate_pipelines.loading.sizes import NetworkSizes, SegmentSize, area_segments
from animate_weights.manifest import Manifest

MARGIN_BYTES = 1_000_000_000  # of the free memory, which stay free


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """A way to share the memory; the other fields are those of `Execution`.

    cost: its cost, for people.
    """

    name: str
    cost: str
    transformers_kept: int = 1
    text_on_cpu: bool = False
    park_transformer: bool = False
    fp8_weights: bool = False
    stream_blocks: bool = False
    decode_strips: int = 1


# From the most memory to the least. What changes the pictures' last digits comes last.
RESIDENCIES = (
    Residency(name="everything stays", cost="nothing", transformers_kept=2),
    Residency(name="one transformer of several stays", cost="loading again when jobs with and without LoRAs alternate"),
    Residency(name="all but the text encoder stays", cost="a longer wait for a new prompt", text_on_cpu=True),
    Residency(
        name="transformer or VAE stays",
        cost="moving the transformer to the host and back in every segment",
        text_on_cpu=True,
        park_transformer=True,
    ),
    Residency(name="transformer in fp8 stays", cost="precision of its weights", text_on_cpu=True, fp8_weights=True),
    Residency(
        name="transformer in fp8 or VAE stays",
        cost="precision of its weights, and moving it to the host and back in every segment",
        text_on_cpu=True,
        park_transformer=True,
        fp8_weights=True,
    ),
    Residency(
        name="transformer in fp8 is streamed",
        cost="precision of its weights, and a copy of each block from the host in every step",
        text_on_cpu=True,
        fp8_weights=True,
        stream_blocks=True,
    ),
    Residency(
        name="transformer in fp8 is streamed, the picture decoded in halves",
        cost="precision of its weights, a copy of each block from the host in every step, and decoding the seam twice",
        text_on_cpu=True,
        fp8_weights=True,
        stream_blocks=True,
        decode_strips=2,
    ),
)


def plan_residency(
    sizes: NetworkSizes, execution: Execution, segment: SegmentSize, free_bytes: int
) -> Residency | None:
    """Return the first way that fits with 1 GB to spare; None when none does."""
    for residency in RESIDENCIES:
        if predict_peak(sizes, with_residency(execution, residency), segment) + MARGIN_BYTES <= free_bytes:
            return residency
    return None


def describe_plan(sizes: NetworkSizes, execution: Execution, segment: SegmentSize, free_bytes: int | None) -> str:
    """Return the residency of a segment and its bytes, for people; empty when nothing fits.

    free_bytes: None for no limit.
    """
    residency = RESIDENCIES[0] if free_bytes is None else plan_residency(sizes, execution, segment, free_bytes)
    if residency is None:
        return ""
    planned = with_residency(execution, residency)
    peak = predict_peak(sizes, planned, segment) / 1e9
    free = "" if free_bytes is None else f" of {free_bytes / 1e9:.1f}"
    host = f" and {on_host / 1e9:.1f} GB of the host's memory" if (on_host := host_bytes(sizes, planned)) else ""
    return (
        f"{residency.name}: {peak:.1f}{free} GB{host} for segments of {segment.num_frames} frames, predicted, not "
        f"measured; costs {residency.cost}"
    )


def fit_execution(sizes: NetworkSizes, manifest: Manifest, execution: Execution, free_bytes: int) -> Execution:
    """Return the execution for the largest of the bundle's areas that fits.

    Raises `DeviceError` when none does.
    """
    for segment in area_segments(manifest):
        if residency := plan_residency(sizes, execution, segment, free_bytes):
            return with_residency(execution, residency)
    least = predict_peak(sizes, with_residency(execution, RESIDENCIES[-1]), area_segments(manifest)[-1])
    raise DeviceError(
        f"the bundle {manifest.name!r} needs {(least + MARGIN_BYTES) / 1e9:.1f} GB of device memory, predicted, and "
        f"{free_bytes / 1e9:.1f} GB are free",
        field="device",
        value=free_bytes,
        limit=least + MARGIN_BYTES,
    )


def with_residency(execution: Execution, residency: Residency) -> Execution:
    """Return the execution with that residency's switches."""
    return replace(
        execution,
        transformers_kept=residency.transformers_kept,
        text_on_cpu=residency.text_on_cpu,
        park_transformer=residency.park_transformer,
        fp8_weights=residency.fp8_weights or execution.fp8_products,
        stream_blocks=residency.stream_blocks,
        decode_strips=residency.decode_strips,
    )
