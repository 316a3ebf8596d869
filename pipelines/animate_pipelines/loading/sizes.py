"""The numbers of values in the networks and in a segment, from which memory is predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.networks import NetworkFiles, network_shapes, open_network
from animate_weights.manifest import SAM2_PATH, Manifest, find_detector, find_pose_network
from animate_weights.quantized import is_quantised_parameter
from animate_weights.safetensors_file import Shape

TYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
FRAMES_PER_LATENT = 4
_TOKEN_PX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightCount:
    """Numbers of values.

    values: all of them.
    matrices: those of the matrices that can be kept in fp8.
    rows: the number of these matrices' rows.
    """

    values: int
    matrices: int
    rows: int

    @classmethod
    def of(cls, shapes: Mapping[str, Shape]) -> WeightCount:
        """Count a transformer's parameters.

        shapes: by Diffusers name.
        """
        matrices = [shape for name, shape in shapes.items() if is_quantised_parameter(name)]
        return cls(
            values=sum(map(math.prod, shapes.values())),
            matrices=sum(map(math.prod, matrices)),
            rows=sum(shape[0] for shape in matrices),
        )

    def stored_bytes(self, execution: Execution) -> int:
        """Return the bytes in the execution's type, or with the matrices in 8 bits and an fp32 scale a row."""
        width = TYPE_BYTES[execution.dtype]
        if not execution.fp8_weights:
            return self.values * width
        return (self.values - self.matrices) * width + self.matrices + self.rows * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSizes:
    """Numbers of values of the networks.

    blocks: those of the transformer that can be streamed, all of one size.
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
    """The size of a segment, in pixels and frames."""

    width: int
    height: int
    num_frames: int

    @property
    def num_latent_frames(self) -> int:
        """Return the number of latent frames, without the reference's."""
        return (self.num_frames - 1) // FRAMES_PER_LATENT + 1

    @property
    def num_tokens(self) -> int:
        """Return the number of the transformer's tokens, the reference's frame included."""
        return (self.num_latent_frames + 1) * (self.width // _TOKEN_PX) * (self.height // _TOKEN_PX)


def area_segments(manifest: Manifest) -> list[SegmentSize]:
    """Return a segment at each of the bundle's areas, the largest first."""
    areas = sorted(manifest.render_areas, key=math.prod, reverse=True)
    return [SegmentSize(width=w, height=h, num_frames=manifest.segment_frames) for w, h in areas]


def read_sizes(bundle: Path, manifest: Manifest) -> NetworkSizes:
    """Read the sizes from the headers of a bundle's files.

    Raises `BundleError` when they cannot be read.
    """
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


def _preprocessing_files(bundle: Path) -> list[Path]:
    paths = (
        find_detector(bundle),
        *find_pose_network(bundle).parent.glob("*"),
        *(bundle / SAM2_PATH).glob("*.safetensors"),
    )
    return [path for path in paths if path.is_file()]


def _count(network: NetworkFiles) -> int:
    return sum(map(math.prod, network_shapes(network.build_empty()).values()))
