"""A thin face over diffusers' `AutoencoderKLWan`: pixels in -1..1 to normalised latents, and back.

Axes are `b c t h w`. Time shrinks 4n+1 -> n+1, space by 8. The encoder's mean is taken, never a sample.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLWan

from animate_pipelines.diffusion.strips import decode_in_strips
from animate_pipelines.memory.parking import Parking


class VideoVae:
    """Encodes and decodes whole segments.

    pixel_dtype: the type that pixels are rounded to before they are encoded.
    parking: moves other networks off the device for this one.
    num_strips: parts of the picture that are decoded one after the other.
    """

    def __init__(
        self,
        model: AutoencoderKLWan,
        pixel_dtype: torch.dtype = torch.float32,
        parking: Parking | None = None,
        num_strips: int = 1,
    ) -> None:
        self._model = model
        self._pixel_dtype = pixel_dtype
        self._parking = parking
        self._num_strips = num_strips
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(model.config.latents_mean, device=model.device).view(shape)
        self._std = torch.tensor(model.config.latents_std, device=model.device).view(shape)

    @property
    def latent_channels(self) -> int:
        """Return the number of channels of the latents."""
        return int(self._model.config.z_dim)

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        return self._model.device

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the normalised latents `b 16 t' h/8 w/8` fp32 of pixels `b 3 t h w`."""
        self._make_room()
        rounded = self.round_pixels(pixels).to(self._model.device, self._model.dtype)
        moments = self._model.encode(rounded).latent_dist
        return (moments.mode().float() - self._mean) / self._std

    def round_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """Round fp32 pixels to the type of all conditions: the official code makes them bf16."""
        return pixels.to(self._pixel_dtype).float()

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the pixels `b 3 t h w` fp32, clamped to -1..1, of normalised latents."""
        self._make_room()
        scaled = (latents * self._std + self._mean).to(self._model.dtype)
        if self._num_strips > 1:
            return decode_in_strips(self._model, scaled, self._num_strips).float()
        decoded: torch.Tensor = self._model.decode(scaled, return_dict=False)[0]
        return decoded.float().clamp(-1, 1)

    def _make_room(self) -> None:
        if self._parking is not None:
            self._parking.make_room()


def to_pixels(frames: np.ndarray, device: torch.device) -> torch.Tensor:
    """Convert `t h w 3` uint8 frames to `1 3 t h w` fp32 in -1..1.

    The result is contiguous: the VAE's convolutions are slower on a view.
    """
    return torch.from_numpy(frames).to(device).permute(3, 0, 1, 2)[None].contiguous().float() / 127.5 - 1


def to_frames(pixels: torch.Tensor) -> np.ndarray:
    """Convert `1 3 t h w` in -1..1 to `t h w 3` uint8, truncated as the official writer does."""
    frames = ((pixels[0].clamp(-1, 1) + 1) / 2 * 255).to(torch.uint8)
    return frames.permute(1, 2, 3, 0).contiguous().cpu().numpy()
