"""How long a render will take and how much memory it will need, from what earlier ones on this installation took."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

_SAME_AREA = 1.5  # attention grows faster than the picture: only renders of about this size can tell


def estimate_render(plan: Mapping[str, Any], bundle: str, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `seconds`, `peak_memory_bytes`, and `jobs`: how many they are the median and the maximum of.

    The first two are None without history.
    plan: `RenderPlan.to_json()`.
    results: `RenderResult.to_json()` of finished jobs, newest first.
    """
    alike = [result for result in results if result.get("bundle") == bundle and _is_alike(plan, result)]
    if not alike:
        return {"jobs": 0, "seconds": None, "peak_memory_bytes": None}
    rates = [sum(result["seconds"].values()) / _work(result) for result in alike]
    return {
        "jobs": len(alike),
        "seconds": round(statistics.median(rates) * _work(plan), 1),
        "peak_memory_bytes": max(result["peak_memory_bytes"] for result in alike),
    }


def _is_alike(plan: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    if "peak_memory_bytes" not in result or not result.get("seconds"):
        return False
    ratio = _area(plan) / _area(result)
    return 1 / _SAME_AREA <= ratio <= _SAME_AREA


def _area(render: Mapping[str, Any]) -> int:
    return int(render["render_width"] * render["render_height"])


def _work(render: Mapping[str, Any]) -> int:
    """Return the pixels denoised: the segments are of one length."""
    return int(_area(render) * render["num_segments"] * render["num_steps"])
