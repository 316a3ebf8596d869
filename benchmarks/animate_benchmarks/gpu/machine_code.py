"""Compiles every kernel for a Hopper GPU at the real model's sizes, without one, and reads the machine code.

    python -m animate_benchmarks.gpu.machine_code

A launch over tensors of the meta device is compiled for their types and strides, and not run. Columns of a kernel:
instructions, and the milliseconds in which the chip's schedulers issue them where no loop repeats them; registers of a
thread, and bytes of them spilled to memory; shared memory; programs that fit a multiprocessor at once; the number of
global loads by their bits; and for every loop its instructions, those of the tensor cores among them (Q), and waits for
these (W): many waits are products that the assembler has put one after the other. The last line is one JSON object.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from animate_benchmarks.gpu.bench import Bench, Sizes
from animate_benchmarks.gpu.operators import works
from animate_kernels.dispatch import kernel_of
from animate_kernels.fused import attention
from animate_kernels.fused.blocks import summarize
from animate_kernels.fused.quantize import quantize_heads
from animate_kernels.sparse import select

_HOPPER = GPUTarget("cuda", 90, 32)
_TOOLS = Path(nvidia.__file__).parent / "bin"
_REGISTERS, _SHARED_BYTES, _THREADS, _PROGRAMS = 65_536, 233_472, 2048, 32  # of a multiprocessor
_WARP_INSTRUCTIONS_PER_S = 132 * 4 * 1.755e9  # multiprocessors, their schedulers, clock
_RESERVED_BYTES = 1024  # of shared memory, a program's
_OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_]+)([A-Z0-9_.]*)")


class _NoDevice:
    """The parts of a driver that Triton needs in order to compile."""

    def get_current_target(self) -> GPUTarget:
        return _HOPPER

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """The instructions of a loop's body, without loops that are unrolled."""

    instructions: int
    tensor_core: int
    waits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """The figures of a kernel.

    issue_s: seconds in which its instructions are issued; None where a loop repeats them.
    programs: programs that fit a multiprocessor at once.
    loads: number of global loads by their bits.
    """

    instructions: int
    issue_s: float | None
    registers: int
    spilled_bytes: int
    shared_bytes: int
    programs: int
    loads: dict[int, int]
    loops: tuple[Loop, ...]


def main() -> None:
    codes: dict[str, MachineCode] = {}
    print(f"{'':34}instructions  issue ms  registers  spilled  shared  programs  loads               loops")
    for label, launch in launches():
        for index, code in enumerate(read_codes(launch)):
            name = f"{label}, {index + 1}" if index else label
            codes[name] = code
            print(f"{name:34}{_line(code)}", flush=True)
    where = {"triton": triton.__version__, "target": f"sm_{_HOPPER.arch}"}
    print(json.dumps({"title": "machine code", **where, "rows": {name: asdict(code) for name, code in codes.items()}}))


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield every kernel as the transformer launches it at 1280x720, on the meta device."""
    bench = Bench(device=torch.device("meta"), sizes=Sizes(), repeats=1)
    for label, name, make in works(bench):
        arguments, options, _ = make()
        yield label, partial(kernel_of(name), *arguments, **options)
    sizes = bench.sizes
    rows = torch.empty(sizes.tokens, 3, sizes.heads, sizes.head_width, dtype=bench.dtype, device=bench.device)
    query, key, value = rows.unbind(1)
    with _compiling():
        blocks = [summarize(part, 64) for part in (query, key, value)]
        heads = quantize_heads(query, key, value, *blocks[1:])
    selection = select(*blocks, density=0.2, num_reference=sizes.tokens // sizes.frames)
    yield "dense, 16 bits", lambda: attention.attention(query, key, value)
    yield "dense, 8 bits", lambda: attention.attention_8bit(heads, bench.dtype)
    yield "density 0.2, 16 bits", lambda: attention.sparse_attention(query, key, value, selection)
    yield "density 0.2, 8 bits", lambda: attention.sparse_attention_8bit(heads, selection, bench.dtype)


def read_codes(launch: Callable[[], object]) -> list[MachineCode]:
    """Return the machine code of each kernel that a call launches, in order."""
    with _compiling() as kernels:
        launch()
    return [_read(kernel, programs) for kernel, programs in kernels]


@contextmanager
def _compiling() -> Iterator[list[tuple[Any, int]]]:
    """Compile every kernel launched inside instead of running it, and keep it with its number of programs."""
    kernels: list[tuple[Any, int]] = []
    run = JITFunction.run

    def compile_only(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kernels.append((run(kernel, *arguments, grid=grid, warmup=True, **options), math.prod(grid)))

    with mock.patch.object(JITFunction, "run", compile_only), mock.patch.object(driver, "_active", _NoDevice()):
        yield kernels


def _read(kernel: Any, launched: int) -> MachineCode:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _tool("cuobjdump", "-res-usage", file.name)
        code = _tool("nvdisasm", "-c", file.name)
    registers, spilled = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())  # type: ignore[union-attr]
    shared, warps = kernel.metadata.shared, kernel.metadata.num_warps
    instructions, loops = len(_OPCODE.findall(code)), tuple(_loops(code))
    return MachineCode(
        instructions=instructions,
        issue_s=None if loops else instructions * warps * launched / _WARP_INSTRUCTIONS_PER_S,
        registers=registers,
        spilled_bytes=spilled,
        shared_bytes=shared,
        programs=_programs(registers, shared, 32 * warps),
        loads=_loads(code),
        loops=loops,
    )


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([_TOOLS / name, *arguments], check=True, capture_output=True, text=True).stdout


def _programs(registers: int, shared_bytes: int, threads: int) -> int:
    """Return how many programs fit a multiprocessor."""
    by_registers = _REGISTERS // (-(-registers // 8) * 8 * threads)
    return min(by_registers, _SHARED_BYTES // (shared_bytes + _RESERVED_BYTES), _THREADS // threads, _PROGRAMS)


def _loads(code: str) -> dict[int, int]:
    widths: Counter[int] = Counter()
    for name, suffixes in _OPCODE.findall(code):
        if name in ("LDG", "LDGSTS"):
            found = re.search(r"\.[US]?(8|16|64|128)\b", suffixes)
            widths[int(found[1]) if found else 32] += 1
    return dict(sorted(widths.items(), reverse=True))


def _loops(code: str) -> Iterator[Loop]:
    """Yield the loops: every branch back to a label before it."""
    lines = code.splitlines()
    labels = {line.rstrip(":"): place for place, line in enumerate(lines) if line.startswith(".L_x_")}
    for place, line in enumerate(lines):
        branch = re.search(r"BRA `\((\.L_x_\d+)\)", line)
        if branch is None or not labels[branch[1]] < place - 1:  # the program's end is a branch to itself
            continue
        names = Counter(name for name, _ in _OPCODE.findall("\n".join(lines[labels[branch[1]] : place + 1])))
        yield Loop(
            instructions=names.total(),
            tensor_core=names["HGMMA"] + names["QGMMA"] + names["HMMA"],
            waits=names["WARPGROUP"],
        )


def _line(code: MachineCode) -> str:
    issue = f"{1e3 * code.issue_s:.2f}" if code.issue_s is not None else ""
    loads = " ".join(f"{width}x{number}" for width, number in code.loads.items())
    loops = "  ".join(f"{loop.instructions} ({loop.tensor_core}Q {loop.waits}W)" for loop in code.loops)
    numbers = f"{code.instructions:12}{issue:>10}{code.registers:11}{code.spilled_bytes:9}"
    return f"{numbers}{code.shared_bytes / 1024:5.0f} KB{code.programs:10}  {loads:20}{loops}"


if __name__ == "__main__":
    main()
