"""Self-attention at 75,600 tokens, 40 heads of 128: every dense backend, then densities in 16 and 8 bits.

    python -m animate_benchmarks.gpu.attention [--device cuda] [--small]

Dense is 4 l^2 d operations; a density's rate counts the operations of dense attention, so it is the effective one.
Sparse rows time selection and attention together; selection alone stands first.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import torch

from animate_benchmarks.gpu.bench import Bench, read_bench
from animate_kernels.attention import BACKENDS, Backend, probe_attention
from animate_kernels.dispatch import Ops
from animate_kernels.order import TokenOrder, morton_order
from animate_kernels.self_attention import SelfAttention
from animate_kernels.sparse import dense_queries, select
from animate_kernels.sparsity import Sparsity

DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1)
Heads = tuple[torch.Tensor, ...]


@torch.no_grad()
def main() -> None:
    bench = read_bench(__doc__)
    sizes = bench.sizes
    grid = (sizes.frames, 45, 80) if sizes.tokens == 75_600 else (sizes.frames, 10, sizes.tokens // sizes.frames // 10)
    order = morton_order(grid, bench.device)
    heads = tuple(torch.randn(3, sizes.tokens, sizes.heads, sizes.head_width, device=bench.device, dtype=bench.dtype))
    for backend in BACKENDS:
        bench.row(f"dense, {backend.name}", lambda backend=backend: _dense(bench, backend, heads))  # type: ignore[misc]
    bench.row("selection, density 0.2", lambda: _selection(bench, heads, order))
    for eight_bit in (False, True):
        for density in DENSITIES[1:]:
            bench.row(
                f"density {density}, {8 if eight_bit else 16} bits",
                lambda d=density, e=eight_bit: _sparse(bench, heads, order, d, eight_bit=e),  # type: ignore[misc]
            )
    bench.finish("attention")


def _dense(bench: Bench, backend: Backend, heads: Heads) -> dict[str, float]:
    finding = probe_attention(backend, bench.device)
    if not finding.usable:
        raise RuntimeError(finding.reason)
    return _rate(bench, bench.seconds(lambda: backend.attend(*heads)))


def _selection(bench: Bench, heads: Heads, order: TokenOrder) -> dict[str, float]:
    query, key, value = heads
    first = dense_queries(order.num_reference, len(query), 64)
    number = order.num_reference
    seconds = bench.seconds(
        lambda: select(query[first:], key, value, density=0.2, block=64, first_query=first, num_reference=number)
    )
    return {"ms": seconds * 1e3}


def _sparse(bench: Bench, heads: Heads, order: TokenOrder, density: float, *, eight_bit: bool) -> dict[str, float]:
    ops = _kernels(bench.device)
    names = ["fp8"] if eight_bit else ["fa3", "cudnn", "sdpa"]
    usable = [b for b in BACKENDS if b.name in names and probe_attention(b, bench.device).usable]
    attend = SelfAttention(
        ops=ops, dense=usable[0].attend, eight_bit=eight_bit, sparsity=Sparsity(densities=(density,))
    )
    query, key, value = heads
    return _rate(bench, bench.seconds(lambda: attend(query, key, value, order, density)))


def _kernels(device: torch.device) -> Ops:
    if device.type != "cuda":
        return Ops()
    attention = import_module("animate_kernels.fused.attention")
    quantize = import_module("animate_kernels.fused.quantize")
    return replace(
        Ops(),
        quantize_heads=quantize.quantize_heads,
        sparse_attention=attention.sparse_attention,
        sparse_attention_8bit=attention.sparse_attention_8bit,
    )


def _rate(bench: Bench, seconds: float) -> dict[str, float]:
    operations = 4 * bench.sizes.tokens**2 * bench.sizes.width
    return {"ms": seconds * 1e3, "TFLOP/s": operations / seconds / 1e12}


if __name__ == "__main__":
    main()
