"""What stays in a GPU's memory, decided from how much is free and from what a segment of a size needs.

The need is arithmetic on this code's own tensors: the coefficients below are what the networks hold at once, counted on
the meta device at the published widths (tests repeat it). cuDNN's workspaces and the allocator's slack are not in
it; `_OVERHEAD_BYTES` stands for them and for the CUDA context. Not measured on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from animate_pipelines.diffusion.strips import halo_of
from animate_pipelines.errors import DeviceError
from animate_pipelines.loading.execution import Recipe
from animate_pipelines.loading.networks import NetworkFiles, network_shapes, open_network
from animate_weights.manifest import DETECTOR_PATH, POSE_PATH, SAM2_PATH, Manifest
from animate_weights.quantize import is_quantised_parameter
from animate_weights.safetensors_file import Shape

_OVERHEAD_BYTES = 1_500_000_000
MARGIN_BYTES = 1_000_000_000  # that stays free of what was free
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_STREAMED_BLOCKS = 2  # on the device: one computes, the next arrives
_TOKEN_PX, _FRAMES_PER_LATENT = 16, 4
_TOKEN_BYTES = 24.3 + 2  # a channel of a token: in a block's self-attention at its fullest, and its pose patch
_CONTEXT_TOKENS, _CONTEXT_BYTES = 769, 4  # image and text; their keys and values in bf16, of every block
_DECODE_BYTES, _DECODE_FRAME_BYTES = 19_465, 12.35  # a pixel of the picture; and for each frame of the segment
_ENCODE_BYTES, _ENCODE_FRAME_BYTES = 14_081, 12.5
_VAE_WIDTH, _VAE_RES_BLOCKS = 96, 2  # that these are for
_MIDDLE_BYTES = (
    24  # a latent frame of a pixel: what the decoder's middle leaves, 384 channels at an eighth of the sides
)
_LATENT_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCount:
    """Numbers of values: all, those of the matrices that can be kept in fp8, and these matrices' rows."""

    values: int
    matrices: int
    rows: int

    @classmethod
    def of(cls, shapes: Mapping[str, Shape]) -> WeightCount:
        """Of a transformer's parameters, by Diffusers name."""
        matrices = [shape for name, shape in shapes.items() if is_quantised_parameter(name)]
        return cls(
            values=sum(map(math.prod, shapes.values())),
            matrices=sum(map(math.prod, matrices)),
            rows=sum(shape[0] for shape in matrices),
        )

    def stored_bytes(self, recipe: Recipe) -> int:
        """In the recipe's type, or the matrices in 8 bits with an fp32 scale a row."""
        width = _BYTES[recipe.dtype]
        if not recipe.fp8_weights:
            return self.values * width
        return (self.values - self.matrices) * width + self.matrices + self.rows * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """Numbers of values. blocks: those of the transformer that can be streamed, all of one size.

    preprocessing_bytes: the files of the detector, the pose and the mask network.
    """

    transformer: WeightCount
    blocks: WeightCount
    num_blocks: int
    text_encoder: int
    image_encoder: int
    vae: int
    transformer_width: int
    vae_width: int
    preprocessing_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSize:
    """What is generated at once, in pixels and frames."""

    width: int
    height: int
    num_frames: int

    @property
    def num_latent_frames(self) -> int:
        """Without the reference's."""
        return (self.num_frames - 1) // _FRAMES_PER_LATENT + 1

    @property
    def num_tokens(self) -> int:
        """Of the transformer, the reference's frame included."""
        return (self.num_latent_frames + 1) * (self.width // _TOKEN_PX) * (self.height // _TOKEN_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residency:
    """A way to share the memory. cost: what it costs, for people; the fields are the recipe's."""

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


def read_sizes(bundle: Path, manifest: Manifest) -> NetworkSizes:
    """From the headers of a bundle's files. `BundleError` when they cannot be read."""
    transformer = open_network(bundle, "transformer", chosen=manifest.transformer)
    shapes = network_shapes(transformer.build_empty())
    blocks = {name: shape for name, shape in shapes.items() if name.startswith("blocks.")}
    vae = network_shapes(open_network(bundle, "vae").build_empty())
    return NetworkSizes(
        transformer=WeightCount.of(shapes),
        blocks=WeightCount.of(blocks),
        num_blocks=len({name.split(".")[1] for name in blocks}),
        text_encoder=_count(open_network(bundle, "text_encoder")),
        image_encoder=_count(open_network(bundle, "image_encoder")),
        vae=sum(map(math.prod, vae.values())),
        transformer_width=shapes["patch_embedding.weight"][0],
        vae_width=vae["encoder.conv_in.weight"][0],
        preprocessing_bytes=sum(path.stat().st_size for path in _preprocessing_files(bundle)),
    )


def predict_peak(sizes: NetworkSizes, recipe: Recipe, segment: SegmentSize) -> int:
    """Bytes of device memory at the fullest moment of a render with that recipe."""
    transformer = transformer_bytes(sizes, recipe)
    others = sizes.vae * _BYTES[recipe.vae_dtype] + sizes.image_encoder * _BYTES[recipe.image_dtype]
    if not recipe.text_on_cpu:
        others += sizes.text_encoder * _BYTES[recipe.dtype]
    beside = transformer * (recipe.transformers_kept - 1)
    denoising = transformer + denoise_bytes(sizes, segment)
    coding = max(decode_bytes(sizes, segment, recipe.decode_strips), encode_bytes(sizes, segment))
    coding += 0 if recipe.park_transformer else transformer
    return others + beside + max(denoising, coding) + untracked_bytes(sizes)


def untracked_bytes(sizes: NetworkSizes) -> int:
    """Of a predicted peak, what torch's allocator does not hold: ONNX's networks, the CUDA context, workspaces."""
    return sizes.preprocessing_bytes + _OVERHEAD_BYTES


def transformer_bytes(sizes: NetworkSizes, recipe: Recipe) -> int:
    """Of one transformer's weights on the device while it computes; two of its blocks when they are streamed."""
    whole = sizes.transformer.stored_bytes(recipe)
    if not recipe.stream_blocks:
        return whole
    blocks = sizes.blocks.stored_bytes(recipe)
    return whole - blocks + blocks * _STREAMED_BLOCKS // sizes.num_blocks


def host_bytes(sizes: NetworkSizes, recipe: Recipe) -> int:
    """Of weights in host memory: what is parked, streamed or runs on the CPU."""
    held = sizes.text_encoder * _BYTES[recipe.dtype] if recipe.text_on_cpu else 0
    if recipe.stream_blocks:
        held += sizes.blocks.stored_bytes(recipe)
    elif recipe.park_transformer:
        held += sizes.transformer.stored_bytes(recipe)
    return held


def denoise_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """What one call of the transformer in bf16 holds at once, beside its weights."""
    tokens = segment.num_tokens * _TOKEN_BYTES + sizes.num_blocks * _CONTEXT_TOKENS * _CONTEXT_BYTES
    return round(sizes.transformer_width * tokens)


def decode_bytes(sizes: NetworkSizes, segment: SegmentSize, num_strips: int = 1) -> int:
    """What decoding a segment in fp32 holds at once, beside the VAE's weights."""
    pixels = segment.width * segment.height
    features = _DECODE_BYTES * sizes.vae_width / _VAE_WIDTH
    if num_strips > 1:
        length = max(segment.width, segment.height) / _LATENT_PX
        seams = halo_of(_VAE_RES_BLOCKS) * min(2, num_strips - 1)  # of a strip
        features *= min(1, 1 / num_strips + seams / length)
        features += _MIDDLE_BYTES * segment.num_latent_frames * sizes.vae_width / _VAE_WIDTH
    return round(pixels * (features + _DECODE_FRAME_BYTES * segment.num_frames)) + _pose_bytes(sizes, segment)


def encode_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """What encoding one of a segment's videos in fp32 holds at once, beside the VAE's weights."""
    features = _ENCODE_BYTES * sizes.vae_width / _VAE_WIDTH
    pixels = segment.width * segment.height
    return round(pixels * (features + _ENCODE_FRAME_BYTES * segment.num_frames)) + _pose_bytes(sizes, segment)


def _pose_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """The pose patches, which are kept while the VAE works."""
    return segment.num_tokens * sizes.transformer_width * 2


def plan_residency(sizes: NetworkSizes, recipe: Recipe, segment: SegmentSize, free_bytes: int) -> Residency | None:
    """The first way that fits with 1 GB to spare; None when none does."""
    for residency in RESIDENCIES:
        if predict_peak(sizes, with_residency(recipe, residency), segment) + MARGIN_BYTES <= free_bytes:
            return residency
    return None


def describe_plan(sizes: NetworkSizes, recipe: Recipe, segment: SegmentSize, free_bytes: int | None) -> str:
    """What would stay and what that needs, for people; empty when nothing fits. free_bytes: None for no limit."""
    residency = RESIDENCIES[0] if free_bytes is None else plan_residency(sizes, recipe, segment, free_bytes)
    if residency is None:
        return ""
    planned = with_residency(recipe, residency)
    peak = predict_peak(sizes, planned, segment) / 1e9
    free = "" if free_bytes is None else f" of {free_bytes / 1e9:.1f}"
    host = f" and {held / 1e9:.1f} GB of the host's memory" if (held := host_bytes(sizes, planned)) else ""
    return (
        f"{residency.name}: {peak:.1f}{free} GB{host} for segments of {segment.num_frames} frames, predicted, not "
        f"measured; costs {residency.cost}"
    )


def fit_recipe(sizes: NetworkSizes, manifest: Manifest, recipe: Recipe, free_bytes: int) -> Recipe:
    """The recipe for the largest of the bundle's areas that fits. `DeviceError` when none does."""
    for segment in area_segments(manifest):
        if residency := plan_residency(sizes, recipe, segment, free_bytes):
            return with_residency(recipe, residency)
    least = predict_peak(sizes, with_residency(recipe, RESIDENCIES[-1]), area_segments(manifest)[-1])
    raise DeviceError(
        f"the bundle {manifest.name!r} needs {(least + MARGIN_BYTES) / 1e9:.1f} GB of device memory, predicted, and "
        f"{free_bytes / 1e9:.1f} GB are free",
        field="device",
        value=free_bytes,
        limit=least + MARGIN_BYTES,
    )


def area_segments(manifest: Manifest) -> list[SegmentSize]:
    """A segment at each of the bundle's areas, the largest first."""
    areas = sorted(manifest.render_areas, key=math.prod, reverse=True)
    return [SegmentSize(width=w, height=h, num_frames=manifest.segment_frames) for w, h in areas]


def with_residency(recipe: Recipe, residency: Residency) -> Recipe:
    """The recipe with that residency's switches."""
    return replace(
        recipe,
        transformers_kept=residency.transformers_kept,
        text_on_cpu=residency.text_on_cpu,
        park_transformer=residency.park_transformer,
        fp8_weights=residency.fp8_weights or recipe.fp8_products,
        stream_blocks=residency.stream_blocks,
        decode_strips=residency.decode_strips,
    )


def _preprocessing_files(bundle: Path) -> list[Path]:
    paths = (
        bundle / DETECTOR_PATH,
        *(bundle / POSE_PATH).parent.glob("*"),
        *(bundle / SAM2_PATH).glob("*.safetensors"),
    )
    return [path for path in paths if path.is_file()]


def _count(network: NetworkFiles) -> int:
    return sum(map(math.prod, network_shapes(network.build_empty()).values()))
