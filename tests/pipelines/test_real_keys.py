"""The names and shapes of the real files fit the real networks, in both layouts; nothing else does."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from real_size import (
    INDEX,
    T5_FILE,
    read_shapes,
    real_table,
    write_real_size,
    write_real_size_bundle,
    write_sparse_safetensors,
)

from animate_pipelines.loading.networks import network_shapes, open_network
from animate_weights.errors import BundleError
from animate_weights.layouts import COMPONENTS, Component, Layout
from animate_weights.safetensors_file import Shape

# Tensors as they are stored. The saved names are the networks' own, so these are diffusers' and transformers' counts.
NUM_TENSORS: dict[Layout, dict[Component, int]] = {
    "original": {"transformer": 1441, "vae": 194, "text_encoder": 242, "image_encoder": 394},
    "diffusers": {"transformer": 1443, "vae": 194, "text_encoder": 242, "image_encoder": 519},
}
EVERY = [(layout, component) for layout in NUM_TENSORS for component in COMPONENTS]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Layout, Path]:
    return {layout: write_real_size_bundle(tmp_path_factory.mktemp(layout), layout) for layout in NUM_TENSORS}


@pytest.fixture(scope="module")
def real_size(bundles: dict[Layout, Path]) -> Path:
    return bundles["original"]


@pytest.mark.parametrize(("layout", "component"), EVERY)
def test_every_tensor_of_the_real_size_fits(layout: Layout, component: Component, bundles: dict[Layout, Path]) -> None:
    files = open_network(bundles[layout], component)
    matching = files.match()
    assert matching.problems == ()
    assert len(files.checkpoint.tensors) == NUM_TENSORS[layout][component]
    given = [name for match in matching.matches for name in match.parameters]
    assert len(given) == len(set(given)) == NUM_TENSORS["diffusers"][component]


@pytest.mark.parametrize("component", COMPONENTS)
def test_both_layouts_are_the_same_network(component: Component, bundles: dict[Layout, Path]) -> None:
    """The original one's sizes are read off its tensors, the saved one's out of its configuration."""
    original, saved = (network_shapes(open_network(path, component).build_empty()) for path in bundles.values())
    assert original == saved
    plain = {name.removeprefix("vision_model."): shape for name, shape in real_table("diffusers", component).items()}
    squeezed = [{n: tuple(s for s in shape if s != 1) for n, shape in table.items()} for table in (plain, saved)]
    assert squeezed[0] == squeezed[1]


# What is taken away, what is misshapen and by which shape, and how the network calls the two.
DAMAGE: dict[tuple[Layout, Component], tuple[str, str, str, Shape]] = {
    ("original", "transformer"): (
        "blocks.39.self_attn.norm_q.weight",
        "blocks.39.attn1.norm_q.weight",
        "face_adapter.fuser_blocks.7.linear1_kv.weight",
        (10238, 5120),
    ),
    ("original", "vae"): (
        "decoder.upsamples.14.residual.6.weight",
        "decoder.up_blocks.3.resnets.2.conv2.weight",
        "encoder.conv1.bias",
        (95,),
    ),
    ("original", "text_encoder"): (
        "blocks.23.ffn.gate.0.weight",
        "encoder.block.23.layer.1.DenseReluDense.wi_0.weight",
        "blocks.23.pos_embedding.embedding.weight",
        (31, 64),
    ),
    ("original", "image_encoder"): (
        "visual.transformer.31.attn.proj.bias",
        "encoder.layers.31.self_attn.out_proj.bias",
        "visual.transformer.30.attn.to_qkv.weight",
        (3840, 1279),
    ),
    ("diffusers", "transformer"): (
        "blocks.39.attn1.norm_q.weight",
        "blocks.39.attn1.norm_q.weight",
        "face_adapter.7.to_k.weight",
        (5119, 5120),
    ),
    ("diffusers", "vae"): (
        "decoder.up_blocks.3.resnets.2.conv2.weight",
        "decoder.up_blocks.3.resnets.2.conv2.weight",
        "encoder.conv_in.bias",
        (95,),
    ),
    ("diffusers", "text_encoder"): (
        "encoder.block.23.layer.1.DenseReluDense.wi_0.weight",
        "encoder.block.23.layer.1.DenseReluDense.wi_0.weight",
        "encoder.block.23.layer.0.SelfAttention.relative_attention_bias.weight",
        (31, 64),
    ),
    ("diffusers", "image_encoder"): (
        "vision_model.encoder.layers.31.self_attn.out_proj.bias",
        "encoder.layers.31.self_attn.out_proj.bias",
        "vision_model.encoder.layers.30.self_attn.q_proj.weight",
        (1280, 1279),
    ),
}


@pytest.mark.parametrize(("layout", "component"), EVERY)
def test_a_missing_a_foreign_and_a_misshapen_tensor_are_named(
    layout: Layout, component: Component, tmp_path: Path
) -> None:
    deleted, wanted, misshapen, shape = DAMAGE[layout, component]
    table = real_table(layout, component)
    right = table[misshapen]
    del table[deleted]
    write_real_size(tmp_path, layout, component, table | {misshapen: shape, "foreign.weight": (3, 3)})
    files = open_network(tmp_path, component)
    foreign, wrong, missing = sorted(
        files.match().problems, key=lambda said: ("foreign" not in said, "shape" not in said)
    )
    assert re.fullmatch(r"foreign\.weight in \S+ is not part of the network \(foreign\.weight\)", foreign)
    halves = f"2 times {(right[0] // 2, *right[1:])}" if "linear1_kv" in misshapen else str(right)
    halves = f"3 times {(right[0] // 3, *right[1:])}" if "to_qkv" in misshapen else halves
    assert re.fullmatch(re.escape(misshapen) + r" in \S+ has the shape " + re.escape(f"{shape}, not {halves}"), wrong)
    assert missing == f"{wanted} is missing"
    with pytest.raises(BundleError, match=rf"^{component}: .* \(and 2 more\)$"):
        files.load(torch.float32, torch.device("meta"))


def test_a_single_file_without_configuration_is_the_same_network(real_size: Path, tmp_path: Path) -> None:
    shutil.copy(real_size / T5_FILE, tmp_path)
    shapes = {f"diffusion_model.{k}": v for k, v in read_shapes("transformer_original_shapes.json").items()}
    write_sparse_safetensors(tmp_path / "wan2.2_animate_14B_bf16.safetensors", shapes)
    matching = open_network(tmp_path, "transformer").match()
    assert matching.problems == ()
    assert sum(len(match.parameters) for match in matching.matches) == 1443


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
