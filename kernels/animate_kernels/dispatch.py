"""The choice of an implementation for each operator on a device, with the reasons.

On CUDA each of our kernels is tried by one tiny call whose result is compared with the definition. The definition runs
where that fails, and on every other device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import torch

from animate_kernels import blocks, definitions, eight_bit, sparse
from animate_kernels.attention import BACKENDS, Backend, Finding, probe, probe_attention
from animate_kernels.blocks import Blocks, Summarize
from animate_kernels.eight_bit import Fp8Heads
from animate_kernels.fp8 import FP8, Fp8Rows, States, fp8_linear, quantize_rowwise
from animate_kernels.order import natural_order

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops:
    """Every operator of the transformer, by default as `definitions`, `sparse` and `eight_bit` define it."""

    layer_norm: Callable[..., States] = definitions.layer_norm
    add_norm: Callable[..., tuple[torch.Tensor, States]] = definitions.add_norm
    quantize: Callable[[torch.Tensor], Fp8Rows] = definitions.quantize
    gelu: Callable[[torch.Tensor, torch.dtype], States] = definitions.gelu
    norm_rotate: Callable[..., torch.Tensor] = definitions.norm_rotate
    face_attention: Callable[..., torch.Tensor] = definitions.face_attention
    summarize: Summarize = blocks.summarize
    quantize_heads: Callable[..., Fp8Heads] = eight_bit.quantize_heads
    choose_blocks: sparse.ChooseBlocks = sparse.choose_blocks
    sparse_attention: Callable[..., torch.Tensor] = sparse.sparse_attention
    sparse_attention_8bit: Callable[..., torch.Tensor] = sparse.sparse_attention_8bit
    cross_attention: Callable[..., torch.Tensor] = definitions.cross_attention


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The implementations that run on a device.

    ops: operators of the transformer.
    backend: dense self-attention.
    findings: the result of every probe, in order.
    """

    ops: Ops
    backend: Backend
    findings: tuple[Finding, ...]


_MODULES = {
    "layer_norm": "norm",
    "add_norm": "norm",
    "quantize": "rows",
    "gelu": "rows",
    "norm_rotate": "rotary",
    "face_attention": "face",
    "cross_attention": "cross",
    "summarize": "blocks",
    "quantize_heads": "quantize",
    "choose_blocks": "selection",
    "sparse_attention": "attention",
    "sparse_attention_8bit": "attention",
}


def choose(
    device: torch.device, attention: str = "auto", *, dtype: torch.dtype = torch.bfloat16, head_width: int = 128
) -> Choice:
    """Probe kernels and attention backends on a device and return those that work.

    device: where they are to run.
    attention: a name of `BACKENDS`, or `auto` for the first usable backend that keeps 16 bits.
    dtype: type of the heads.
    head_width: channels of a head.
    Raises `ValueError` with the name of a backend that is unknown or does not work on the device.
    """
    ops, findings = _choose_kernels(device)
    attempt = partial(probe_attention, device=device, dtype=dtype, head_width=head_width)
    backend, attention_findings = _choose_attention(device, attention, attempt)
    findings += attention_findings
    for finding in findings:
        _log.info("%s: %s %s", device, finding.name, finding.reason or "works")
    _log.info("%s: attention by %s", device, backend.name)
    return Choice(ops=ops, backend=backend, findings=tuple(findings))


def _choose_kernels(device: torch.device) -> tuple[Ops, list[Finding]]:
    if device.type != "cuda":
        return Ops(), [Finding(name="kernels", usable=False, reason=f"PyTorch's own operators on {device.type}")]
    kernels, findings = {}, []
    for name in _MODULES:
        finding = probe_kernel(name, device)
        findings.append(finding)
        if finding.usable:
            kernels[name] = kernel_of(name)
    return Ops(**kernels), findings


def kernel_of(name: str) -> Callable[..., Any]:
    """Return our Triton kernel of an operator of `Ops`."""
    kernel: Callable[..., Any] = getattr(import_module(f"animate_kernels.fused.{_MODULES[name]}"), name)
    return kernel


def probe_kernel(name: str, device: torch.device) -> Finding:
    """Compare one tiny call of a Triton kernel with the definition."""
    return probe(
        name,
        lambda: trial(name, kernel_of(name), device),
        lambda: trial(name, getattr(Ops(), name), device),
        tolerance=6e-2,  # 8-bit weights are rounded relative to the largest score so far, or of all
    )


def probe_fp8_linear(device: torch.device) -> Finding:
    """Probe whether the device multiplies rows of e4m3."""
    generator = torch.Generator().manual_seed(0)
    states, weight = torch.randn(2, 32, 64, generator=generator)
    rows, (values, scale), bias = definitions.quantize(states), quantize_rowwise(weight), torch.zeros(32)
    moved = Fp8Rows(values=rows.values.to(device), scale=rows.scale.to(device))
    parts = [part.to(device) for part in (values, scale, bias)]
    return probe(
        "fp8 linear",
        lambda: fp8_linear(moved, parts[0], parts[1], parts[2], torch.bfloat16).cpu(),
        lambda: fp8_linear(rows, values, scale, bias, torch.bfloat16),
        tolerance=2e-2,
    )


def trial(name: str, operator: Callable[..., object], device: torch.device) -> torch.Tensor:
    """Return the result of an operator on a tiny input, as one fp32 tensor.

    name: name of the operator in `Ops`, for which the input is made; always the same input.
    operator: the implementation to call.
    device: where it runs.
    """
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16
    heads = torch.randn(3, 448, 1, 128, generator=generator).to(device, dtype)
    rows = torch.randn(24, 256, generator=generator).to(device, dtype)
    weight, bias = torch.randn(2, 256, generator=generator).to(device)
    order, angle = natural_order((3, 2, 4), device), torch.rand(24, 64, generator=generator).to(device)
    key, value = torch.randn(2, 3, 5, 2, 128, generator=generator).to(device, dtype)
    summaries = [blocks.summarize(part, 64) for part in heads]
    selection = sparse.select(*summaries, density=0.2, num_reference=64)
    arguments: dict[str, tuple[object, ...]] = {
        "layer_norm": (rows, weight, bias, dtype),
        "add_norm": (rows.float(), rows, weight, weight, bias),
        "quantize": (rows,),
        "gelu": (rows, dtype),
        "norm_rotate": (rows[:, None], weight[None].to(dtype), 2, angle.cos(), angle.sin()),
        "face_attention": (rows.unflatten(1, (2, -1)), weight[:128].to(dtype), key, value, order),
        "cross_attention": (heads[0], *heads[1:, :5], torch.tensor([1.0, 1, 1, 1, 508]).to(device), *heads[1:, 5:90]),
        "summarize": (heads[0], 64),
        "quantize_heads": (*heads, *summaries[1:]),
        "choose_blocks": (torch.randn(2, 5, 9, generator=generator).to(device), 7, 1),
        "sparse_attention": (*heads, selection),
        "sparse_attention_8bit": (eight_bit.quantize_heads(*heads, *summaries[1:]), selection, dtype),
    }
    options = {"residual": torch.float32, "out": FP8} if name == "add_norm" else {}
    return _flat(operator(*arguments[name], **options))


def _flat(result: object) -> torch.Tensor:
    """Return all numbers of a result as one fp32 tensor."""
    if isinstance(result, Fp8Rows):
        return result.dequantize().flatten()
    if isinstance(result, Fp8Heads):
        return torch.cat([part.flatten() for part in eight_bit.dequantize_heads(result)])
    if isinstance(result, Blocks):
        return torch.cat([result.means.flatten(), result.squares.flatten(), result.largest.flatten(), result.lengths])
    if isinstance(result, tuple):
        return torch.cat([_flat(part) for part in result])
    assert isinstance(result, torch.Tensor)
    return result.float().flatten()


def _choose_attention(
    device: torch.device, name: str, attempt: Callable[[Backend], Finding]
) -> tuple[Backend, list[Finding]]:
    """Return the first usable backend and the findings up to it; raise `ValueError` where there is none."""
    names = [backend.name for backend in BACKENDS]
    if name != "auto" and name not in names:
        raise ValueError(f"no attention backend is called {name!r}: {', '.join(names)}")
    candidates = [b for b in BACKENDS if (b.automatic if name == "auto" else b.name == name)]
    findings = []
    for backend in candidates:
        findings.append(attempt(backend))
        if findings[-1].usable:
            return backend, findings
    raise ValueError(f"attention {name!r} does not work on {device}: {findings[-1].reason}")
