"""Measures self-attention at 75,600 tokens, 40 heads of 128: every dense backend, then densities in 16 and 8 bits.

    python -m animate_benchmarks.gpu.attention [--device cuda] [--small]

Dense is 4 l^2 d operations; a density's rate counts the operations of dense attention, so it is the effective one.
Sparse rows time selection and attention together; selection alone comes first. Our kernels alone come last, in every
launch: queries of a program, its warps, steps fetched ahead. The fastest belongs into `fused/attention.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import torch

from animate_benchmarks.gpu.bench import Bench, read_bench
from animate_kernels.attention import BACKENDS, Backend, probe_attention
from animate_kernels.dispatch import Ops, kernel_of
from animate_kernels.order import TokenOrder, morton_order
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparse import Selection, select
from animate_kernels.sparsity import Sparsity

DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1)
LAUNCHES = tuple(product(((128, 8), (64, 4)), (2, 3, 4)))  # queries and warps, stages
Heads = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@torch.no_grad()
def main() -> None:
    bench = read_bench(__doc__)
    sizes = bench.sizes
    grid = (sizes.frames, 45, 80) if sizes.tokens == 75_600 else (sizes.frames, 10, sizes.tokens // sizes.frames // 10)
    order = morton_order(grid, bench.device)
    query, key, value = torch.randn(
        3, sizes.tokens, sizes.heads, sizes.head_width, device=bench.device, dtype=bench.dtype
    )
    heads = query, key, value
    for backend in BACKENDS:
        bench.row(f"dense, {backend.name}", lambda backend=backend: _dense(bench, backend, heads))  # type: ignore[misc]
    bench.row("selection, density 0.2", lambda: _selection(bench, heads, order))
    for eight_bit in (False, True):
        for density in DENSITIES[1:]:
            bench.row(
                f"density {density}, {8 if eight_bit else 16} bits",
                lambda d=density, e=eight_bit: _sparse(bench, heads, order, d, eight_bit=e),  # type: ignore[misc]
            )
    if bench.device.type == "cuda":
        measure_launches(bench, heads, order)
    bench.finish("attention")


def measure_launches(bench: Bench, heads: Heads, order: TokenOrder) -> None:
    """Measure each of our kernels in each launch, a row each. Needs a GPU, or Triton's interpreter."""
    from animate_kernels.fused import attention

    query, key, value = heads
    ops = _kernels(query.device)
    heads8 = ops.quantize_heads(query, key, value, ops.summarize(key, 64), ops.summarize(value, 64))
    selection = _select(heads, order)
    kernels: dict[str, Callable[[attention.Launch], object]] = {
        "dense, 16 bits": lambda launch: attention.attention(query, key, value, launch),
        "dense, 8 bits": lambda launch: attention.attention_8bit(heads8, bench.dtype, launch),
        "0.2, 16 bits": lambda launch: attention.sparse_attention(query, key, value, selection, launch),
        "0.2, 8 bits": lambda launch: attention.sparse_attention_8bit(heads8, selection, bench.dtype, launch),
    }
    for (name, kernel), ((rows, warps), stages) in product(kernels.items(), LAUNCHES):
        launch = attention.Launch(rows=rows, warps=warps, stages=stages)
        bench.row(
            f"{name}, {rows} rows, {stages} stages",
            lambda k=kernel, x=launch: _rate(bench, bench.seconds(lambda: k(x))),  # type: ignore[misc]
        )


def _dense(bench: Bench, backend: Backend, heads: Heads) -> dict[str, float]:
    finding = probe_attention(backend, bench.device)
    if not finding.usable:
        raise RuntimeError(finding.reason)
    return _rate(bench, bench.seconds(lambda: backend.attend(*heads)))


def _selection(bench: Bench, heads: Heads, order: TokenOrder) -> dict[str, float]:
    return {"ms": bench.seconds(lambda: _select(heads, order)) * 1e3}


def _select(heads: Heads, order: TokenOrder) -> Selection:
    ops = _kernels(heads[0].device)
    query, key, value = (ops.summarize(part, 64) for part in heads)
    return select(query, key, value, density=0.2, num_reference=order.num_reference, choose=ops.choose_blocks)


def _sparse(bench: Bench, heads: Heads, order: TokenOrder, density: float, *, eight_bit: bool) -> dict[str, float]:
    ops, sparsity = _kernels(bench.device), Sparsity(densities=(density,))
    attend = SelfAttention(ops=ops, eight_bit=eight_bit, sparsity=sparsity)
    query, key, value = heads
    return _rate(bench, bench.seconds(lambda: attend(query, key, value, order, density)))


def _kernels(device: torch.device) -> Ops:
    if device.type != "cuda":
        return Ops()
    names = "summarize", "quantize_heads", "choose_blocks", "sparse_attention", "sparse_attention_8bit"
    return replace(Ops(), **{name: kernel_of(name) for name in names})


def _rate(bench: Bench, seconds: float) -> dict[str, float]:
    operations = 4 * bench.sizes.tokens**2 * bench.sizes.width
    return {"ms": seconds * 1e3, "TFLOP/s": operations / seconds / 1e12}


if __name__ == "__main__":
    main()
