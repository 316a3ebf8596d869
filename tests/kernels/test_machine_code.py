"""The kernels as machine code for a Hopper GPU, without one; and the benchmark of their launches."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from animate_benchmarks.gpu import attention
from animate_benchmarks.gpu.bench import SMALL, Bench
from animate_kernels.order import morton_order

pytest.importorskip("triton")
pytestmark = pytest.mark.machine_code
LARGEST_SHARED_BYTES = 232_448  # that a program of an H100 or H200 may have
ATTENTION = (
    "dense, 16 bits",
    "dense, 8 bits",
    "density 0.2, 16 bits",
    "density 0.2, 8 bits",
    "cross-attention, 17 and 257 keys",
)


def test_every_kernel_compiles_and_attention_keeps_the_tensor_cores_busy() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "animate_benchmarks.gpu.machine_code"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert set(ATTENTION) < set(rows)
    for name, code in rows.items():
        assert code["spilled_bytes"] <= 64, name
        assert code["shared_bytes"] <= LARGEST_SHARED_BYTES, name
        assert code["programs"] >= (1 if name in ATTENTION else 2), name
        assert code["loads"].get("128", 0) >= 4 or name.startswith("choice of blocks"), name
    for name in ATTENTION:
        for loop in rows[name]["loops"]:
            assert loop["tensor_core"] >= 6, name
            assert loop["waits"] < loop["tensor_core"], f"{name}: the products run one after the other"
        pairs = rows[name]["loops"][0]
        assert pairs["instructions"] < 660, f"{name}: scores cost more instructions than they need"


def test_every_launch_is_measured(device: torch.device, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(device=device, sizes=SMALL, repeats=1)
    query, key, value = torch.randn(3, 150, 1, 32, device=device)
    attention.measure_launches(bench, (query, key, value), morton_order((3, 5, 10), device))
    assert "failed" not in capsys.readouterr().out
    assert len(bench.rows) == 4 * len(attention.LAUNCHES)
