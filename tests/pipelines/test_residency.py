"""The memory plan: its arithmetic against the networks themselves on the meta device, and what it decides."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from live_memory import LiveMemory
from real_size import write_real_size_bundle
from torch import nn

from animate_kernels.dispatch import Ops
from animate_kernels.self_attention import SelfAttention
from animate_pipelines.diffusion.strips import decode_in_strips
from animate_pipelines.errors import DeviceError
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.families.wan_animate.blocks import Context
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.loading.execution import Execution, default_execution
from animate_pipelines.loading.predict import (
    decode_bytes,
    denoise_bytes,
    encode_bytes,
    host_bytes,
    predict_peak,
    transformer_bytes,
)
from animate_pipelines.loading.residency import (
    RESIDENCIES,
    describe_plan,
    fit_execution,
    plan_residency,
    with_residency,
)
from animate_pipelines.loading.sizes import NetworkSizes, SegmentSize, read_sizes
from animate_pipelines.memory.parking import Parking
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_weights.manifest import Manifest, read_manifest
from animate_weights.quantized import dequantize, quantize_rowwise

GIB = 1024**3
LARGE, SMALL = (
    SegmentSize(width=1280, height=720, num_frames=77),
    SegmentSize(width=832, height=480, num_frames=77),
)
CUDA = default_execution("cuda:0")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_size_bundle(tmp_path_factory.mktemp("real"))


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_manifest(bundle)


@pytest.fixture(scope="module")
def sizes(bundle: Path, manifest: Manifest) -> NetworkSizes:
    return read_sizes(bundle, manifest)


def test_sizes_are_those_of_the_published_networks(sizes: NetworkSizes) -> None:
    assert sizes.transformer.values == 17_274_817_108 - 224  # without the constant blur kernels
    assert (sizes.text_encoder, sizes.vae) == (5_680_910_336, 126_892_531)
    assert sizes.image_encoder == 632_076_800 - 1280 * 1024  # without the unused projection
    assert (sizes.transformer_width, sizes.vae_width) == (5120, 96)
    # the size of Kijai's second form, whose linears are fp8 as well, is 17.3 GB
    fp8 = transformer_bytes(sizes, dataclasses.replace(CUDA, fp8_weights=True))
    assert fp8 == pytest.approx(17.6e9, rel=0.02)
    # 38 of the 40 blocks are elsewhere: 403_838_464 values a block, of which 403_701_760 in fp8 with 70_144 scales
    assert (sizes.num_blocks, sizes.blocks.values) == (40, 16_153_538_560)
    streamed = transformer_bytes(sizes, dataclasses.replace(CUDA, fp8_weights=True, stream_blocks=True))
    assert fp8 - streamed == 38 * (403_701_760 + 70_144 * 4 + 2 * (403_838_464 - 403_701_760))


def test_what_lies_in_host_memory_is_counted(sizes: NetworkSizes) -> None:
    held = {residency.name: host_bytes(sizes, with_residency(CUDA, residency)) for residency in RESIDENCIES}
    assert held["everything stays"] == 0
    assert held["all but the text encoder stays"] == 2 * 5_680_910_336
    assert held["transformer or VAE stays"] == 2 * (5_680_910_336 + 17_274_816_884)
    assert held["transformer in fp8 is streamed"] == pytest.approx(11.36e9 + 16.17e9, rel=1e-3)


@pytest.mark.parametrize("segment", [LARGE, SMALL, SegmentSize(width=480, height=832, num_frames=41)])
def test_denoising_holds_what_is_predicted(
    segment: SegmentSize, sizes: NetworkSizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the fused kernels of GPUs hold the result alone; the meta device would hold every score
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda query, key, value: torch.empty_like(query))
    ops = Ops(cross_attention=lambda query, *keys_values: torch.empty_like(query))
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = WanAnimateTransformer3DModel(num_layers=5, added_kv_proj_dim=5120)
    finally:
        torch.set_default_dtype(torch.float32)
    frames = (segment.num_frames - 1) // 4 + 1
    height, width = segment.height // 8, segment.width // 8
    transformer = AnimateTransformer(model, attend=SelfAttention(ops=ops))
    with torch.device("meta"), torch.no_grad(), LiveMemory() as memory:
        pose = torch.empty(1, 5120, frames, height // 2, width // 2, dtype=torch.bfloat16)
        constants = transformer.encode_step_constants(
            condition=torch.empty(1, 20, frames + 1, height, width),
            pose=pose,
            motion=torch.empty(1, frames + 1, 5, 5120, dtype=torch.bfloat16),
            context=Context(
                text=torch.empty(512, 5120, dtype=torch.bfloat16),
                counts=torch.empty(512),
                image=torch.empty(257, 5120, dtype=torch.bfloat16),
            ),
        )
        transformer.velocity(
            torch.empty(1, 16, frames + 1, height, width), torch.zeros(1, dtype=torch.int64), constants
        )
    assert memory.peak_bytes == pytest.approx(
        denoise_bytes(dataclasses.replace(sizes, num_blocks=5), segment), rel=0.01
    )


@pytest.mark.parametrize("segment", [SMALL, SegmentSize(width=480, height=832, num_frames=41)])
def test_decoding_holds_what_is_predicted(segment: SegmentSize, sizes: NetworkSizes) -> None:
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKLWan()
        with LiveMemory() as memory:
            frames = (segment.num_frames - 1) // 4 + 1
            vae.decode(torch.empty(1, 16, frames, segment.height // 8, segment.width // 8))
    kept = segment.num_tokens * 5120 * 2
    assert memory.peak_bytes == pytest.approx(decode_bytes(sizes, segment) - kept, rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize("segment", [SMALL, SegmentSize(width=480, height=832, num_frames=41)])
def test_decoding_in_strips_and_encoding_hold_what_is_predicted(segment: SegmentSize, sizes: NetworkSizes) -> None:
    kept = segment.num_tokens * 5120 * 2
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKLWan()
        with LiveMemory() as memory:
            vae.encode(torch.empty(1, 3, segment.num_frames, segment.height, segment.width))
        assert memory.peak_bytes == pytest.approx(encode_bytes(sizes, segment) - kept, rel=0.01)
        for num_strips in (2, 4):
            latents = torch.empty(1, 16, segment.num_latent_frames, segment.height // 8, segment.width // 8)
            with LiveMemory() as memory:
                decode_in_strips(vae, latents, num_strips)
            predicted = decode_bytes(sizes, segment, num_strips) - kept
            assert memory.peak_bytes == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize(
    ("free_gib", "large", "small"),
    [
        (139, "everything stays", "everything stays"),
        (79, "one transformer of several stays", "one transformer of several stays"),
        (47, "transformer or VAE stays", "all but the text encoder stays"),
        (39, "transformer in fp8 stays", "transformer in fp8 stays"),
        (31, "transformer in fp8 or VAE stays", "transformer in fp8 stays"),
        (24, "transformer in fp8 is streamed, the picture decoded in halves", "transformer in fp8 is streamed"),
        (12, None, "transformer in fp8 is streamed, the picture decoded in halves"),
        (8, None, None),
    ],
)
def test_what_stays_on_which_gpu(free_gib: float, large: str | None, small: str | None, sizes: NetworkSizes) -> None:
    plans = [plan_residency(sizes, CUDA, segment, round(free_gib * GIB)) for segment in (LARGE, SMALL)]
    assert [plan and plan.name for plan in plans] == [large, small]


def test_the_plan_is_told_with_its_numbers(sizes: NetworkSizes) -> None:
    told = describe_plan(sizes, CUDA, LARGE, 79 * GIB)
    assert re.match(r"one transformer of several stays: 6\d\.\d of 84\.8 GB for segments of 77 frames, predicted", told)
    assert describe_plan(sizes, CUDA, LARGE, 16 * GIB) == ""
    assert "everything stays" in describe_plan(sizes, default_execution("cpu"), SMALL, None)


def test_less_memory_is_never_predicted_to_need_more(sizes: NetworkSizes) -> None:
    for segment in (LARGE, SMALL):
        peaks = [predict_peak(sizes, with_residency(CUDA, residency), segment) for residency in RESIDENCIES]
        assert all(peak < peaks[0] for peak in peaks[1:])
        assert predict_peak(sizes, CUDA, SMALL) < predict_peak(sizes, CUDA, LARGE)


def test_a_gpu_that_is_too_small_is_refused_with_numbers(sizes: NetworkSizes, manifest: Manifest) -> None:
    with pytest.raises(DeviceError, match=r"needs \d+\.\d GB of device memory, predicted, and 8\.6 GB are free"):
        fit_execution(sizes, manifest, CUDA, 8 * GIB)
    assert fit_execution(sizes, manifest, CUDA, 139 * GIB).transformers_kept == 2


class _Network(nn.Module):
    def __init__(self, name: str, moves: list[tuple[str, str]]) -> None:
        super().__init__()
        self._label, self._moves = name, moves

    def to(self, device: object) -> _Network:  # type: ignore[override]
        self._moves.append((self._label, str(device)))
        return self


def test_one_network_is_parked_at_a_time() -> None:
    moves: list[tuple[str, str]] = []
    parking = Parking(torch.device("cuda:0"))
    first, second = _Network("first", moves), _Network("second", moves)
    for step in (lambda: parking.arrive(first), parking.make_room, lambda: parking.arrive(first)):
        step()
        step()  # a second time moves nothing
    parking.arrive(second)
    assert moves == [
        ("first", "cuda:0"),
        ("first", "cpu"),
        ("first", "cuda:0"),
        ("first", "cpu"),
        ("second", "cuda:0"),
    ]


@pytest.fixture(scope="module")
def plain(tiny_bundle: Path, media: InputFiles, tmp_path_factory: pytest.TempPathFactory) -> tuple[Models, bytes]:
    """The tiny bundle with everything in its place, and the video it renders."""
    models = load_models(tiny_bundle)
    return models, _render(models, media, tmp_path_factory.mktemp("plain"))


def _render(models: Models, media: InputFiles, folder: Path) -> bytes:
    """The one segment's video; unlike the finished file, it does not name the execution."""
    params = RenderParams(reference_image="-", driving_video="-", seed=3, resolution="480p", num_frames=9, steps=1)
    render_video(models, params, media, folder / "out.mp4", workspace=folder / "workspace")
    (piece,) = (folder / "workspace").glob("segment-*.mp4")
    return piece.read_bytes()


def test_a_parked_transformer_renders_the_same(
    plain: tuple[Models, bytes], tiny_bundle: Path, media: InputFiles, tmp_path: Path
) -> None:
    execution = with_residency(Execution(device="cpu", dtype="float32"), RESIDENCIES[3])
    assert (execution.park_transformer, execution.text_on_cpu, execution.fp8_weights) == (True, True, False)
    assert _render(load_models(tiny_bundle, execution=execution), media, tmp_path) == plain[1]


def test_fp8_weights_are_made_whole_for_each_product(
    plain: tuple[Models, bytes], tiny_bundle: Path, media: InputFiles, tmp_path: Path
) -> None:
    models = load_models(
        tiny_bundle, execution=with_residency(Execution(device="cpu", dtype="float32"), RESIDENCIES[5])
    )
    assert _render(models, media, tmp_path) != plain[1]
    name = "blocks.1.ffn.net.2"
    ours, theirs = (m.family.transformers.select(turbo=False)._model.get_submodule(name) for m in (models, plain[0]))
    assert ours.weight.dtype == torch.float8_e4m3fn
    states = torch.randn(3, 96)
    assert torch.equal(ours(states), F.linear(states, dequantize(*quantize_rowwise(theirs.weight)), theirs.bias))


def test_streamed_blocks_render_what_blocks_that_stay_render(
    plain: tuple[Models, bytes], tiny_bundle: Path, media: InputFiles, tmp_path: Path
) -> None:
    execution = Execution(device="cpu", dtype="float32", stream_blocks=True)
    assert _render(load_models(tiny_bundle, execution=execution), media, tmp_path / "plain") == plain[1]
    fp8 = [dataclasses.replace(execution, fp8_weights=True, stream_blocks=streamed) for streamed in (True, False)]
    videos = [_render(load_models(tiny_bundle, execution=one), media, tmp_path / str(one.stream_blocks)) for one in fp8]
    assert videos[0] == videos[1] != plain[1]


def test_prompts_are_encoded_once(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_models(tiny_bundle).family.prompt_encoder
    encoded: list[str] = []
    encode = encoder._encode
    monkeypatch.setattr(encoder, "_encode", lambda text: encoded.append(text) or encode(text))
    first = encoder.encode("a  puppet")
    assert torch.equal(encoder.encode("a puppet"), first)
    for number in range(8):
        encoder.encode(str(number))
    encoder.encode("a puppet")
    assert encoded == ["a puppet", *map(str, range(8)), "a puppet"]
