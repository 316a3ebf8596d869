"""A start for the VAE's training that is nearly linear and already reproduces what 8 x 8 averages leave of a clip.

From the usual random start the first hundred steps are spent on learning to pass colours through many normalised
layers. Here the residual branches begin at zero, the path beside them carries colours and random projections of
details, and a large constant channel keeps the last normalisation from dividing brightness away.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import nn

CONSTANT = 24.0
LATENT_GAIN = 2.0
_COLOURS = 3
_DETAIL = 0.7
_LATENT_DETAIL = 4.0


@torch.no_grad()
def start_near_linear(vae: AutoencoderKLWan) -> None:
    """Set the weights in place; random ones come from torch's generator."""
    for name, module in vae.named_modules():
        if name.endswith((".conv2", ".proj")):
            _zero(module)
        elif name.endswith(".conv_shortcut") and not isinstance(module, nn.Identity):
            _identity(module.weight[:, :, -1, 0, 0])
            module.bias.zero_()
    _start_encoder(vae.encoder)
    _start_decoder(vae.decoder)
    for conv in (vae.quant_conv, vae.post_quant_conv):
        _identity(conv.weight[:, :, 0, 0, 0])
        conv.bias.zero_()


def _start_encoder(encoder: Any) -> None:
    _random_taps(encoder.conv_in.weight)
    encoder.conv_in.weight[:_COLOURS] = 0
    share = encoder.conv_in.weight.shape[1] // _COLOURS  # a patch's pixels of one colour are neighbours
    for colour in range(_COLOURS):
        encoder.conv_in.weight[colour, colour * share : (colour + 1) * share, -1, 1, 1] = 1 / share
    encoder.conv_in.bias.zero_()
    samplers = [layer for layer in encoder.down_blocks if hasattr(layer, "resample")]
    for layer in samplers:
        conv = layer.resample[1]
        block = torch.zeros_like(conv.weight[:, :, :2, :2])
        _random_taps(block)
        block[:_COLOURS] = 0
        for colour in range(_COLOURS):
            block[colour, colour] = 0.25
        conv.weight.zero_()
        conv.weight[:, :, :2, :2] = block
        conv.bias.zero_()
        if layer.mode == "downsample3d":
            _start_time_down(layer.time_conv)
    _set_constant(samplers[-1].resample[1])
    samplers[-1].time_conv.weight[-1] = 0
    samplers[-1].time_conv.weight[-1, -1, 1:] = 0.5
    gain = LATENT_GAIN * 2 * CONSTANT / encoder.norm_out.gamma.numel() ** 0.5
    _random_taps(encoder.conv_out.weight[:, :, -1:, 1:2, 1:2])
    encoder.conv_out.weight[:, :, :-1] = 0
    encoder.conv_out.weight[:, :, -1] *= _centre_mask(encoder.conv_out.weight) * _LATENT_DETAIL
    encoder.conv_out.weight[:_COLOURS] = 0
    _identity(encoder.conv_out.weight[:_COLOURS, :, -1, 1, 1])
    encoder.conv_out.weight[:, -1] = 0
    encoder.conv_out.weight *= gain
    encoder.conv_out.weight[encoder.conv_out.weight.shape[0] // 2 :] = 0
    encoder.conv_out.bias.zero_()


def _start_decoder(decoder: Any) -> None:
    weight = decoder.conv_in.weight
    weight[:, :, :-1] = 0
    weight[:, :, -1] *= _centre_mask(weight)
    _random_taps(weight[:, :, -1:, 1:2, 1:2])
    weight[:_COLOURS] = 0
    _identity(weight[:_COLOURS, :, -1, 1, 1])
    weight /= LATENT_GAIN
    decoder.conv_in.bias.zero_()
    samplers = [block.upsamplers[0] for block in decoder.up_blocks if block.upsamplers is not None]
    smooth = torch.tensor([0.25, 0.5, 0.25])
    for layer in samplers:
        conv = layer.resample[1]
        conv.weight[:_COLOURS] = 0
        for colour in range(_COLOURS):
            conv.weight[colour, colour] = smooth[:, None] * smooth
        conv.bias.zero_()
        if layer.mode == "upsample3d":
            _start_time_up(layer.time_conv)
    last = samplers[-1].resample[1]
    last.weight[_COLOURS : 2 * _COLOURS] = -last.weight[:_COLOURS]
    _set_constant(last)
    decoder.conv_out.weight.zero_()
    gain = CONSTANT / decoder.norm_out.gamma.numel() ** 0.5
    share = decoder.conv_out.weight.shape[0] // _COLOURS
    for out in range(_COLOURS * share):  # silu(x) - silu(-x) = x
        decoder.conv_out.weight[out, out // share, -1, 1, 1] = gain
        decoder.conv_out.weight[out, out // share + _COLOURS, -1, 1, 1] = -gain
    decoder.conv_out.bias.zero_()


def _start_time_down(conv: Any) -> None:
    """Take the mean of two frames, and for the later channels some of their difference."""
    channels = conv.weight.shape[0]
    mean, difference = torch.eye(channels) * 0.5, torch.zeros(channels, channels)
    half = channels // 2
    mean[half:] = 0
    nn.init.orthogonal_(difference[half:], gain=_DETAIL)
    conv.weight.zero_()
    conv.weight[:, :, 1, 0, 0] = mean + difference
    conv.weight[:, :, 2, 0, 0] = mean - difference
    conv.bias.zero_()


def _start_time_up(conv: Any) -> None:
    """Repeat each frame, plus and minus some of the later channels."""
    channels = conv.weight.shape[1]
    change = torch.zeros(channels, channels)
    nn.init.orthogonal_(change[_COLOURS:, channels // 2 :], gain=0.3)
    conv.weight.zero_()
    conv.weight[:channels, :, -1, 0, 0] = torch.eye(channels) + change
    conv.weight[channels:, :, -1, 0, 0] = torch.eye(channels) - change
    conv.bias.zero_()


def _set_constant(conv: nn.Conv2d) -> None:
    conv.weight[-1] = 0
    assert conv.bias is not None
    conv.bias[-1] = CONSTANT


def _random_taps(weight: torch.Tensor) -> None:
    taps = torch.empty(weight.shape[0], weight[0].numel())
    nn.init.orthogonal_(taps, gain=_DETAIL)
    weight.copy_(taps.view(weight.shape))


def _centre_mask(weight: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(weight.shape[-2:])
    mask[1, 1] = 1
    return mask


def _identity(matrix: torch.Tensor) -> None:
    matrix.zero_()
    for index in range(min(matrix.shape)):
        matrix[index, index] = 1


def _zero(module: Any) -> None:
    module.weight.zero_()
    module.bias.zero_()
