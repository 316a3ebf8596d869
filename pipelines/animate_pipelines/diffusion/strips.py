"""Decodes a segment a part of the picture at a time: the same pixels in less memory.

diffusers' tiled decoding blends tiles that were decoded apart, which is another picture. Here the decoder's middle,
whose attention reads the whole frame, runs on the whole; the layers after it are convolutions of limited reach, and
each strip gets that much of its neighbours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_LEVELS = 4  # of the decoder's upper part, each at twice the resolution of the one before, but for the first


def decode_in_strips(model: Any, latents: torch.Tensor, num_strips: int) -> torch.Tensor:
    """Return the pixels `1 3 4t-3 8h 8w` in -1..1 of the VAE's latents `1 c t h w`.

    num_strips: the parts that are decoded one after the other, cut along the longer side of the picture.
    """
    middle, upper = _middle(model.decoder), _upper(model.decoder)
    features = torch.cat(list(_frames(model, middle, model.post_quant_conv(latents))), dim=2)
    axis = 3 if latents.shape[3] >= latents.shape[4] else 4
    length, halo = latents.shape[axis], halo_of(model.config.num_res_blocks)
    frames, height, width = latents.shape[2:]
    pixels = latents.new_empty(1, 3, 4 * frames - 3, 8 * height, 8 * width)
    for strip in range(num_strips):
        start, stop = (place * length // num_strips for place in (strip, strip + 1))
        first, last = max(0, start - halo), min(length, stop + halo)
        position = 0
        for strip_frames in _frames(model, upper, features.narrow(axis, first, last - first)):
            target = pixels[:, :, position : position + strip_frames.shape[2]].narrow(
                axis, 8 * start, 8 * (stop - start)
            )
            target.copy_(strip_frames.narrow(axis, 8 * (start - first), target.shape[axis]))
            position += strip_frames.shape[2]
    return pixels.clamp_(-1, 1)


def halo_of(num_res_blocks: int) -> int:
    """Return the reach of the decoder's upper part, in latents.

    A pixel for each of its convolutions, at their resolution.
    """
    residual = sum(2 * (num_res_blocks + 1) / 2**level for level in range(_LEVELS))
    upsampling = sum(1 / 2**level for level in range(1, _LEVELS)) + 1 / 2 ** (_LEVELS - 1)  # and the last one
    return math.ceil(residual + upsampling)


def _frames(model: Any, decoder: nn.Module, states: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the output of a part of the decoder for each latent frame, with its cache from frame to frame."""
    carried: list[Any] = [None] * model._cached_conv_counts["decoder"]
    for frame in range(states.shape[2]):
        yield decoder(states[:, :, frame : frame + 1], feat_cache=carried, feat_idx=[0], first_chunk=frame == 0)


def _middle(decoder: nn.Module) -> nn.Module:
    after = {name: _Same() for name in ("norm_out", "nonlinearity", "conv_out")}
    return _with(decoder, up_blocks=nn.ModuleList(), **after)


def _upper(decoder: nn.Module) -> nn.Module:
    return _with(decoder, conv_in=_Same(), mid_block=_Same())


def _with(decoder: nn.Module, **replaced: nn.Module) -> nn.Module:
    """Return the same decoder, its weights included, with other modules in the place of some."""
    part = copy.copy(decoder)
    part._modules = {**decoder._modules, **replaced}
    return part


class _Same(nn.Module):
    """Stands for a module whose output has been computed already."""

    def forward(self, states: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        return states
