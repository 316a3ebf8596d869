"""The training code: its shortcuts equal the libraries, and a run that is cut goes on as if it had not been."""

from __future__ import annotations

import shutil
import sys
from dataclasses import fields, replace
from operator import methodcaller
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan_animate import WanAttnProcessor
from safetensors.torch import load_file
from torch import nn

from animate_benchmarks.puppet.clips import FACE_PX, Pair, random_clip, uncertain
from animate_benchmarks.puppet.prompts import MAX_TOKENS, puppet_tokenizer, random_prompt
from animate_benchmarks.training import latents, train_animator, train_decoder
from animate_benchmarks.training.animator import TEXT_TOKENS, Known
from animate_benchmarks.training.batches import Batch, Shards, tokenize
from animate_benchmarks.training.loop import load_average, train
from animate_benchmarks.training.muon import orthogonalize
from animate_benchmarks.training.networks import BoxOutput, Detector, PoseNetwork
from animate_benchmarks.training.onnx_files import read_pose_network, write_detector, write_pose_network
from animate_benchmarks.training.people import random_crowd
from animate_benchmarks.training.prefetch import Prefetch
from animate_benchmarks.training.train_animator import load_bundle, new_animator, path_loss, random_paths
from animate_benchmarks.training.train_readers import (
    OTHER_SIDE,
    from_confidences,
    heatmaps_of,
    pose_loss,
    settle,
    to_confidences,
)
from animate_benchmarks.training.train_vae import new_vae, reconstruction_loss
from animate_benchmarks.training.vae_start import start_near_linear
from animate_benchmarks.training.whole_clip_vae import decode_clip, encode_clip
from animate_benchmarks.training.write_bundle import write_bundle
from animate_weights.bundles import find_bundle
from animate_weights.manifest import POSE_PATH
from animate_weights.puppet.performance import STEERING_WORDS


@torch.no_grad()
def test_a_whole_clip_is_encoded_and_decoded_as_diffusers_does_in_chunks():
    torch.manual_seed(0)
    vae = new_vae()
    for parameter in vae.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    pixels = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latents = encode_clip(vae, pixels)
    assert latents.shape == (1, 16, 3, 4, 6)
    assert torch.allclose(latents, vae.encode(pixels).latent_dist.mode(), atol=1e-5)
    assert torch.allclose(decode_clip(vae, latents).clamp(-1, 1), vae.decode(latents).sample, atol=1e-5)


@torch.no_grad()
def test_the_vae_starts_as_an_average_over_blocks():
    torch.manual_seed(0)
    vae = new_vae()
    pixels = torch.nn.functional.interpolate(torch.rand(1, 3, 2, 3, 3) * 2 - 1, size=(5, 64, 64), mode="trilinear")
    random_error = (decode_clip(vae, encode_clip(vae, pixels)) - pixels).square().mean()
    start_near_linear(vae)
    error = (decode_clip(vae, encode_clip(vae, pixels)) - pixels).square().mean()
    assert error < 0.25 * random_error


@torch.no_grad()
def test_the_animator_with_forty_text_rows_says_what_diffusers_say_with_512():
    animator = new_animator("cpu").eval()
    batch, timestep = _random_batch(), torch.tensor([300.0, 900.0])
    known = animator.read(batch)
    ours = animator.velocity(batch.clean, timestep, known)
    read_before = animator.read(replace(batch, face=animator.read_motion(batch.face)))
    assert torch.equal(read_before.motion, known.motion)
    for block in animator.transformer.blocks:
        block.attn1.set_processor(WanAttnProcessor())
        block.attn2.set_processor(WanAttnProcessor())
    text, image = animator.context(batch.tokens, batch.picture)
    padded = torch.nn.functional.pad(text, (0, 0, 0, TEXT_TOKENS - MAX_TOKENS))
    states = torch.cat([batch.clean, batch.condition], dim=1)
    theirs = animator.transformer(states, timestep, padded, image, batch.pose, batch.face, return_dict=False)[0]
    assert theirs.std() > 0.1
    assert torch.allclose(ours, theirs, atol=1e-5)


def _random_batch() -> Batch:
    """Two clips of five frames, 32 x 32."""
    return Batch(
        clean=torch.randn(2, 16, 3, 4, 4),
        condition=torch.randn(2, 20, 3, 4, 4),
        pose=torch.randn(2, 16, 2, 4, 4),
        weight=torch.ones(2, 16, 3, 4, 4),
        face=torch.rand(2, 3, 5, FACE_PX, FACE_PX) * 2 - 1,
        picture=torch.rand(2, 3, 32, 32) * 2 - 1,
        tokens=tokenize(puppet_tokenizer(), ["smile, close eyes", ""]),
    )


def test_a_bundles_weights_start_a_new_run(tmp_path: Path):
    trained, fresh = new_animator("cpu"), new_animator("cpu")
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    for name in ("transformer", "text_encoder", "image_encoder"):
        trained.get_submodule(name).save_pretrained(tmp_path / name)
    load_bundle(fresh, tmp_path)
    for (name, a), b in zip(trained.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b), name
    (tmp_path / "image_encoder" / "model.safetensors").write_bytes(
        (tmp_path / "text_encoder" / "model.safetensors").read_bytes()
    )
    with pytest.raises(ValueError, match="image_encoder lacks"):
        load_bundle(fresh, tmp_path)


def test_steering_words_are_one_token_each_and_every_prompt_fits():
    tokenizer = puppet_tokenizer()
    for phrase in STEERING_WORDS:
        assert len(tokenizer(phrase).input_ids) == len(phrase.split()) + 1
    rng = np.random.default_rng(0)
    prompts = [random_prompt(rng, STEERING_WORDS[i : i + 2]) for i in range(3) for _ in range(20)]
    assert (tokenize(tokenizer, prompts)[:, -2:] == 0).all()
    assert tokenize(tokenizer, ["smile"])[0, 0] != tokenize(tokenizer, ["open"])[0, 0]


def test_paths_fall_from_pure_noise_along_the_samplers_levels():
    start, halfway, last = random_paths(np.random.default_rng(0), 1000)
    assert (start == 1).all()
    assert (halfway <= start).all()
    assert (last <= halfway).all()
    assert 0 <= last.min() < 0.05
    assert (last == 1).float().mean() == 0.25
    assert last.median() == pytest.approx(5 * 0.5 / (1 + 4 * 0.5), abs=0.01)


class KnowsHalf(nn.Module):
    """An animator that guesses half of clean latents that are all ones, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []
        self.share = nn.Parameter(torch.tensor(0.5))

    def read(self, batch: Batch) -> Known:
        return Known(condition=batch.condition, pose=batch.pose, context=batch.tokens, motion=batch.face)

    def velocity(self, latents: torch.Tensor, timestep: torch.Tensor, known: Known) -> torch.Tensor:
        self.seen.append(latents)
        return (latents - self.share) / (timestep / 1000).view(-1, 1, 1, 1, 1)


def test_a_clip_is_learned_from_where_the_models_own_steps_lead():
    clips = torch.ones(2, 16, 2, 4, 4)
    batch = Batch(**{field.name: clips for field in fields(Batch)})
    noise = torch.randn(clips.shape)
    path = torch.tensor([[1.0, 1.0], [0.6, 1.0], [0.2, 1.0]])
    animator = KnowsHalf()
    loss = path_loss(animator, batch, path, noise)
    assert [len(seen) for seen in animator.seen] == [1, 1, 2]
    shown = animator.seen[-1]
    assert torch.allclose(shown[0], 0.2 * noise[0] + 0.8 * 0.5, atol=1e-5)
    assert torch.equal(shown[1], noise[1])
    assert loss.item() == pytest.approx(0.25)
    loss.backward()
    assert animator.share.grad.item() == pytest.approx(-1.0)


@pytest.mark.tools
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # norms keep fp32 weights under autocast
def test_the_decoder_learns_from_guesses_and_leaves_the_encoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latents, "SHARD_CLIPS", 2)
    monkeypatch.setattr(train_decoder, "BATCH", 2)
    bundle = tmp_path / "bundle"
    shutil.copytree(find_bundle("puppet", tmp_path), bundle)

    def run(stage: ModuleType, *options: str) -> None:
        monkeypatch.setattr(sys, "argv", [stage.__name__, "--out", str(tmp_path), "--threads", "1", *options])
        stage.main()

    run(latents, "--shards", "1", "--vae", str(bundle / "vae"))
    run(train_animator, "--steps", "1", "--batch", "2", "--start", str(bundle), "--keep-motion")
    run(train_decoder, "--steps", "1", "--vae", str(bundle / "vae"))
    before = AutoencoderKLWan.from_pretrained(bundle / "vae")
    transformer = load_file(bundle / "transformer" / "diffusion_pytorch_model.safetensors")
    write_bundle(tmp_path, bundle)
    trained = load_file(bundle / "transformer" / "diffusion_pytorch_model.safetensors")
    changed = {name.split(".")[0] for name, tensor in transformer.items() if not torch.equal(trained[name], tensor)}
    assert changed >= {"blocks", "face_adapter", "face_encoder"}
    assert "motion_encoder" not in changed
    after = AutoencoderKLWan.from_pretrained(bundle / "vae").state_dict()
    same = {name.split(".")[0]: torch.equal(after[name], tensor) for name, tensor in before.state_dict().items()}
    assert same == {"encoder": True, "quant_conv": True, "post_quant_conv": False, "decoder": False}

    shard = train_decoder.Shard(Shards(tmp_path / "latents", "cpu"), 0)
    batch, pixels, _ = shard.batch(0)
    encoded = latents.Encoder(before, "cpu").encode(pixels)
    assert torch.allclose(encoded, batch.clean[:, :, 1:], atol=0.05)


def test_orthogonalize_brings_singular_values_to_one():
    torch.manual_seed(0)
    for shape in ((12, 30), (30, 12), (3, 30, 12)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape) * 5))
        assert values.min() > 0.6
        assert values.max() < 1.3


def _fit(folder: Path, steps: int, *, until: int | None = None) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))

    def loss_of(rng: np.random.Generator, step: int) -> torch.Tensor:
        if step == until:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(4, 6))).float()
        return (model(x) - torch.randn(4, 2)).square().mean()

    train(model, loss_of, folder, steps=steps, learning_rate=1e-2, average=0.9, save_every_s=0.0)
    return model


def test_a_run_that_is_cut_goes_on_as_if_it_had_not_been(tmp_path: Path):
    whole = _fit(tmp_path / "whole", 8)
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path / "cut", 8, until=5)
    resumed = _fit(tmp_path / "cut", 8)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(1)
    loaded = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2))
    assert load_average(loaded, tmp_path / "cut") == 8
    assert torch.equal(loaded[0].weight, whole[0].weight)


def test_batches_drawn_ahead_are_the_ones_drawn_when_asked():
    with Prefetch(_draw, workers=0, seed=4) as here, Prefetch(_draw, workers=1, seed=4) as ahead:
        for step in (0, 1, 2, 7):
            assert here.batch(step) == ahead.batch(step)
        assert here.batch(1) != here.batch(2)


_draw = methodcaller("random")


@torch.no_grad()
def test_the_onnx_files_say_what_the_networks_say(tmp_path: Path):
    torch.manual_seed(0)
    pose, detector = PoseNetwork().eval(), Detector().eval()
    for module in [*pose.modules(), *detector.modules()]:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    pose.half().float()
    detector.half().float()
    write_pose_network(pose, tmp_path / "pose.onnx")
    write_detector(detector, tmp_path / "detector.onnx")
    pixels, image = torch.randn(2, 3, 256, 192), torch.rand(1, 3, 640, 640)
    (heatmaps,) = _run(tmp_path / "pose.onnx", "input", pixels)
    assert heatmaps.shape == (2, 133, 64, 48)
    assert np.allclose(heatmaps, pose(pixels).numpy(), atol=2e-3)
    (boxes,) = _run(tmp_path / "detector.onnx", "images", image)
    expected = BoxOutput(detector)(image).numpy()
    found = int((expected[0, :, 4] > 0).sum())
    assert found > 3
    assert np.allclose(boxes[0, :3], expected[0, :3], atol=0.5)
    assert np.allclose(boxes[..., 4], expected[..., 4], atol=1e-3)


@torch.no_grad()
def test_networks_are_read_back_and_go_on_as_they_were(tmp_path: Path):
    torch.manual_seed(0)
    written, read = PoseNetwork().eval(), PoseNetwork()
    for module in written.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    write_pose_network(written, tmp_path / "pose.onnx")
    read_pose_network(read, tmp_path / "pose.onnx")
    pixels = torch.randn(2, 3, 256, 192)
    wanted = written(pixels)
    assert torch.allclose(read.eval()(pixels), wanted, atol=2e-3)
    settle(read, pixels)
    assert read.training
    # In training a norm uses the batch's own statistics, which are those that it took over.
    assert torch.allclose(read(pixels), wanted, atol=5e-3)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_part_of_a_trained_pose_network_is_taken(share: float, tmp_path: Path):
    out, bundle = tmp_path / "out", tmp_path / "bundle"
    torch.manual_seed(0)
    before, trained = PoseNetwork().eval(), PoseNetwork().eval()
    write_pose_network(before, bundle / POSE_PATH)
    (out / "pose").mkdir(parents=True)
    torch.save({"model": trained.state_dict(), "means": [], "step": 1}, out / "pose/state.pt")
    write_bundle(out, bundle, share)
    kept, written = PoseNetwork(), PoseNetwork()
    write_pose_network(before, tmp_path / "before.onnx")
    read_pose_network(kept, tmp_path / "before.onnx")
    read_pose_network(written, bundle / POSE_PATH)
    to_confidences(trained.head)
    for part in ("weight", "bias"):
        wanted = getattr(kept.head, part).lerp(getattr(trained.head, part), share)
        assert torch.allclose(getattr(written.head, part), wanted, atol=1e-3)
    assert share or torch.equal(written.stem.weight, kept.stem.weight)


def test_confidences_are_undone_to_go_on_with_training():
    torch.manual_seed(0)
    head, same = PoseNetwork().head, PoseNetwork().head
    same.load_state_dict(head.state_dict())
    to_confidences(head)
    assert (head.weight[23:91] / same.weight[23:91]).mean() > (head.weight[:23] / same.weight[:23]).mean() > 1
    from_confidences(head)
    assert torch.allclose(head.weight, same.weight, atol=1e-6)
    assert torch.allclose(head.bias, same.bias, atol=1e-6)


@torch.no_grad()
def test_a_wrist_on_the_other_one_or_on_a_knee_costs_more_than_in_an_empty_place():
    left, right, knee = 9, 10, 13
    assert OTHER_SIDE[left] == right
    assert [OTHER_SIDE[other] for other in OTHER_SIDE] == list(range(133))
    points = torch.cat([torch.rand(1, 133, 2) * 10 + 5, torch.ones(1, 133, 1)], dim=2)
    points[0, [left, right, knee], :2] = torch.tensor([[40.0, 10.0], [40.0, 50.0], [25.0, 50.0]])
    truth = heatmaps_of(points)

    def loss_with_half_a_peak_at(place: torch.Tensor) -> torch.Tensor:
        mistaken = points.clone()
        mistaken[0, left, :2] = place
        heatmaps = truth.clone()
        heatmaps[0, left] += 0.5 * heatmaps_of(mistaken)[0, left]
        return pose_loss(lambda _: heatmaps, torch.zeros(1), points)

    right_one = pose_loss(lambda _: truth, torch.zeros(1), points)
    elsewhere = loss_with_half_a_peak_at(torch.tensor([8.0, 50.0])) - right_one
    for joint in (right, knee):
        assert loss_with_half_a_peak_at(points[0, joint, :2]) - right_one > 5 * elsewhere > 0


def test_keypoints_err_for_long_and_hands_with_their_wrists():
    true = np.full((4, 133, 3), 0.5) + np.array([0, 0, 0.5])
    rng = np.random.default_rng(0)
    errors = np.stack([uncertain(rng, true)[..., :2] - 0.5 for _ in range(300)])
    assert np.hypot(*errors.mean(axis=(0, 1, 2))) < 0.001
    assert 0.007 < errors[:, :, :91].std() < 0.01
    assert _correlation(errors[:, 0, :91], errors[:, 1, :91]) > 0.8
    assert _correlation(errors[:, :, [9]], errors[:, :, 91:112]) > 0.6
    assert abs(_correlation(errors[:, :, [10]], errors[:, :, 91:112])) < 0.2


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = np.broadcast_arrays(one, other)
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@torch.no_grad()
def test_a_vae_that_goes_on_is_held_near_its_latents():
    before = AutoencoderKLWan.from_pretrained(find_bundle("puppet", Path()) / "vae")
    moved = AutoencoderKLWan.from_pretrained(find_bundle("puppet", Path()) / "vae")
    moved.quant_conv.bias += 0.5
    moved.post_quant_conv.bias -= moved.post_quant_conv.weight.flatten(1)[:, :16].sum(dim=1) * 0.5
    pixels, weights = torch.rand(1, 3, 5, 16, 16) * 2 - 1, torch.ones(1, 1, 5, 16, 16)

    def loss(vae: AutoencoderKLWan, held: AutoencoderKLWan | None) -> float:
        torch.manual_seed(0)
        return reconstruction_loss(vae, held, pixels, weights).item()

    assert loss(moved, None) == pytest.approx(loss(before, None), rel=0.01)
    assert loss(moved, before) > 1.01 * loss(before, before)


def test_who_is_hidden_in_a_crowd_is_not_listed():
    rng = np.random.default_rng(2)
    for _ in range(40):
        crowd = random_crowd(rng, (96, 96))
        assert len(crowd.boxes) == len(crowd.masks) == len(crowd.keypoints) >= 1
        assert crowd.masks.shape[1:] == crowd.rgb.shape[:2]
        assert (crowd.masks.astype(int).sum(axis=0) <= 257).all()  # nothing is seen of two people; 2 for rounding
        for box, mask in zip(crowd.boxes, crowd.masks, strict=True):
            rows, columns = np.nonzero(mask > 127)
            left, top, right, bottom = box
            assert left - 1 <= columns.min() <= columns.max() <= right + 1
            assert top - 1 <= rows.min() <= rows.max() <= bottom + 1


def _run(path: Path, name: str, value: torch.Tensor) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path)).run(None, {name: value.numpy()})


@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_a_clip_answers_with_the_heros_look_where_the_skeleton_is(mode: str):
    clip = random_clip(np.random.default_rng(5), (96, 96), mode)  # type: ignore[arg-type]
    assert clip.target.shape == clip.pose.shape == (17, 96, 96, 3)
    bones = clip.pose.max(axis=-1) > 60
    assert (clip.people[bones] > 0).mean() > 0.9
    assert clip.face.std() > 20
    assert (clip.masks is None) == (mode == "animate")
    if clip.masks is not None and clip.background is not None:
        assert clip.people[clip.masks == 0].mean() < 8
        assert not clip.background[clip.masks == 1].any()
        kept = clip.masks == 0
        assert np.abs(clip.background[kept].astype(int) - clip.target[kept]).mean() < 4


def test_the_answer_keeps_the_hero_and_takes_the_drivers_movement():
    pair = Pair.random(np.random.default_rng(3))
    poses = pair.shot.poses(5)
    driven, answer = pair.shot.draw(poses, (96, 96)), pair.answer(poses, (96, 96), "animate")
    for theirs, ours in zip(driven, answer, strict=True):
        assert np.allclose(theirs.keypoints, ours.keypoints, atol=1e-3)
    replaced = pair.answer(poses, (96, 96), "replace")
    outside = (driven[0].mask == 0) & (replaced[0].mask == 0)
    assert np.array_equal(driven[0].rgb[outside], replaced[0].rgb[outside])
    assert np.abs(driven[0].rgb.astype(int) - answer[0].rgb)[outside].mean() > 5
