"""The benchmark commands run, small, and end with one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from animate_benchmarks import forward, forward_cpu, preprocess
from animate_benchmarks.gpu import attention, ceilings, operators
from animate_benchmarks.gpu.summary import last_object

pytestmark = pytest.mark.tools


def test_forward_runs_narrow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "--device cpu --narrow --size 64x64 --frames 17 --layers 5 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["forward", *arguments.split()])
    forward.main()
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    # 64x64: 8x8 latents, 4x4 patches; 17 frames: 5 latent frames and the reference
    assert summary["what"] == "64x64, 17 frames, 96 tokens, 5 layers x 48"
    assert {"ours", "ours, one block", "diffusers", "ours, fp8", "ours, fp8, 8-bit, density 0.2"} < {
        *summary["seconds"]
    }
    assert "ours, fp8, fa3 in fp8" not in summary["seconds"]  # it fails here, and the others go on
    assert min(*summary["seconds"].values(), summary["floor_s"]) > 0


@pytest.mark.parametrize("main", [attention.main, ceilings.main, operators.main])
def test_gpu_benchmarks_run_small(
    main: Callable[[], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--device", "cpu", "--small", "--repeats", "1"])
    main()
    out = capsys.readouterr().out
    failed = [line for line in out.splitlines() if " failed: " in line]
    assert {line.split()[1] for line in failed} <= {"fa3", "cudnn", "xformers", "triton", "fa3-fp8"}
    log = tmp_path / "piece.log"
    log.write_text(out)
    result = last_object(log)
    assert result is not None
    assert result["width"] == 64
    assert len(result["rows"]) >= 9  # type: ignore[arg-type]
    log.write_text("stopped\n")
    assert last_object(log) is None


def test_cpu_benchmark_compares_the_same_thing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = forward_cpu.torch.get_num_threads()
    monkeypatch.setattr(sys, "argv", ["forward_cpu", "--repeats", "1", "--steps", "1", "--threads", str(threads)])
    forward_cpu.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["dim"], result["layers"], result["tokens"]) == (160, 6, 216)
    assert result["largest_difference"] < 1e-4
    assert min(result["ratio_over_diffusers"], result["ratio_blocks"]) > 0


def test_preprocess_benchmark_names_every_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["preprocess", "--sizes", "96x64,64x96", "--frames", "3", "--repeats", "1"])
    preprocess.main()
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["rows"]) == ["96x64", "64x96"]
    stages = ["decode", "detect", "pose", "read the film", "draw skeleton", "crop face", "mask, background"]
    for rows in result["rows"].values():
        assert [row["stage"] for row in rows] == stages
        assert ["ratio" in row for row in rows] == [True] * 4 + [False] * 3
        assert min(min(row["ours_fps"], row["ours_cpu_ms"]) for row in rows) > 0
