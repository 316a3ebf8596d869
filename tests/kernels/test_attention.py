"""Attention, dense and block-sparse, in 16 and 8 bits: the definitions against fp64, the kernel against them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from animate_kernels import definitions, sparse
from animate_kernels.blocks import summarize
from animate_kernels.eight_bit import Fp8Heads, attention_8bit, dequantize_heads, quantize_blocks, quantize_heads
from animate_kernels.order import morton_codes, morton_order, natural_order
from animate_kernels.sparsity import Sparsity

fused_blocks = pytest.importorskip("animate_kernels.fused.blocks")
fused_attention = pytest.importorskip("animate_kernels.fused.attention")
fused_cross = pytest.importorskip("animate_kernels.fused.cross")
fused_selection = pytest.importorskip("animate_kernels.fused.selection")
fused_quantize = pytest.importorskip("animate_kernels.fused.quantize")

BF16, FP32 = torch.bfloat16, torch.float32
Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def draw(length: int, heads: int, width: int, device: torch.device, dtype: torch.dtype = FP32) -> Heads:
    """Queries and keys with an outlier channel, and keys with a large mean, as trained ones have."""
    query, key, value = torch.randn(3, length, heads, width)
    query[..., 3] *= 3
    key[..., 3] *= 3
    value[..., 1] *= 20
    key += 4 * torch.randn(heads, width)
    return query.to(device, dtype), key.to(device, dtype), value.to(device, dtype)


def exact_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    scores = torch.einsum("qhd,khd->hqk", query.double(), key.double()) / query.shape[-1] ** 0.5
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), value.double())


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize(("length", "heads", "width"), [(64, 1, 16), (200, 2, 32), (130, 1, 128)])
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_dense(device: torch.device, length: int, heads: int, width: int, dtype: torch.dtype) -> None:
    parts = draw(length, heads, width, device, dtype)
    exact = exact_attention(*parts)
    assert error(definitions.attention(*parts), exact) < (1e-5 if dtype == FP32 else 6e-3)
    assert error(fused_attention.attention(*parts), exact) < (1e-5 if dtype == FP32 else 6e-3)


def test_strided_parts_of_one_product(device: torch.device) -> None:
    parts = torch.randn(70, 3, 2, 32, device=device).unbind(1)
    assert error(fused_attention.attention(*parts), exact_attention(*parts)) < 1e-5


@pytest.mark.parametrize("length", [64, 150])
def test_heads_in_8_bits(device: torch.device, length: int) -> None:
    query, key, value = draw(length, 2, 32, device, BF16)
    blocks = [fused_blocks.summarize(part, 64) for part in (key, value)]
    wanted, found = quantize((query, key, value)), fused_quantize.quantize_heads(query, key, value, *blocks)
    for name in Fp8Heads.__slots__:
        mine, other = (getattr(heads, name).float() for heads in (found, wanted))
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, rtol=1 / 8 if "scale" not in name else 1e-5, atol=1e-3)
    assert error(found.key.float(), wanted.key.float()) < 1e-3
    largest = (key.float() - key.float().mean(dim=0)).abs().amax()
    assert (dequantize_heads(wanted)[1] + wanted.key_mean - key.float()).abs().max() < largest / 16


def test_8_bits_cost_what_e4m3_costs(device: torch.device) -> None:
    query, key, value = draw(200, 2, 64, device, BF16)
    key[..., 0] += 60  # a mean far beyond what differs
    exact = exact_attention(query, key, value)
    heads = quantize((query, key, value))
    ours = error(attention_8bit(heads, BF16), exact)
    assert ours < 0.25
    assert error(fused_attention.attention_8bit(heads, BF16), exact) == pytest.approx(ours, rel=0.05)
    rough, scale = quantize_blocks(key.float())  # what the keys' mean would cost
    unsmoothed = replace(heads, key=rough, key_scale=scale)
    assert error(attention_8bit(unsmoothed, BF16), exact) > 1.3 * ours


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize(("texts", "images", "width"), [(7, 70, 32), (65, 5, 16), (1, 64, 128)])
def test_text_and_image_at_once(device: torch.device, dtype: torch.dtype, texts: int, images: int, width: int) -> None:
    """The last key of the text stands for many: as attention over all of them, in fp64."""
    query = draw(150, 2, width, device, dtype)[0]
    (_, *text), (_, *image) = draw(texts, 2, width, device, dtype), draw(images, 2, width, device, dtype)
    counts = torch.ones(texts, device=device)
    counts[-1] = 40
    every = [torch.cat([part, part[-1:].expand(39, -1, -1)]) for part in text]
    wanted = exact_attention(query, every[0], every[1]) + exact_attention(query, image[0], image[1])
    limit = 1e-5 if dtype == FP32 else 6e-3
    for attend in (definitions.cross_attention, fused_cross.cross_attention):
        found = attend(query, text[0], text[1], counts, image[0], image[1])
        assert found.dtype == dtype
        assert error(found, wanted) < limit


def select(parts: Heads, density: float, *, block: int = 16) -> sparse.Selection:
    return sparse.select(*(summarize(part, block) for part in parts), density=density, num_reference=20)


def quantize(parts: Heads) -> Fp8Heads:
    return quantize_heads(*parts, *(summarize(part, 64) for part in parts[1:]))


def oracle(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chosen: sparse.Selection) -> torch.Tensor:
    """One query at a time in fp64: every token of a chosen block, and each other block as its mean, once a token."""
    out = torch.empty_like(query, dtype=torch.float64)
    for row in range(len(query)):
        for head in range(query.shape[1]):
            keys, values, times = [], [], []
            for block in range(math.ceil(len(key) / chosen.block)):
                part = slice(block * chosen.block, (block + 1) * chosen.block)
                k, v = key[part, head].double(), value[part, head].double()
                read = block in chosen.lists[head, row // (2 * chosen.block)].tolist()
                keys.append(k if read else k.mean(dim=0, keepdim=True))
                values.append(v if read else v.mean(dim=0, keepdim=True))
                times += [1] * len(k) if read else [len(k)]
            scores = torch.cat(keys) @ query[row, head].double() / query.shape[-1] ** 0.5
            weights = (scores - scores.max()).exp() * torch.tensor(times, device=query.device)
            out[row, head] = weights @ torch.cat(values) / weights.sum()
    return out


@pytest.mark.parametrize("dtype", [FP32, BF16])
@pytest.mark.parametrize(("density", "length"), [(0.1, 150), (0.5, 133), (0.8, 97)])
def test_sparse_is_the_masked_dense_oracle(
    device: torch.device, dtype: torch.dtype, density: float, length: int
) -> None:
    parts = draw(length, 2, 32, device, dtype)
    chosen = select(parts, density)
    assert not chosen.exact.all()
    wanted = oracle(*parts, chosen)
    limit = 1e-5 if dtype == FP32 else 8e-3
    assert error(sparse.sparse_attention(*parts, chosen), wanted) < limit
    assert error(fused_attention.sparse_attention(*parts, chosen), wanted) < limit
    half_tiles = replace(fused_attention.SIXTEEN_BIT, rows=16, warps=4)
    assert error(fused_attention.sparse_attention(*parts, chosen, half_tiles), wanted) < limit


def test_density_1_is_dense(device: torch.device) -> None:
    parts = draw(100, 2, 32, device)
    chosen = select(parts, 1.0)
    assert chosen.exact.all()
    assert error(sparse.sparse_attention(*parts, chosen), exact_attention(*parts)) < 1e-5
    assert error(fused_attention.sparse_attention(*parts, chosen), exact_attention(*parts)) < 1e-5


def test_sparse_in_8_bits(device: torch.device) -> None:
    query, key, value = draw(460, 1, 32, device, BF16)
    chosen = select((query, key, value), 0.4, block=64)
    assert not chosen.exact.all()
    heads = quantize((query, key, value))
    wanted = sparse.sparse_attention_8bit(heads, chosen, BF16)
    assert error(wanted, sparse.sparse_attention(query, key, value, chosen)) < 0.25
    assert error(fused_attention.sparse_attention_8bit(heads, chosen, BF16), wanted) < 0.03


@pytest.mark.parametrize(("block", "width"), [(4, 32), (64, 16)])
def test_what_tensor_cores_do_not_read_goes_by_the_definitions(device: torch.device, block: int, width: int) -> None:
    parts = draw(140, 2, width, device, BF16)
    chosen, heads = select(parts, 0.4, block=block), quantize(parts)
    wanted = sparse.sparse_attention_8bit(heads, chosen, BF16)
    assert torch.equal(fused_attention.sparse_attention_8bit(heads, chosen, BF16), wanted)
    if block < 16:
        found = fused_attention.sparse_attention(*parts, chosen)
        assert torch.equal(found, sparse.sparse_attention(*parts, chosen))
    else:
        assert torch.equal(fused_attention.attention_8bit(heads, BF16), attention_8bit(heads, BF16))


def test_selection_reads_what_it_must_and_the_best_of_the_rest(device: torch.device) -> None:
    query, key, value = draw(160, 1, 16, device)
    key[96:112] = 8 * query[64:96].mean(dim=0)  # what the third tile asks for
    chosen = select((query, key, value), 0.5)
    # tokens 64..95 are blocks 4 and 5; blocks 3 and 6 are neighbours, 0 and 1 the reference's
    assert chosen.lists.shape == (1, 5, 6)
    assert chosen.lists[0, 2].tolist() == [0, 1, 3, 4, 5, 6]
    few = sparse.select(*(summarize(part, 16) for part in (query, key, value)), density=0.7, num_reference=0)
    assert few.lists[0, 2].tolist() == sorted(few.lists[0, 2].tolist())
    assert few.exact.sum(dim=-1).tolist() == [[7] * 5]
    tile, blocks = query[64:96, 0].double(), key[:, 0].double().unflatten(0, (10, 16))
    mean = blocks.mean(dim=1) @ tile.mean(dim=0) / 16**0.5
    variance = blocks.var(dim=1, correction=0) @ tile.square().mean(dim=0) / 16
    weights = (mean + variance / 2).tolist()  # the logarithm of a normal score's mean exponential
    best = sorted({0, 1, 2, 7, 8, 9}, key=lambda block: -weights[block])[:3]
    assert set(few.lists[0, 2].tolist()) == {3, 4, 5, 6, *best}


def test_of_two_blocks_of_one_mean_the_one_that_varies_is_read(device: torch.device) -> None:
    query, key, value = draw(160, 1, 16, device)
    key[:] = key[:1]
    key[112:128] += 3 * torch.randn(16, 1, 16, device=device)
    key[112:128] -= key[112:128].mean(dim=0) - key[0]
    chosen = sparse.select(*(summarize(part, 16) for part in (query, key, value)), density=0.5, num_reference=0)
    assert chosen.exact[0, :, 7].all()


@pytest.mark.parametrize(("length", "size"), [(64, 16), (70, 16), (200, 64)])
def test_summaries_of_blocks(device: torch.device, length: int, size: int) -> None:
    states = draw(length, 2, 24, device, BF16)[1]
    summary, kernel = summarize(states, size), fused_blocks.summarize(states, size)
    for name in ("means", "squares", "largest", "lengths"):
        torch.testing.assert_close(getattr(kernel, name), getattr(summary, name), rtol=1e-5, atol=1e-5)
    exact = states.double()
    torch.testing.assert_close(summary.mean().double(), exact.mean(dim=0), rtol=1e-5, atol=1e-5)
    last = (length - 1) // size
    torch.testing.assert_close(summary.means[last].double(), exact[last * size :].mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(summary.largest.amax(dim=0).double(), exact.abs().amax(dim=0))
    tiles, wanted = summary.joined(2), summarize(states, 2 * size)
    for name in ("means", "squares", "largest", "lengths", "size"):
        torch.testing.assert_close(getattr(tiles, name), getattr(wanted, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("blocks", "read", "reference_blocks"), [(33, 9, 3), (64, 40, 0), (7, 7, 2), (100, 6, 1)])
def test_the_choice_of_blocks(device: torch.device, blocks: int, read: int, reference_blocks: int) -> None:
    scores = 10 * torch.randn(2, math.ceil(blocks / 2), blocks, device=device)
    wanted = sparse.choose_blocks(scores, read, reference_blocks)
    for found, part in zip(fused_selection.choose_blocks(scores, read, reference_blocks), wanted, strict=True):
        assert found.dtype == part.dtype
        assert torch.equal(found, part)


def test_of_equal_scores_the_first_are_read(device: torch.device) -> None:
    scores = torch.full((1, 10, 20), -3.0, device=device)
    lists, exact = fused_selection.choose_blocks(scores, 6, 1)
    assert lists[0, 5].tolist() == [0, 1, 9, 10, 11, 12]
    assert lists[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert (exact.sum(dim=-1) == 6).all()


def test_a_mean_stands_for_equal_keys_exactly(device: torch.device) -> None:
    query, key, value = draw(160, 2, 16, device)
    key[48:] = key[48:49]
    value[48:] = value[48:49]
    chosen = sparse.select(*(summarize(part, 16) for part in (query, key, value)), density=0.1, num_reference=0)
    assert chosen.lists.shape[-1] == 4  # two of its own and two neighbours
    first = sparse.sparse_attention(query, key, value, chosen)[:32]  # its tile reads the three blocks that differ
    assert error(first, exact_attention(query[:32], key, value)) < 1e-5


@pytest.mark.parametrize("grid", [(3, 5, 7), (6, 6, 6), (2, 1, 9)])
def test_permuted_attention_is_attention(device: torch.device, grid: tuple[int, int, int]) -> None:
    order, length = morton_order(grid, device), math.prod(grid)
    assert torch.equal(order.restore(order.arrange(torch.arange(length, device=device))).cpu(), torch.arange(length))
    assert sorted(order.frames[: order.num_reference].tolist()) == [0] * order.num_reference
    assert torch.equal(order.frames, order.arrange(natural_order(grid, device).frames))
    parts = draw(length, 2, 16, device)
    there = definitions.attention(*(order.arrange(part) for part in parts))
    assert error(order.restore(there), definitions.attention(*parts)) < 1e-6


def test_morton_codes() -> None:
    codes = morton_codes((2, 2, 3)).tolist()
    # bits t h w: (0,0,0) (0,0,1) (0,0,2) (0,1,0) ...
    assert codes[:4] == [0b000, 0b001, 0b1000, 0b010]
    assert codes[6] == 0b100
    cube = morton_order((9, 8, 8), torch.device("cpu"))
    assert cube.permutation is not None
    first = cube.permutation[64:128] - 64  # a block of 64 is a cube of 4 x 4 x 4
    places = torch.stack([first // 64, first // 8 % 8, first % 8])
    assert (places.amax(dim=1) - places.amin(dim=1)).tolist() == [3, 3, 3]


def test_densities_over_steps_and_layers() -> None:
    ramp = Sparsity(densities=(0.5, 0.25, 0.15, 0.15), dense_layers=(0, -1))
    assert [ramp.density(step / 4, 5, 40) for step in range(4)] == [0.5, 0.25, 0.15, 0.15]
    assert [ramp.density(step / 20, 5, 40) for step in (0, 4, 5, 9, 10, 19)] == [0.5, 0.5, 0.25, 0.25, 0.15, 0.15]
    assert ramp.density(0.9, 0, 40) == ramp.density(0.9, 39, 40) == 1
    assert ramp.density(0.9, 38, 40) == 0.15
    assert Sparsity().is_dense
    assert not ramp.is_dense
    for wrong in ((), (0.0,), (1.5,)):
        with pytest.raises(ValueError, match="densities"):
            Sparsity(densities=wrong)
