"""A job that does not fit the device's memory is refused before anything is computed, and told what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from animate_pipelines.errors import AreaTooLarge
from animate_pipelines.families.registry import Models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.loading.admission import DeviceMemory
from animate_pipelines.loading.execution import default_execution
from animate_pipelines.loading.predict import predict_peak
from animate_pipelines.loading.residency import plan_residency
from animate_pipelines.loading.sizes import NetworkSizes, SegmentSize, WeightCount
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams

GB = 10**9
# the published networks, see `test_residency`; with detector, pose and mask networks of 3.5 GB
SIZES = NetworkSizes(
    transformer=WeightCount(values=17_274_816_884, matrices=16_986_931_200, rows=2_969_600),
    blocks=WeightCount(values=16_153_538_560, matrices=16_148_070_400, rows=2_805_760),
    num_blocks=40,
    text_encoder=5_680_910_336,
    image_encoder=630_766_080,
    vae=126_892_531,
    transformer_width=5120,
    vae_width=96,
    preprocessing_bytes=3_500_000_000,
)
EXECUTION = default_execution("cuda:0")


def _segment(width: int, height: int) -> SegmentSize:
    return SegmentSize(width=width, height=height, num_frames=77)


def _memory(available: int) -> DeviceMemory:
    return DeviceMemory(sizes=SIZES, execution=EXECUTION, available_bytes=lambda: available)


@pytest.mark.parametrize("size", [(1280, 720), (720, 1280), (1920, 1088)])
def test_the_last_byte_decides(size: tuple[int, int]) -> None:
    need = predict_peak(SIZES, EXECUTION, _segment(*size)) + GB
    _memory(need).check(size, 77, field="render_area")
    with pytest.raises(AreaTooLarge):
        _memory(need - 1).check(size, 77, field="render_area")


def test_the_refusal_names_the_largest_size_that_fits() -> None:
    available = predict_peak(SIZES, EXECUTION, _segment(1280, 720)) + GB
    with pytest.raises(AreaTooLarge) as refused:
        _memory(available).check((1920, 1080), 77, field="render_area")
    error = refused.value
    assert (error.field, error.value, error.limit) == ("render_area", "1920x1080", "1280x720")
    assert f"there are {available / GB:.1f} GB: the largest of this shape that fits is 1280x720" in error.message
    assert error.to_json()["code"] == "area_too_large"


def test_nothing_fits_a_device_whose_weights_do_not() -> None:
    with pytest.raises(AreaTooLarge, match="none of this shape fits") as refused:
        _memory(40 * GB).check((1280, 720), 77, field="resolution")
    assert refused.value.limit is None


@pytest.mark.parametrize(("area", "field"), [(None, "resolution"), ((256, 144), "render_area")])
def test_a_render_is_refused_before_anything_is_computed(
    area: tuple[int, int] | None, field: str, tiny_models: Models, media: InputFiles, tmp_path: Path
) -> None:
    models = replace(tiny_models, family=replace(tiny_models.family, memory=_memory(40 * GB)))
    params = RenderParams(reference_image="-", driving_video="-", render_area=area)
    stages: list[str] = []
    with pytest.raises(AreaTooLarge) as refused:
        render_video(
            models,
            params,
            media,
            tmp_path / "out.mp4",
            workspace=tmp_path / "workspace",
            report=lambda progress: stages.append(progress.stage),
        )
    assert refused.value.field == field
    assert set(stages) == {"check"}


@pytest.mark.parametrize(
    ("free_gib", "size", "name"),
    [
        (23.5, (1280, 720), "transformer in fp8 is streamed, the picture decoded in halves"),
        (23.5, (832, 480), "transformer in fp8 is streamed"),
        (15.5, (832, 480), "transformer in fp8 is streamed, the picture decoded in halves"),
        (15.5, (1280, 720), None),
    ],
)
def test_what_small_gpus_do_with_every_network_of_the_bundle(
    free_gib: float, size: tuple[int, int], name: str | None
) -> None:
    plan = plan_residency(SIZES, EXECUTION, _segment(*size), round(free_gib * 1024**3))
    assert (plan and plan.name) == name
