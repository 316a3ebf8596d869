"""Measures the machine's ceilings: copy bandwidth, and products of the blocks' shapes in bf16 and rowwise e4m3.

    python -m animate_benchmarks.gpu.ceilings [--device cuda] [--small]

Every other benchmark's floors are computed from these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from animate_benchmarks.gpu.bench import Bench, read_bench
from animate_kernels.fp8 import Fp8Rows, fp8_linear, quantize_rowwise


@torch.no_grad()
def main() -> None:
    bench = read_bench(__doc__)
    width, ffn = bench.sizes.width, bench.sizes.ffn_width
    bench.row("copy, fp32 tokens", lambda: _copy(bench))
    for name, shape in {
        "qkv": (width, 3 * width),
        "out": (width, width),
        "ffn in": (width, ffn),
        "ffn out": (ffn, width),
    }.items():
        bench.row(f"{name}, bf16", lambda shape=shape: _linear(bench, *shape))  # type: ignore[misc]
        bench.row(f"{name}, e4m3 rows", lambda shape=shape: _fp8_linear(bench, *shape))  # type: ignore[misc]
    bench.finish("ceilings")


def _copy(bench: Bench) -> dict[str, float]:
    source = torch.empty(bench.sizes.tokens, bench.sizes.width, device=bench.device)
    target = torch.empty_like(source)
    seconds = bench.seconds(lambda: target.copy_(source))
    return {"ms": seconds * 1e3, "TB/s": 2 * source.nbytes / seconds / 1e12}


def _linear(bench: Bench, width: int, wide: int) -> dict[str, float]:
    states = torch.randn(bench.sizes.tokens, width, device=bench.device, dtype=bench.dtype)
    weight = torch.randn(wide, width, device=bench.device, dtype=bench.dtype)
    bias = torch.randn(wide, device=bench.device, dtype=bench.dtype)
    return _rate(bench, bench.seconds(lambda: F.linear(states, weight, bias)), width, wide)


def _fp8_linear(bench: Bench, width: int, wide: int) -> dict[str, float]:
    values, scale = quantize_rowwise(torch.randn(bench.sizes.tokens, width, device=bench.device))
    rows = Fp8Rows(values=values, scale=scale)
    weight, weight_scale = quantize_rowwise(torch.randn(wide, width, device=bench.device))
    bias = torch.randn(wide, device=bench.device, dtype=bench.dtype)
    seconds = bench.seconds(lambda: fp8_linear(rows, weight, weight_scale, bias, bench.dtype))
    return _rate(bench, seconds, width, wide)


def _rate(bench: Bench, seconds: float, width: int, wide: int) -> dict[str, float]:
    return {"ms": seconds * 1e3, "TFLOP/s": 2 * bench.sizes.tokens * width * wide / seconds / 1e12}


if __name__ == "__main__":
    main()
