"""`AutoencoderKLWan`'s own layers, run on a whole clip at once.

diffusers walks the clip in chunks with a cache of past frames, which saves memory and costs time. Both give the same
numbers (`tests/puppet` compares them); in training only speed counts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from einops import rearrange
from torch import nn


def encode_clip(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """Encode pixels `b 3 t h w`, t = 4 t' - 3, to the posterior's mean `b 16 t' h/8 w/8`, not normalised."""
    encoder, patch = vae.encoder, vae.config.patch_size
    x = rearrange(pixels, "b c t (h p) (w q) -> b (c q p) t h w", p=patch, q=patch)
    x = encoder.conv_in(x)
    for layer in encoder.down_blocks:
        x = _downsample(layer, x) if hasattr(layer, "resample") else layer(x)
    x = encoder.mid_block(x)
    x = encoder.conv_out(encoder.nonlinearity(encoder.norm_out(x)))
    mean: torch.Tensor = vae.quant_conv(x).chunk(2, dim=1)[0]
    return mean


def decode_clip(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """Decode latents, which are not normalised, to pixels `b 3 t h w`, not clamped."""
    decoder = vae.decoder
    x = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    for block in decoder.up_blocks:
        for layer in block.resnets:
            x = layer(x)
        if block.upsamplers is not None:
            x = _upsample(block.upsamplers[0], x)
    x = decoder.conv_out(decoder.nonlinearity(decoder.norm_out(x)))
    patch = vae.config.patch_size
    return rearrange(x, "b (c q p) t h w -> b c t (h p) (w q)", p=patch, q=patch)


def _downsample(layer: Any, x: torch.Tensor) -> torch.Tensor:
    x = _frame_by_frame(layer.resample, x)
    if layer.mode == "downsample3d" and x.shape[2] > 1:
        # The first frame passes; after it every second frame sees itself and the two before it.
        x = torch.cat([x[:, :, :1], layer.time_conv(x)], dim=2)
    return x


def _upsample(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if layer.mode == "upsample3d" and x.shape[2] > 1:
        # The first frame passes; the others do not see it, their past starts with zeros.
        doubled = rearrange(layer.time_conv(x[:, :, 1:]), "b (two c) t h w -> b c (t two) h w", two=2)
        x = torch.cat([x[:, :, :1], doubled], dim=2)
    return _frame_by_frame(layer.resample, x)


def _frame_by_frame(layers: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    frames = rearrange(x, "b c t h w -> (b t) c h w")
    if isinstance(layers[0], nn.Upsample):
        frames = layers[1](F.interpolate(frames, scale_factor=2.0, mode="nearest-exact"))
    else:
        frames = layers(frames)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(x))
