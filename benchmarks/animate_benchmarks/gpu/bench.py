"""The options, the clock and the table of the GPU benchmarks. Rows that fail are printed and left out."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

TOKENS, HEADS, HEAD_WIDTH, FFN_WIDTH = 75_600, 40, 128, 13_824  # 1280x720, 77 frames and the reference's


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of the tensors: the real model's, or small ones that only show that the command runs."""

    tokens: int = TOKENS
    heads: int = HEADS
    head_width: int = HEAD_WIDTH
    ffn_width: int = FFN_WIDTH
    frames: int = 21

    @property
    def width(self) -> int:
        return self.heads * self.head_width


SMALL = Sizes(tokens=480, heads=2, head_width=32, ffn_width=96, frames=3)


@dataclass(slots=True, kw_only=True)
class Bench:
    """A clock for work on a device, and the table of its rows."""

    device: torch.device
    sizes: Sizes
    repeats: int
    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the median of the repeats, after one run that compiles and warms up."""
        work()
        return statistics.median(self._once(work) for _ in range(self.repeats))

    def row(self, name: str, measure: Callable[[], dict[str, float]]) -> None:
        """Measure and print a row; print a failure and go on."""
        try:
            self.rows[name] = measure()
        except Exception as failure:  # noqa: BLE001 - a missing package or a kernel that fails is a result
            print(f"{name:36} failed: {reason(failure)}", flush=True)
            return
        print(f"{name:36}" + "".join(f" {key} {value:10.4g}" for key, value in self.rows[name].items()), flush=True)

    def finish(self, title: str) -> None:
        """Print the last line of stdout: one JSON object."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        where = {"device": name, "torch": torch.__version__, "tokens": self.sizes.tokens, "width": self.sizes.width}
        print(json.dumps({"title": title, **where, "rows": self.rows}))

    def _once(self, work: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


def reason(failure: Exception) -> str:
    """Describe a failure in one line."""
    return f"{type(failure).__name__}: {str(failure).partition(chr(10))[0]}"


def read_bench(description: str | None) -> Bench:
    """Read the options from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the command without a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    sizes = SMALL if options.small else Sizes()
    return Bench(device=torch.device(options.device), sizes=sizes, repeats=options.repeats)


def compiled(work: Callable[..., object], device: torch.device) -> Callable[..., object]:
    """Compile a work by torch.compile with static shapes.

    Without a GPU it is returned as it is: the CPU's compiler needs no check here.
    """
    if device.type != "cuda":
        return work
    torch._dynamo.reset()
    fast: Callable[..., object] = torch.compile(work, dynamic=False)
    return fast
