"""Masks from SAM 2's tracker: prompted where and how the official code does, on a tracker with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam2VideoConfig, Sam2VideoModel

from animate_pipelines.families.registry import load_models
from animate_pipelines.perception import sam2
from animate_pipelines.perception.keypoints import body_20
from animate_pipelines.perception.sam2 import Sam2Masks, prompted_frames
from animate_weights.manifest import SAM2_PATH

SIDE = 128
WIDTH, HEIGHT = 160, 90


def _small_config() -> Sam2VideoConfig:
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 16,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [16, 32, 64, 128],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "window_size_per_stage": [8, 4, 8, 4],
        "window_positional_embedding_background_size": [4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [128, 64, 32, 16],
        "fpn_hidden_size": 128,
        "backbone_feature_sizes": [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
    }
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 128, "image_size": SIDE, "mask_input_channels": 8},
        mask_decoder_config={
            "hidden_size": 128,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
        image_size=SIDE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=64,
    )


@pytest.fixture(scope="module")
def tracker() -> Sam2VideoModel:
    model = Sam2VideoModel(_small_config()).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            width = parameter[0].numel() if parameter.ndim > 1 else 11
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / width**0.5)
    return model


@pytest.fixture(scope="module")
def clip() -> tuple[list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(6)]
    return frames, random.uniform(0.2, 0.8, (6, 133, 3))


def test_masks_are_the_trackers_logits_above_zero(
    tracker: Sam2VideoModel, clip: tuple[list[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, poses = clip
    forward, prompts, logits = tracker.forward, {}, {}

    def record(session: Any, frame_idx: int, **kwargs: Any) -> Any:
        prompts.update({i: points["point_coords"][0, 0] for i, points in session.point_inputs_per_obj[0].items()})
        output = forward(session, frame_idx=frame_idx, **kwargs)
        logits[frame_idx] = output.pred_masks
        return output

    monkeypatch.setattr(tracker, "forward", record)
    masks = list(Sam2Masks(tracker).person_masks(frames, poses))

    assert sorted(prompts) == [0, 1, 2, 3, 4, 5]
    for index, points in prompts.items():
        joints = body_20(poses[index])[[0, 1, 2, 5, 8, 11, 10, 13], :2]
        pixels = np.trunc(joints * [WIDTH, HEIGHT])
        np.testing.assert_allclose(points.numpy(), pixels / [WIDTH, HEIGHT] * SIDE, atol=1e-4)
    assert len(masks) == 6
    for index, mask in enumerate(masks):
        scaled = torch.nn.functional.interpolate(logits[index], (HEIGHT, WIDTH), mode="bilinear")
        np.testing.assert_array_equal(mask, (scaled[0, 0] > 0).numpy())
    assert 0 < np.stack(masks).mean() < 1


def test_long_clips_are_tracked_in_stretches(
    tracker: Sam2VideoModel, clip: tuple[list[np.ndarray], np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, poses = clip
    monkeypatch.setattr(sam2, "_STRETCH", 2)
    pieces = [list(Sam2Masks(tracker).person_masks(frames[i : i + 2], poses[i : i + 2])) for i in (0, 2, 4)]
    whole = list(Sam2Masks(tracker).person_masks(iter(frames), poses))
    np.testing.assert_array_equal(np.stack(whole), np.concatenate(pieces))


@pytest.mark.parametrize(
    ("num_frames", "prompted"), [(1, [0]), (4, [0]), (8, [0, 2, 4, 6]), (9, [0, 2, 4, 6, 8]), (400, [0, 100, 200, 300])]
)
def test_prompted_frames(num_frames: int, prompted: list[int]) -> None:
    assert prompted_frames(num_frames) == prompted


def test_a_bundle_with_sam2_uses_it(tracker: Sam2VideoModel, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    assert load_models(bundle).family.masks.name == "keypoint_box"
    tracker.save_pretrained(bundle / SAM2_PATH)
    assert load_models(bundle).family.masks.name == "sam2"
