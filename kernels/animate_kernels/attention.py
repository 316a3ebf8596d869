"""The backends of dense attention, and a probe of whether each of them runs on a device.

Some import anywhere and fail only when they are called, so each is judged by the result of one tiny call. Tensors are
`l heads d`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from animate_kernels import blocks, definitions, eight_bit
from animate_kernels.fp8 import FP8_MAX

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend of dense attention.

    name: what a recipe calls it.
    attend: its call, on queries, keys and values `l heads d`.
    eight_bit: whether it multiplies in 8 bits.
    automatic: whether `auto` may choose it; the others run only when a recipe names them.
    """

    name: str
    attend: Attention
    eight_bit: bool = False
    automatic: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a probe.

    name: what was probed.
    usable: whether it works on the device.
    reason: why it does not; empty where it does.
    """

    name: str
    usable: bool
    reason: str = ""


def probe_attention(
    backend: Backend, device: torch.device, dtype: torch.dtype = torch.bfloat16, head_width: int = 128
) -> Finding:
    """Compare one tiny call of a backend with the definition.

    backend: the backend to probe.
    device: where it is to run.
    dtype: type of the heads.
    head_width: channels of a head.
    """
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 256, 2, head_width, generator=generator).to(device, dtype)
    return probe(
        backend.name,
        lambda: backend.attend(q, k, v),
        lambda: definitions.attention(q.float(), k.float(), v.float()),
        tolerance=0.15 if backend.eight_bit else 2e-2,
    )


def probe(
    name: str, call: Callable[[], torch.Tensor], definition: Callable[[], torch.Tensor], *, tolerance: float
) -> Finding:
    """Compare the result of a call with that of its definition.

    name: name of the finding.
    call: the call to judge; whatever it raises becomes the reason.
    definition: computes the expected result.
    tolerance: largest difference allowed, in relative L2.
    """
    try:
        expected = definition().float()
        error = ((call().float() - expected).norm() / expected.norm()).item()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is the reason this one is not used
        return Finding(name=name, usable=False, reason=f"{type(failure).__name__}: {failure}".splitlines()[0])
    if not error <= tolerance:
        return Finding(name=name, usable=False, reason=f"wrong by {error:.0%}")
    return Finding(name=name, usable=True)


def _cudnn(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return definitions.attention(q, k, v)


def _fa3(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **scales: torch.Tensor) -> torch.Tensor:
    out = import_module("fa3_fwd_interface").flash_attn_func(q[None], k[None], v[None], **scales)
    attended: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return attended[0]


def _fa3_fp8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attend in 8 bits with one scale a head, all that the kernel takes, over keys less their mean."""
    smooth = (k.float() - k.mean(dim=0, dtype=torch.float32)).to(k.dtype)
    (q8, q_scale), (k8, k_scale), (v8, v_scale) = (_quantize_heads(part) for part in (q, smooth, v))
    return _fa3(q8, k8, v8, q_descale=q_scale, k_descale=k_scale, v_descale=v_scale).to(q.dtype)


def _quantize_heads(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return heads in e4m3, `l heads d`, and their fp32 scales, `1 heads`."""
    scale = part.abs().amax(dim=(0, 2)).float().clamp(min=1e-12) / FP8_MAX
    return eight_bit.round_e4m3(part.float() / scale[:, None]), scale[None]


def _xformers(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    attended: torch.Tensor = import_module("xformers.ops").memory_efficient_attention(q[None], k[None], v[None])
    return attended[0]


def _triton(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    attended: torch.Tensor = import_module("animate_kernels.fused.attention").attention(q, k, v)
    return attended


def _fp8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attend in 8 bits by our own kernel: Triton's on CUDA, the definition elsewhere."""
    summarize, quantize_heads, attend = blocks.summarize, eight_bit.quantize_heads, eight_bit.attention_8bit
    if q.device.type == "cuda":
        summarize = import_module("animate_kernels.fused.blocks").summarize
        quantize_heads = import_module("animate_kernels.fused.quantize").quantize_heads
        attend = import_module("animate_kernels.fused.attention").attention_8bit
    heads = quantize_heads(q, k, v, summarize(k, eight_bit.BLOCK), summarize(v, eight_bit.BLOCK))
    return attend(heads, q.dtype)


# In order of preference: published rates first (FlashAttention-3 648 TFLOP/s on an H100, cuDNN about 600), none of them
# measured here. `auto` leaves ours out: plain Triton is published at 400 to 480.
BACKENDS = (
    Backend(name="fa3", attend=_fa3),
    Backend(name="cudnn", attend=_cudnn),
    Backend(name="sdpa", attend=definitions.attention),
    Backend(name="xformers", attend=_xformers),
    Backend(name="triton", attend=_triton, automatic=False),
    Backend(name="fa3-fp8", attend=_fa3_fp8, eight_bit=True, automatic=False),
    Backend(name="fp8", attend=_fp8, eight_bit=True, automatic=False),
)
