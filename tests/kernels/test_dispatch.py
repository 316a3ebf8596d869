"""The choice of implementations: what works is taken in order, what fails is said, and every trial is a real one."""

from __future__ import annotations

import pytest
import torch

from animate_kernels import attention, definitions, dispatch
from animate_kernels.attention import Backend, Finding

CPU = torch.device("cpu")


def test_the_cpu_takes_the_definitions() -> None:
    choice = dispatch.choose(CPU)
    assert choice.backend.name == "sdpa"
    assert choice.ops == dispatch.Ops()
    names = [finding.name for finding in choice.findings]
    assert names == ["kernels", "fa3", "cudnn", "sdpa"]
    assert all(finding.reason for finding in choice.findings[:-1])


def test_a_backend_that_is_asked_for_must_work() -> None:
    asked = dispatch.choose(CPU, "fp8")
    assert asked.backend.eight_bit
    assert asked.ops == dispatch.Ops()
    with pytest.raises(ValueError, match="'fa3' does not work on cpu: ModuleNotFoundError"):
        dispatch.choose(CPU, "fa3")
    with pytest.raises(ValueError, match="no attention backend is called 'magic': fa3, cudnn, sdpa"):
        dispatch.choose(CPU, "magic")


def test_a_wrong_backend_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Backend(name="wrong", attend=lambda q, k, v: 2 * definitions.attention(q, k, v))
    broken = Backend(name="broken", attend=lambda q, k, v: 1 / 0)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(dispatch, "BACKENDS", (wrong, broken, *attention.BACKENDS))
    first, second = dispatch.choose(CPU).findings[1:3]
    assert first == Finding(name="wrong", usable=False, reason="wrong by 100%")
    assert second.reason == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize("name", sorted(dispatch._MODULES))
def test_every_kernel_passes_its_trial(name: str, device: torch.device) -> None:
    finding = dispatch.probe_kernel(name, device)
    assert finding == Finding(name=name, usable=True)


def test_a_wrong_kernel_fails_its_trial(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dispatch.trial("gelu", definitions.gelu, device)
    results = iter([right, 1.1 * right])
    monkeypatch.setattr(dispatch, "trial", lambda *_: next(results))
    assert dispatch.probe_kernel("gelu", device).reason == "wrong by 10%"


def test_fp8_products_are_tried(device: torch.device) -> None:
    assert dispatch.probe_fp8_linear(device) == Finding(name="fp8 linear", usable=True)
