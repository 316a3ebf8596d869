"""LoRAs are merged while the transformer is read: relighting in replace mode, few steps with turbo, or both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from animate_pipelines.errors import BundleError
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.loading.execution import Execution
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_weights.lora import read_lora

_LAYER = "blocks.1.self_attn.v"
_NAME = "blocks.1.attn1.to_v.weight"


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a relighting LoRA in the published form, at half strength."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("relit") / "bundle"))
    low, high = torch.randn(3, 48), torch.randn(48, 3) / 10
    keys = {f"{_LAYER}.lora_A.default.weight": low, f"{_LAYER}.lora_B.default.weight": high}
    torch.save({"state_dict": keys}, folder / "relighting_lora.ckpt")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"relighting_lora": "relighting_lora.ckpt", "relighting_strength": 0.5}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def models(bundle: Path) -> Models:
    return load_models(bundle)


def _weight(models: Models, *, turbo: bool, relight: bool) -> torch.Tensor:
    transformer = models.family.transformers.select(turbo=turbo, relight=relight)
    joined = dict(transformer._model.named_parameters())[_NAME.replace("to_v", "to_qkv")]
    return joined[2 * len(joined) // 3 :]


def test_the_four_variants_have_their_deltas(models: Models, bundle: Path) -> None:
    relighting = read_lora(bundle / "relighting_lora.ckpt").delta(_NAME)
    turbo = read_lora(bundle / "loras/lightx2v_4step.safetensors").delta(_NAME)
    assert relighting is not None
    assert turbo is not None
    plain = _weight(models, turbo=False, relight=False)
    torch.testing.assert_close(_weight(models, turbo=False, relight=True), plain + relighting / 2)
    torch.testing.assert_close(_weight(models, turbo=True, relight=False), plain + turbo)
    torch.testing.assert_close(_weight(models, turbo=True, relight=True), plain + relighting / 2 + turbo)


def test_no_more_variants_stay_than_the_recipe_says(bundle: Path) -> None:
    models = load_models(bundle, execution=Execution(device="cpu", dtype="float32", transformers_kept=2))
    first = models.family.transformers.select(turbo=False)
    relit = models.family.transformers.select(turbo=False, relight=True)
    assert models.family.transformers.select(turbo=False) is first
    models.family.transformers.select(turbo=True)  # in place of the one that was used longest ago
    assert models.family.transformers.select(turbo=False) is first
    assert models.family.transformers.select(turbo=False, relight=True) is not relit


@pytest.mark.parametrize(
    ("mode", "turbo", "loras"),
    [
        ("animate", False, []),
        ("replace", False, [["relighting_lora.ckpt", 0.5]]),
        ("replace", True, [["relighting_lora.ckpt", 0.5], ["loras/lightx2v_4step.safetensors", 1.0]]),
    ],
)
def test_a_result_names_the_loras_of_its_render(
    mode: str, turbo: bool, loras: list[list[object]], models: Models, media: InputFiles, tmp_path: Path
) -> None:
    params = RenderParams(
        reference_image="-",
        driving_video="-",
        seed=3,
        resolution="480p",
        num_frames=9,
        mode=mode,  # type: ignore[arg-type]
        turbo=turbo,
        steps=1,
    )
    result = render_video(models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert result.to_json()["loras"] == loras


def test_a_lora_of_another_model_is_refused_before_anything_is_read(bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    torch.save({"blocks.40.self_attn.q.diff_b": torch.zeros(48)}, folder / "relighting_lora.ckpt")
    models = load_models(folder)
    with pytest.raises(BundleError, match=r"blocks\.40\.self_attn\.q\.diff_b matches no tensor"):
        models.family.transformers.select(turbo=False, relight=True)
