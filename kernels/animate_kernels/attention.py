"""The implementations of dense attention, and which of them run on a device.

Some import anywhere and fail only when called, so each is judged by one tiny call whose result is compared. Tensors are
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
    """An implementation. eight_bit: it multiplies in 8 bits, and is used only when it is asked for."""

    name: str
    attend: Attention
    eight_bit: bool = False
    automatic: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether something works on a device; if not, why not."""

    name: str
    usable: bool
    reason: str = ""


def probe_attention(
    backend: Backend, device: torch.device, dtype: torch.dtype = torch.bfloat16, head_width: int = 128
) -> Finding:
    """One call with heads of that type and width, compared with the definition."""
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
    """Whether a call works and its result is that of the definition, up to `tolerance` in relative L2."""
    try:
        wanted = definition().float()
        error = ((call().float() - wanted).norm() / wanted.norm()).item()
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
    """One scale a head, which is all the kernel takes; the keys less their mean."""
    smooth = (k.float() - k.mean(dim=0, dtype=torch.float32)).to(k.dtype)
    (q8, q_scale), (k8, k_scale), (v8, v_scale) = (_quantize_heads(part) for part in (q, smooth, v))
    return _fa3(q8, k8, v8, q_descale=q_scale, k_descale=k_scale, v_descale=v_scale).to(q.dtype)


def _quantize_heads(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """e4m3 `l heads d` and fp32 scales `1 heads`."""
    scale = part.abs().amax(dim=(0, 2)).float().clamp(min=1e-12) / FP8_MAX
    return eight_bit.round_e4m3(part.float() / scale[:, None]), scale[None]


def _xformers(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    attended: torch.Tensor = import_module("xformers.ops").memory_efficient_attention(q[None], k[None], v[None])
    return attended[0]


def _triton(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    attended: torch.Tensor = import_module("animate_kernels.fused.attention").attention(q, k, v)
    return attended


def _fp8(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Of our own: Triton's on CUDA, the definition elsewhere."""
    summarize, quantize_heads, attend = blocks.summarize, eight_bit.quantize_heads, eight_bit.attention_8bit
    if q.device.type == "cuda":
        summarize = import_module("animate_kernels.fused.blocks").summarize
        quantize_heads = import_module("animate_kernels.fused.quantize").quantize_heads
        attend = import_module("animate_kernels.fused.attention").attention_8bit
    heads = quantize_heads(q, k, v, summarize(k, eight_bit.BLOCK), summarize(v, eight_bit.BLOCK))
    return attend(heads, q.dtype)


# In order of preference: published rates first (FlashAttention-3 648 TFLOP/s on an H100, cuDNN about 600), none of them
# measured here. Ours is not taken unasked: plain Triton is published at 400 to 480.
BACKENDS = (
    Backend(name="fa3", attend=_fa3),
    Backend(name="cudnn", attend=_cudnn),
    Backend(name="sdpa", attend=definitions.attention),
    Backend(name="xformers", attend=_xformers),
    Backend(name="triton", attend=_triton, automatic=False),
    Backend(name="fa3-fp8", attend=_fa3_fp8, eight_bit=True, automatic=False),
    Backend(name="fp8", attend=_fp8, eight_bit=True, automatic=False),
)
