"""Measures each operator of the blocks: our kernel, its definition, that by torch.compile, and the floor of its bytes.

    python -m animate_benchmarks.gpu.operators [--device cuda] [--small]

The floor is the bytes that must be read and written once, at the copy bandwidth measured in the same run. Where there
is no GPU the definition runs in place of the kernel: that shows that the command runs, and no speed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from animate_benchmarks.gpu.bench import Bench, compiled, read_bench
from animate_kernels.blocks import summarize
from animate_kernels.dispatch import Ops, kernel_of
from animate_kernels.fp8 import FP8
from animate_kernels.order import natural_order
from animate_kernels.sparse import least_read

Work = tuple[tuple[object, ...], dict[str, object], int]  # arguments, options, bytes


@torch.no_grad()
def main() -> None:
    bench = read_bench(__doc__)
    bandwidth = _bandwidth(bench)
    for label, name, make in works(bench):
        bench.row(label, lambda name=name, make=make: _compare(bench, name, make(), bandwidth))  # type: ignore[misc]
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    bench.finish("operators")


def _bandwidth(bench: Bench) -> float:
    source = torch.empty(bench.sizes.tokens, bench.sizes.width, device=bench.device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / bench.seconds(lambda: target.copy_(source))


def _compare(bench: Bench, name: str, work: Work, bandwidth: float) -> dict[str, float]:
    arguments, options, size_bytes = work
    definition = getattr(Ops(), name)
    kernel = kernel_of(name) if bench.device.type == "cuda" else definition
    fast = compiled(definition, bench.device)
    return {
        "ours_ms": bench.seconds(lambda: kernel(*arguments, **options)) * 1e3,
        "reference_ms": bench.seconds(lambda: definition(*arguments, **options)) * 1e3,
        "compiled_ms": bench.seconds(lambda: fast(*arguments, **options)) * 1e3,
        "floor_ms": size_bytes / bandwidth * 1e3,
    }


def works(bench: Bench) -> list[tuple[str, str, Callable[[], Work]]]:
    """Return label, operator, and a function that makes arguments, options and bytes."""
    sizes, dtype, device = bench.sizes, bench.dtype, bench.device
    length, width, heads, item = sizes.tokens, sizes.width, sizes.heads, dtype.itemsize

    def rows(wide: int, kind: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(length, wide, device=device, dtype=kind)

    def vectors(number: int) -> list[torch.Tensor]:
        return list(torch.randn(number, width, device=device))

    def add_norm(out: torch.dtype) -> Work:
        arguments = (rows(width, torch.float32), rows(width), *vectors(3))
        return arguments, {"residual": torch.float32, "out": out}, length * width * (8 + item + out.itemsize)

    def norm_rotate() -> Work:
        angle = torch.rand(length, sizes.head_width // 2, device=device)
        states, weight = rows(3 * width).unflatten(1, (3, -1))[:, :2], torch.stack(vectors(2)).to(dtype)
        return (states, weight, heads, angle.cos(), angle.sin()), {}, length * width * 4 * item

    def face() -> Work:
        order = natural_order((sizes.frames, 1, length // sizes.frames), device)
        keys = torch.randn(2, sizes.frames, 5, heads, sizes.head_width, device=device, dtype=dtype)
        query = rows(width).unflatten(1, (heads, -1))
        weight = torch.rand(sizes.head_width, device=device, dtype=dtype)
        return (query, weight, *keys, order), {}, length * width * 2 * item

    def cross() -> Work:
        query, text, image = (
            torch.randn(number, heads, sizes.head_width, device=device, dtype=dtype) for number in (length, 17, 257)
        )
        counts = torch.ones(17, device=device)
        return (query, text, text, counts, image, image), {}, length * width * 2 * item

    def heads_8bit() -> Work:
        parts = rows(3 * width).unflatten(1, (3, heads, -1)).unbind(1)
        return (*parts, *(summarize(part, 64) for part in parts[1:])), {}, 3 * length * width * (item + 1)

    def norm() -> Work:
        return (rows(width, torch.float32), *vectors(2), FP8), {}, length * width * 5

    def choice() -> Work:
        blocks = -(-length // 64)
        scores = torch.randn(heads, -(-blocks // 2), blocks, device=device)
        read = max(blocks // 5, least_read(blocks, 1))
        return (scores, read, 1), {}, scores.numel() * 5 + scores.numel() // blocks * read * 4

    return [
        ("norm, modulate, e4m3", "layer_norm", norm),
        ("gated residual, norm, 16 bits", "add_norm", lambda: add_norm(dtype)),
        ("gated residual, norm, e4m3", "add_norm", lambda: add_norm(FP8)),
        ("q k norm, rotary", "norm_rotate", norm_rotate),
        ("gelu, 16 bits", "gelu", lambda: ((rows(sizes.ffn_width), dtype), {}, length * sizes.ffn_width * 2 * item)),
        ("gelu, e4m3", "gelu", lambda: ((rows(sizes.ffn_width), FP8), {}, length * sizes.ffn_width * (item + 1))),
        ("rows to e4m3", "quantize", lambda: ((rows(width),), {}, length * width * (item + 1))),
        (
            "summary of blocks",
            "summarize",
            lambda: ((rows(width).unflatten(1, (heads, -1)), 64), {}, length * width * item),
        ),
        ("q k v to e4m3", "quantize_heads", heads_8bit),
        ("cross-attention, 17 and 257 keys", "cross_attention", cross),
        ("face attention", "face_attention", face),
        ("choice of blocks, density 0.2", "choose_blocks", choice),
    ]


if __name__ == "__main__":
    main()
