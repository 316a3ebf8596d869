"""Rotary positions and the time embedding are the official ones (recorded values)."""

from __future__ import annotations

import pytest
import torch
from diffusers import WanAnimateTransformer3DModel
from golden_weights import GOLDEN
from safetensors.torch import load_file

from animate_kernels.definitions import norm_rotate
from animate_pipelines.families.wan_animate.transformer import time_sinusoid

Golden = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_file(GOLDEN / "rope_time.safetensors")


def test_time_is_exact(golden: Golden) -> None:
    assert torch.equal(time_sinusoid(golden["time.t"], 256), golden["time.sinusoid_f64"].float())


def test_positions_are_exact(golden: Golden) -> None:
    with torch.device("cpu"):
        rope = WanAnimateTransformer3DModel(
            num_attention_heads=1, attention_head_dim=128, num_layers=1, ffn_dim=8, motion_encoder_size=4
        ).rope
    cos, sin = (table[0, :, 0, ::2] for table in rope(torch.empty(1, 36, 3, 8, 10)))  # 3 x 4 x 5 tokens
    query = golden["rope.q"][0]
    (_, heads, width), size = query.shape, query.flatten(1).square().mean(dim=1).sqrt()
    # a row's norm is taken off and, as positions do not change it, put back
    turned = norm_rotate(query.flatten(1)[:, None], torch.ones(1, heads * width), heads, cos, sin)[:, 0]
    torch.testing.assert_close(turned * size[:, None, None], golden["rope.out"][0], rtol=0, atol=1e-5)
