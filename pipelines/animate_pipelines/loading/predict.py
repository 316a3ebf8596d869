"""Predicts the memory of a render, by arithmetic on this code's own tensors.

The coefficients below are the values that the networks hold at once, counted on the meta device at the published widths
(tests repeat it). cuDNN's workspaces and the allocator's slack are not in them; `_OVERHEAD_BYTES` stands for these and
for the CUDA context. Not measured on a GPU.
"""

from __future__ import annotations

from animate_pipelines.diffusion.strips import halo_of
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.sizes import TYPE_BYTES, NetworkSizes, SegmentSize

_OVERHEAD_BYTES = 1_500_000_000
_STREAMED_BLOCKS = 2  # on the device: one computes, the next arrives
_TOKEN_BYTES = 24.3 + 2  # a channel of a token: in a block's self-attention at its fullest, and its pose patch
_CONTEXT_TOKENS, _CONTEXT_BYTES = 769, 4  # image and text; their keys and values in bf16, of every block
_DECODE_BYTES, _DECODE_FRAME_BYTES = 19_465, 12.35  # a pixel of the picture; and for each frame of the segment
_ENCODE_BYTES, _ENCODE_FRAME_BYTES = 14_081, 12.5
_VAE_WIDTH, _VAE_RES_BLOCKS = 96, 2  # that these are for
# A latent frame of a pixel: what the decoder's middle leaves, 384 channels at an eighth of the sides.
_MIDDLE_BYTES = 24
_LATENT_PX = 8


def predict_peak(sizes: NetworkSizes, execution: Execution, segment: SegmentSize) -> int:
    """Return the bytes of device memory at the fullest moment of a render with that execution."""
    transformer = transformer_bytes(sizes, execution)
    others = sizes.vae * TYPE_BYTES[execution.vae_dtype] + sizes.image_encoder * TYPE_BYTES[execution.image_dtype]
    if not execution.text_on_cpu:
        others += sizes.text_encoder * TYPE_BYTES[execution.dtype]
    beside = transformer * (execution.transformers_kept - 1)
    denoising = transformer + denoise_bytes(sizes, segment)
    coding = max(decode_bytes(sizes, segment, execution.decode_strips), encode_bytes(sizes, segment))
    coding += 0 if execution.park_transformer else transformer
    return others + beside + max(denoising, coding) + untracked_bytes(sizes)


def untracked_bytes(sizes: NetworkSizes) -> int:
    """Return the bytes of a predicted peak outside torch's allocator: ONNX's networks, the CUDA context, workspaces."""
    return sizes.preprocessing_bytes + _OVERHEAD_BYTES


def transformer_bytes(sizes: NetworkSizes, execution: Execution) -> int:
    """Return the bytes of one transformer's weights on the device while it computes.

    These are two of its blocks when they are streamed.
    """
    whole = sizes.transformer.stored_bytes(execution)
    if not execution.stream_blocks:
        return whole
    blocks = sizes.blocks.stored_bytes(execution)
    return whole - blocks + blocks * _STREAMED_BLOCKS // sizes.num_blocks


def host_bytes(sizes: NetworkSizes, execution: Execution) -> int:
    """Return the bytes of weights in host memory: those that are parked, streamed or run on the CPU."""
    total = sizes.text_encoder * TYPE_BYTES[execution.dtype] if execution.text_on_cpu else 0
    if execution.stream_blocks:
        total += sizes.blocks.stored_bytes(execution)
    elif execution.park_transformer:
        total += sizes.transformer.stored_bytes(execution)
    return total


def denoise_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """Return the bytes that one call of the transformer in bf16 holds at once, beside its weights."""
    tokens = segment.num_tokens * _TOKEN_BYTES + sizes.num_blocks * _CONTEXT_TOKENS * _CONTEXT_BYTES
    return round(sizes.transformer_width * tokens)


def decode_bytes(sizes: NetworkSizes, segment: SegmentSize, num_strips: int = 1) -> int:
    """Return the bytes that decoding a segment in fp32 holds at once, beside the VAE's weights."""
    pixels = segment.width * segment.height
    features = _DECODE_BYTES * sizes.vae_width / _VAE_WIDTH
    if num_strips > 1:
        length = max(segment.width, segment.height) / _LATENT_PX
        seams = halo_of(_VAE_RES_BLOCKS) * min(2, num_strips - 1)  # of a strip
        features *= min(1, 1 / num_strips + seams / length)
        features += _MIDDLE_BYTES * segment.num_latent_frames * sizes.vae_width / _VAE_WIDTH
    return round(pixels * (features + _DECODE_FRAME_BYTES * segment.num_frames)) + _pose_bytes(sizes, segment)


def encode_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """Return the bytes that encoding one of a segment's videos in fp32 holds at once, beside the VAE's weights."""
    features = _ENCODE_BYTES * sizes.vae_width / _VAE_WIDTH
    pixels = segment.width * segment.height
    return round(pixels * (features + _ENCODE_FRAME_BYTES * segment.num_frames)) + _pose_bytes(sizes, segment)


def _pose_bytes(sizes: NetworkSizes, segment: SegmentSize) -> int:
    """Return the bytes of the pose patches, which are kept while the VAE works."""
    return segment.num_tokens * sizes.transformer_width * 2
