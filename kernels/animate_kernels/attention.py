"""Which implementations of attention run on a device.

Some import anywhere and fail only when called, so each is judged by one tiny call whose result is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_TOLERANCE = 2e-2  # of bf16 outputs of unit size


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An implementation, and why it is or is not usable. `reason` is empty for a usable one."""

    name: str
    usable: bool
    reason: str = ""


def probe_backends(device: torch.device) -> list[Backend]:
    """Every backend known, in order of preference, after one call each on `device`."""
    return [_probe(name, attention, device) for name, attention in _BACKENDS.items()]


def _probe(name: str, attention: Attention, device: torch.device) -> Backend:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    q, k, v = torch.randn(3, 1, 64, 2, 128, generator=generator).to(device, dtype)
    try:
        error = (attention(q, k, v).float() - _sdpa(q.float(), k.float(), v.float())).abs().max().item()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is the reason this backend is not used
        return Backend(name=name, usable=False, reason=f"{type(failure).__name__}: {failure}".splitlines()[0])
    if not error <= _TOLERANCE:
        return Backend(name=name, usable=False, reason=f"wrong by {error:.3g}")
    return Backend(name=name, usable=True)


def _sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)


def _fa3(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    from flash_attn_interface import flash_attn_func

    out = flash_attn_func(q, k, v)
    attended: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return attended


def _xformers(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    from xformers.ops import memory_efficient_attention

    attended: torch.Tensor = memory_efficient_attention(q, k, v)
    return attended


# Tensors are `b l heads d`.
_BACKENDS: dict[str, Attention] = {"fa3": _fa3, "sdpa": _sdpa, "xformers": _xformers}
