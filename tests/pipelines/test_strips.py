"""Decoding in strips gives the pixels of decoding the whole, along either side, and no halo less would."""

from __future__ import annotations

import pytest
import torch
from golden_weights import golden_vae

import animate_pipelines.diffusion.strips as strips
from animate_pipelines.diffusion.strips import decode_in_strips, halo_of
from animate_pipelines.diffusion.vae import VideoVae


@pytest.mark.parametrize("shape", [(1, 16, 3, 34, 3), (1, 16, 2, 2, 45)])
@torch.no_grad()
def test_strips_are_parts_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    vae = golden_vae()
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole = vae.decode(latents, return_dict=False)[0]
    # the convolutions may sum in another order where a side is another
    for num_strips in (2, 3):
        found = decode_in_strips(vae, latents, num_strips)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)
    monkeypatch.setattr(strips, "halo_of", lambda num_res_blocks: 8)
    assert (decode_in_strips(vae, latents, 2) - whole).abs().max() > 5e-5


def test_the_halo_is_what_the_convolutions_see() -> None:
    # 6 + 1/2 + 3 + 1/4 + 3/2 + 1/8 + 3/4 + 1/8 latents, and with one residual block fewer at each level 8.5
    assert (halo_of(2), halo_of(1)) == (13, 9)


@torch.no_grad()
def test_the_vae_decodes_in_strips_when_told_to() -> None:
    latents = torch.randn(1, 16, 2, 30, 2, generator=torch.Generator().manual_seed(1))
    whole, parts = (VideoVae(golden_vae(), num_strips=number).decode(latents) for number in (1, 2))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
