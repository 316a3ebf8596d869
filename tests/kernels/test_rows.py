"""Norms, residuals, positions and rounding: the definitions against fp64, and each kernel against its definition."""

from __future__ import annotations

import pytest
import torch

from animate_kernels import definitions
from animate_kernels.fp8 import FP8, Fp8Rows, States, fp8_linear, quantize_rowwise
from animate_kernels.order import morton_order, natural_order

fused_face = pytest.importorskip("animate_kernels.fused.face")
fused_norm = pytest.importorskip("animate_kernels.fused.norm")
fused_rotary = pytest.importorskip("animate_kernels.fused.rotary")
fused_rows = pytest.importorskip("animate_kernels.fused.rows")

BF16, FP32 = torch.bfloat16, torch.float32
WIDTHS = [96, 200]


def draw(*shape: int, device: torch.device, dtype: torch.dtype = FP32) -> torch.Tensor:
    """Normal values, a channel 40 times as large as the others."""
    values = torch.randn(shape)
    values[..., int(torch.randint(shape[-1], ()))] *= 40
    return values.to(device, dtype)


def assert_same(found: States, wanted: States) -> None:
    """Up to the last digit of the type, which the order of sums may turn."""
    if isinstance(wanted, Fp8Rows):
        assert isinstance(found, Fp8Rows)
        torch.testing.assert_close(found.scale, wanted.scale, rtol=1e-5, atol=0)
        near = torch.isclose(found.dequantize(), wanted.dequantize(), rtol=1e-4, atol=0)
        assert near.float().mean() > 0.995
        torch.testing.assert_close(found.dequantize(), wanted.dequantize(), rtol=1 / 8, atol=1e-6 + 2e-3)
        return
    assert isinstance(found, torch.Tensor)
    assert found.dtype == wanted.dtype
    digit = {FP32: 2e-6, BF16: 2**-7}[wanted.dtype]
    torch.testing.assert_close(found.float(), wanted.float(), rtol=digit, atol=digit)


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_is_the_definition_in_fp64(device: torch.device, affine: bool) -> None:
    tokens, weight, bias = draw(7, 48, device=device), torch.randn(48, device=device), torch.randn(48, device=device)
    exact = tokens.double() - tokens.double().mean(dim=1, keepdim=True)
    exact = exact / (exact.square().mean(dim=1, keepdim=True) + 1e-6).sqrt()
    if affine:
        exact = exact * weight + bias
    found = definitions.layer_norm(tokens, weight if affine else None, bias if affine else None, FP32)
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("out", [FP32, BF16, FP8])
@pytest.mark.parametrize("kept", [FP32, BF16])
@pytest.mark.parametrize("width", WIDTHS)
def test_layer_norm(device: torch.device, kept: torch.dtype, out: torch.dtype, width: int) -> None:
    tokens = draw(5, width, device=device, dtype=kept)
    weight, bias = 1 + torch.randn(width, device=device), torch.randn(width, device=device)
    for affine in ((weight, bias), (None, None)):
        assert_same(fused_norm.layer_norm(tokens, *affine, out), definitions.layer_norm(tokens, *affine, out))


@pytest.mark.parametrize(("branch_dtype", "residual"), [(FP32, FP32), (BF16, FP32), (BF16, BF16)])
@pytest.mark.parametrize("start", [FP32, BF16])
@pytest.mark.parametrize("out", [BF16, FP8])
def test_add_norm(
    device: torch.device, start: torch.dtype, branch_dtype: torch.dtype, residual: torch.dtype, out: torch.dtype
) -> None:
    tokens, branch = draw(6, 200, device=device, dtype=start), draw(6, 400, device=device, dtype=branch_dtype)[:, 200:]
    gate, weight, bias = torch.randn(3, 200, device=device)
    for given in (gate, None):
        wanted = definitions.add_norm(tokens.clone(), branch, given, weight, bias, residual=residual, out=out)
        found = fused_norm.add_norm(tokens.clone(), branch, given, weight, bias, residual=residual, out=out)
        assert found[0].dtype == residual
        assert_same(found[0], wanted[0])
        assert_same(found[1], wanted[1])


def test_add_norm_definition(device: torch.device) -> None:
    tokens, branch, gate = draw(3, 32, device=device), draw(3, 32, device=device), torch.randn(32, device=device)
    total, normed = definitions.add_norm(tokens, branch, gate, None, None, residual=FP32, out=FP32)
    torch.testing.assert_close(total, (tokens.double() + branch.double() * gate).float())
    assert isinstance(normed, torch.Tensor)
    torch.testing.assert_close(normed.std(dim=1, correction=0), torch.ones(3, device=device))


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("width", [48, 320])
def test_rows_to_e4m3(device: torch.device, dtype: torch.dtype, width: int) -> None:
    states = draw(6, 2 * width, device=device, dtype=dtype)[:, :width]
    states[2] = 0
    assert_same(fused_rows.quantize(states), definitions.quantize(states))
    for out in (dtype, FP8):
        assert_same(fused_rows.gelu(states, out), definitions.gelu(states, out))


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize(("heads", "head_width"), [(2, 24), (3, 32)])
@pytest.mark.parametrize("rotates", [True, False])
def test_positions(device: torch.device, dtype: torch.dtype, heads: int, head_width: int, rotates: bool) -> None:
    width = heads * head_width
    states = draw(7, 3, width, device=device, dtype=dtype)[:, :2]
    weight = (1 + torch.randn(2, width, device=device) / 4).to(dtype)
    angle = torch.rand(7, head_width // 2, device=device) * 50
    tables = (angle.cos(), angle.sin()) if rotates else (None, None)
    wanted = definitions.norm_rotate(states, weight, heads, *tables)
    assert wanted.shape == (7, 2, heads, head_width)
    assert_same(fused_rotary.norm_rotate(states, weight, heads, *tables), wanted)


def test_positions_definition(device: torch.device) -> None:
    states, weight = draw(5, 1, 16, device=device).double(), torch.randn(1, 16, device=device).double()
    angle = torch.rand(5, 4, device=device).double() * 9
    normed = states / (states.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight
    exact = torch.empty_like(normed)
    for head in (slice(0, 8), slice(8, 16)):
        first, second = normed[..., head][..., ::2], normed[..., head][..., 1::2]
        exact[..., head][..., ::2] = first * angle.cos()[:, None] - second * angle.sin()[:, None]
        exact[..., head][..., 1::2] = first * angle.sin()[:, None] + second * angle.cos()[:, None]
    cos, sin = angle.cos().float(), angle.sin().float()
    found = definitions.norm_rotate(states.float(), weight.float(), 2, cos, sin)
    torch.testing.assert_close(found.flatten(2), exact.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize("arrange", [natural_order, morton_order])
def test_faces(device: torch.device, dtype: torch.dtype, arrange: object) -> None:
    grid, heads, head_width = (3, 2, 5), 3, 24
    order = arrange(grid, device)  # type: ignore[operator]
    query = draw(30, heads, head_width, device=device, dtype=dtype)
    key, value = torch.randn(2, 3, 5, heads, head_width).to(device, dtype)
    weight = torch.rand(head_width).to(device, dtype)
    found = definitions.face_attention(query, weight, key, value, order)
    for token, frame in enumerate(order.frames.tolist()):
        normed = query[token].double() / (query[token].double().square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        scores = torch.einsum("hd,khd->hk", normed * weight, key[frame].double()) / head_width**0.5
        exact = torch.einsum("hk,khd->hd", scores.softmax(dim=-1), value[frame].double()).flatten()
        torch.testing.assert_close(found[token].double(), exact, rtol=0, atol=1e-5 if dtype == FP32 else 3e-2)
    kernel = fused_face.face_attention(query, weight, key, value, order)
    torch.testing.assert_close(kernel.float(), found.float(), rtol=0, atol=2e-6 if dtype == FP32 else 2e-2)


@pytest.mark.parametrize(("length", "width", "wide"), [(5, 64, 48), (48, 80, 16)])
def test_fp8_linear_against_fp64(device: torch.device, length: int, width: int, wide: int) -> None:
    states = definitions.quantize(draw(length, width, device=device))
    weight, scale = quantize_rowwise(draw(wide, width, device=device) / width**0.5)
    bias = torch.randn(wide, device=device).bfloat16()
    exact = (states.values.double() * states.scale) @ (weight.double() * scale).t() + bias.double()
    found = fp8_linear(states, weight, scale, bias, BF16)
    assert found.dtype == BF16
    torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=2**-7 * float(exact.abs().max()))
    if device.type == "cpu":  # the definition sums in fp32
        whole = fp8_linear(states, weight, scale, bias, FP32)
        torch.testing.assert_close(whole.double(), exact, rtol=1e-5, atol=1e-4)


def test_rounding_to_e4m3_is_within_a_sixteenth_of_each_value() -> None:
    rows = draw(9, 64, device=torch.device("cpu"))
    rounded = definitions.quantize(rows).dequantize()
    tiny = rows.abs().amax(dim=1, keepdim=True) / 448 * 2**-6
    assert ((rounded - rows).abs() <= torch.maximum(rows.abs(), tiny.expand_as(rows)) / 16 * 1.0001).all()
