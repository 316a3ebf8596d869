"""The benchmark commands run, small, and end with one JSON object."""

from __future__ import annotations

import json
import sys

import pytest

from animate_benchmarks import forward


def test_forward_runs_narrow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = "--device cpu --narrow --size 64x64 --frames 17 --layers 5 --repeats 1"
    monkeypatch.setattr(sys, "argv", ["forward", *arguments.split()])
    forward.main()
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    # 64x64: 8x8 latents, 4x4 patches; 17 frames: 5 latent frames and the reference
    assert summary["what"] == "64x64, 17 frames, 96 tokens, 5 layers x 48"
    assert min(summary["ours_s"], summary["diffusers_s"], summary["floor_s"]) > 0
