"""The names and shapes of the real files fit the real networks, in both layouts; nothing else does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from original_bundle import INDEX, T5_FILE, read_shapes, write_real_size_bundle, write_sparse_safetensors
from safetensors.torch import load_file, save_file

from animate_pipelines.networks import open_network
from animate_weights.errors import BundleError
from animate_weights.layouts import COMPONENTS, Component

NUM_TENSORS = {"transformer": 1441, "vae": 194, "text_encoder": 242, "image_encoder": 394}
# diffusers' and transformers' own counts; the image encoder's queries, keys and values are one tensor in the original
NUM_PARAMETERS = {"transformer": 1443, "vae": 194, "text_encoder": 242, "image_encoder": 519}
_TRANSFORMER_CONFIG = {"_class_name": "WanAnimateTransformer3DModel", "added_kv_proj_dim": 5120}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def real_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_size_bundle(tmp_path_factory.mktemp("real"))


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_original_tensor_of_the_real_size_fits(real_size: Path, component: Component) -> None:
    files = open_network(real_size, component)
    matching = files.match()
    assert matching.problems == ()
    assert len(files.checkpoint.tensors) == NUM_TENSORS[component]
    given = [name for match in matching.matches for name in match.parameters]
    assert len(given) == len(set(given)) == NUM_PARAMETERS[component]


def test_every_diffusers_tensor_of_the_real_size_fits(tmp_path: Path) -> None:
    folder = tmp_path / "transformer"
    folder.mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps(_TRANSFORMER_CONFIG))
    shapes = read_shapes("transformer_diffusers_shapes.json")
    write_sparse_safetensors(folder / "diffusion_pytorch_model.safetensors", shapes, "F32")
    matching = open_network(tmp_path, "transformer").match()
    assert (len(matching.matches), matching.problems) == (1443, ())


def test_a_single_file_without_configuration_is_the_same_network(real_size: Path, tmp_path: Path) -> None:
    shutil.copy(real_size / T5_FILE, tmp_path)
    shapes = {f"diffusion_model.{k}": v for k, v in read_shapes("transformer_original_shapes.json").items()}
    write_sparse_safetensors(tmp_path / "wan2.2_animate_14B_bf16.safetensors", shapes)
    matching = open_network(tmp_path, "transformer").match()
    assert matching.problems == ()
    assert sum(len(match.parameters) for match in matching.matches) == 1443


@pytest.fixture
def damaged(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle to damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("delete", r"transformer: blocks\.2\.attn1\.to_q\.weight is missing"),
        ("add", r"transformer: blocks\.9\.attn1\.to_q\.weight in diffusion_pytorch_model\.safetensors is not part of"),
        ("misshape", r"blocks\.2\.attn1\.to_q\.weight in .* has the shape \(48, 47\), not \(48, 48\)"),
    ],
)
def test_the_tensor_that_is_wrong_is_named(damage: str, message: str, damaged: Path) -> None:
    path = damaged / "transformer/diffusion_pytorch_model.safetensors"
    tensors, name = load_file(path), "blocks.2.attn1.to_q.weight"
    if damage == "delete":
        del tensors[name]
    elif damage == "add":
        tensors["blocks.9.attn1.to_q.weight"] = tensors[name].clone()
    else:
        tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, path)
    with pytest.raises(BundleError, match=message):
        open_network(damaged, "transformer").load(torch.float32, CPU)


def test_an_index_that_does_not_fit_its_shards_is_refused(real_size: Path, tmp_path: Path) -> None:
    for path in real_size.glob("*"):
        (tmp_path / path.name).symlink_to(path)
    index = json.loads((real_size / INDEX).read_text())
    name = next(iter(index["weight_map"]))
    index["weight_map"][name] = "diffusion_pytorch_model-00003-of-00004.safetensors"
    (tmp_path / INDEX).unlink()
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BundleError, match=f"has {name} in .*00003.*, but it is in .*00001"):
        open_network(tmp_path, "transformer")
    index["weight_map"][name] = "diffusion_pytorch_model-00009-of-00004.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(BundleError, match=r"lacks .*00009"):
        open_network(tmp_path, "transformer")


def test_code_in_a_pickle_does_not_run(real_size: Path, tmp_path: Path) -> None:
    shutil.copy(real_size / "config.json", tmp_path)
    (tmp_path / T5_FILE).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(BundleError, match=r"models_t5.* cannot be read"):
        open_network(tmp_path, "text_encoder")
    assert not (tmp_path / "ran").exists()
