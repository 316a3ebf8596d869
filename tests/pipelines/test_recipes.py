"""What a recipe changes of the transformer's arithmetic: order, density, 8 bits, the fused projections, a half step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from animate_kernels.attention import BACKENDS
from animate_kernels.fp8 import Fp8Rows
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparsity import Sparsity
from animate_pipelines.diffusion.recipe import Recipe
from animate_pipelines.errors import DeviceError, InvalidField
from animate_pipelines.families.registry import load_models
from animate_pipelines.families.wan_animate.blocks import Context, fuse_projections
from animate_pipelines.families.wan_animate.half_step import widen
from animate_pipelines.families.wan_animate.transformer import AnimateTransformer
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.networks import open_network
from animate_pipelines.loading.shortcuts import take_shortcuts
from animate_pipelines.memory.fp8_linear import Fp8Linear, multiply_in_fp8

CPU = torch.device("cpu")
FRAMES, SIDE = 3, 16


@pytest.fixture(scope="module")
def inputs(tiny_bundle: Path) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = {
        "latents": (1, 16, FRAMES, SIDE, SIDE),
        "condition": (1, 20, FRAMES, SIDE, SIDE),
        "pose": (1, 48, FRAMES - 1, SIDE // 2, SIDE // 2),
        "motion": (1, FRAMES, 3, 48),
        "text": (23, 48),
        "image": (17, 48),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def load(bundle: Path, *, fp8: bool = False) -> Any:
    return open_network(bundle, "transformer").load(torch.float32, CPU, fp8=fp8)


@torch.no_grad()
def velocity(
    model: Any, inputs: dict[str, torch.Tensor], attend: SelfAttention | None = None, progress: float = 0.0
) -> torch.Tensor:
    transformer = AnimateTransformer(model, attend=attend)
    shared = {name: inputs[name] for name in ("condition", "pose", "motion")}
    context = Context(text=inputs["text"], counts=torch.tensor([1.0] * 22 + [490]), image=inputs["image"])
    constants = transformer.encode_step_constants(**shared, context=context)
    return transformer.velocity(inputs["latents"], torch.tensor([700]), constants, progress)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def test_the_order_of_tokens_does_not_matter_and_density_does(
    tiny_bundle: Path, inputs: dict[str, torch.Tensor]
) -> None:
    model = load(tiny_bundle)
    dense = velocity(model, inputs)
    ramp = SelfAttention(sparsity=Sparsity(densities=(1.0, 0.3), block_tokens=4))
    assert relative(velocity(model, inputs, ramp, progress=0.0), dense) < 1e-5
    assert 1e-5 < relative(velocity(model, inputs, ramp, progress=0.5), dense) < 0.1
    kept = replace(ramp, sparsity=replace(ramp.sparsity, dense_layers=(0, 1, 2, 3, -1)))
    assert relative(velocity(model, inputs, kept, progress=0.5), dense) < 1e-5


def test_8_bits_are_near(tiny_bundle: Path, inputs: dict[str, torch.Tensor]) -> None:
    dense = velocity(load(tiny_bundle), inputs)
    (ours,) = (backend for backend in BACKENDS if backend.name == "fp8")
    attend = SelfAttention(dense=ours.attend, eight_bit=True)
    assert 1e-5 < relative(velocity(load(tiny_bundle), inputs, attend), dense) < 0.05
    sparse = replace(attend, sparsity=Sparsity(densities=(0.3,), block_tokens=4))
    assert 1e-5 < relative(velocity(load(tiny_bundle), inputs, sparse), dense) < 0.1
    kept = load(tiny_bundle, fp8=True)
    weights_alone = velocity(kept, inputs)
    multiply_in_fp8(kept)
    products = velocity(kept, inputs)
    assert 1e-5 < relative(products, weights_alone) < 0.1
    assert 1e-5 < relative(products, dense) < 0.1


def test_products_in_fp8_read_fp8_rows_wherever_tokens_are_many(
    tiny_bundle: Path, inputs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(tiny_bundle, fp8=True)
    multiply_in_fp8(model)
    read: list[tuple[str, bool]] = []
    names = {layer: name for name, layer in model.named_modules()}
    forward = Fp8Linear.forward

    def record(layer: Fp8Linear, states: Any) -> torch.Tensor:
        read.append((names.get(layer, "to_qkv"), isinstance(states, Fp8Rows)))
        return forward(layer, states)

    monkeypatch.setattr(Fp8Linear, "forward", record)
    velocity(model, inputs)
    constant = ("attn2.to_k", "attn2.to_v", "add_k_proj", "add_v_proj", "face_adapter.0.to_k", "face_adapter.0.to_v")
    assert {eight for name, eight in read if name.endswith(constant)} == {False}
    assert {eight for name, eight in read if not name.endswith(constant)} == {True}
    # of each of 5 blocks: qkv, out, q, out, two of the feed-forward; of the one face block: q and out
    assert sum(eight for _, eight in read) == 5 * 6 + 2


@torch.no_grad()
@pytest.mark.parametrize("fp8", [False, True])
def test_a_fused_projection_is_the_three(tiny_bundle: Path, fp8: bool) -> None:
    block = load(tiny_bundle, fp8=fp8).blocks[1]
    layer, states = block.attn1, torch.randn(7, 48)
    apart = [part(states) for part in (layer.to_q, layer.to_k, layer.to_v)]
    number = sum(parameter.numel() for parameter in block.parameters())
    for _ in range(2):  # the second time there is nothing to do
        fuse_projections(block)
    assert sum(parameter.numel() for parameter in block.parameters()) == number
    torch.testing.assert_close(layer.to_qkv(states), torch.cat(apart, dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (10, 14)])
def test_a_half_step_leads_where_the_small_picture_says(height: int, width: int) -> None:
    latents, timestep = torch.randn(1, 16, 3, height, width), torch.tensor([900])
    seen: list[torch.Size] = []

    def small_velocity(small: torch.Tensor, timestep: torch.Tensor, progress: float) -> torch.Tensor:
        seen.append(small.shape)
        assert float(small.std()) == pytest.approx(1)
        return (small - 0.25) / 0.9  # towards a flat picture of 0.25

    velocity = widen(small_velocity, latents, timestep, 0.0)
    assert seen == [torch.Size((1, 16, 3, height // 4 * 2, width // 4 * 2))]
    torch.testing.assert_close(latents - 0.9 * velocity, torch.full_like(latents, 0.25), rtol=0, atol=1e-5)


def test_recipes_are_resolved_or_refused(tiny_bundle: Path) -> None:
    execution = Execution(device="cpu", dtype="float32")
    assert load_models(tiny_bundle, execution=execution).execution == replace(execution, attention="sdpa")
    with pytest.raises(DeviceError, match="'fa3' does not work on cpu") as refused:
        load_models(tiny_bundle, execution=replace(execution, attention="fa3"))
    assert (refused.value.field, refused.value.value) == ("recipe", "fa3")
    with pytest.raises(ValueError, match="fp8_products needs fp8_weights"):
        replace(execution, fp8_products=True)
    sparse = Recipe(num_steps=4, shift=5.0, sparsity=Sparsity(densities=(0.5, 0.2), dense_layers=(0,)))
    assert sparse.to_json()["sparsity"] == {"densities": (0.5, 0.2), "dense_layers": (0,), "block_tokens": 64}


def test_shortcuts_become_the_recipe(tiny_bundle: Path) -> None:
    models = load_models(tiny_bundle, shortcuts=["fp8-linears", "density-0.5/0.2"])
    assert (models.execution.fp8_weights, models.execution.fp8_products) == (True, True)
    assert models.recipe_defaults == {"sparsity": Sparsity(densities=(0.5, 0.2))}


@pytest.mark.parametrize("unknown", ["fp4", "density-", "density-0", "density-1.5", "density-0.5/x"])
def test_unknown_shortcuts_are_named(unknown: str) -> None:
    with pytest.raises(InvalidField, match="fp8-linears, 8-bit-attention") as refused:
        take_shortcuts(["bf16", unknown])
    assert (refused.value.field, refused.value.value) == ("shortcuts", unknown)
    with pytest.raises(InvalidField, match="second of its kind"):
        take_shortcuts(["density-0.5", "density-0.2"])
