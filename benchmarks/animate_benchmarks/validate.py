"""Measures what each shortcut does to pictures: every one alone, against the full-precision result of the same seed.

    python -m animate_benchmarks.validate --bundle puppet [--pairs 4] [--only bf16,fp8-linears+density-0.2]

Works on any bundle, real weights included; the inputs are drawn pairs. For the puppet bundle, which is trained on such
pairs, the truth is known, and PSNR, PCK and colour errors against it are printed as well; for any other bundle only the
PSNR against the full-precision frames means something. On the CPU 8-bit and sparse paths run by their definitions. A
shortcut that fails is printed and left out. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from animate_benchmarks.gpu.bench import reason
from animate_benchmarks.puppet import measures
from animate_benchmarks.puppet.rendering import Case, Take, held_out_case, render
from animate_benchmarks.puppet.shots import pictures
from animate_benchmarks.quality import keypoints_of, read_keypoints
from animate_kernels.sparse import least_read
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.loading.execution import Execution
from animate_pipelines.loading.shortcuts import take_shortcuts
from animate_pipelines.loading.sizes import SegmentSize
from animate_pipelines.media.resize import render_size
from animate_weights.bundles import find_bundle
from animate_weights.manifest import Manifest, read_manifest

DENSITIES = (0.5, 0.3, 0.2, 0.1)
FULL = "full precision"
TURBO = "turbo"
ROWS = ("bf16", "fp8-linears", "8-bit-attention", *(f"density-{d}" for d in DENSITIES), TURBO, "half-first-step")
_SMALL_GRID_TOKENS, _SMALL_BLOCK = 8192, 4  # fewer tokens have too few blocks of 64 to choose among


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    bundle = find_bundle(options.bundle, options.home)
    manifest = read_manifest(bundle)
    area = manifest.render_areas[0]
    size = render_size(options.native, options.native, area[0] * area[1])
    segment = SegmentSize(width=size[0], height=size[1], num_frames=manifest.segment_frames)
    block = 64 if segment.num_tokens >= _SMALL_GRID_TOKENS else _SMALL_BLOCK
    native = (options.native, options.native)
    cases = [held_out_case(index, manifest.segment_frames, size, native=native) for index in range(options.pairs)]
    wanted = [name for name in options.only.split(",") if name != TURBO or manifest.turbo_lora]
    rows: dict[str, dict[str, float]] = {}
    full: list[np.ndarray] = []
    for name in [FULL, *wanted]:
        began = time.monotonic()
        turbo = TURBO in name.split("+")
        take = Take(turbo=turbo, steps=None if turbo else options.steps)
        try:
            models = _models(options, bundle, name, block)
            shown = [_frames(models, case, size, replace(take, seed=index)) for index, case in enumerate(cases)]
        except Exception as failure:  # a shortcut that does not work here is a result
            if name == FULL:
                raise
            print(f"{name}: failed, {reason(failure)}", flush=True)
            continue
        full = full or shown
        rows[name] = _measure(models, cases, shown, full) | {"seconds": time.monotonic() - began}
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in rows[name].items()), flush=True)
    _print(options, manifest, rows, _least_density(segment, block), segment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="puppet", help="a name or a folder")
    parser.add_argument("--home", type=Path, default=Path("~/.cache/animate-server").expanduser())
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20, help="of every row but turbo")
    parser.add_argument("--native", type=int, default=192, help="side of the driving video, pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the full-precision render")
    parser.add_argument("--only", default=",".join(ROWS), help="comma-separated; joined by + they are taken together")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _models(options: argparse.Namespace, bundle: Path, name: str, block_tokens: int) -> Models:
    """Load the bundle for a row: in full precision, or with what its shortcuts change of that."""
    taken = take_shortcuts(part for part in name.split("+") if part not in (FULL, TURBO))
    recipe = dict(taken.recipe)
    if "sparsity" in recipe:
        recipe["sparsity"] = replace(recipe["sparsity"], block_tokens=block_tokens)
    types = {"device": options.device, "dtype": options.dtype, "transformers_kept": 1}
    execution = Execution(**types | taken.execution)
    return load_models(bundle, device=options.device, execution=execution, recipe_defaults=recipe)


def _frames(models: Models, case: Case, size: tuple[int, int], take: Take) -> np.ndarray:
    return render(models, case.reference, case.driving, size, take).frames


def _measure(models: Models, cases: list[Case], shown: list[np.ndarray], full: list[np.ndarray]) -> dict[str, float]:
    """Return means over the cases; measures against the truth only where the bundle knows such pictures."""
    rows = []
    for case, frames, wanted in zip(cases, shown, full, strict=True):
        row = {"psnr_to_full_db": measures.psnr_db(frames, wanted)}
        if models.manifest.name.startswith("puppet"):
            truth, points = pictures(case.truth), keypoints_of(case.truth)
            row["psnr_to_truth_db"] = measures.psnr_db(frames, truth)
            row["pck"] = measures.pck(read_keypoints(models, frames), points)
            row["identity_colour_error"] = float(np.mean(list(measures.colour_errors(frames, truth, points).values())))
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _least_density(segment: SegmentSize, block: int) -> float:
    """Return the share that is read whatever the density: the reference frame's blocks and the neighbours."""
    frame = segment.num_tokens // ((segment.num_frames - 1) // 4 + 2)
    blocks = math.ceil(segment.num_tokens / block)
    return least_read(blocks, math.ceil(frame / block)) / blocks


def _print(
    options: argparse.Namespace,
    manifest: Manifest,
    rows: dict[str, dict[str, float]],
    least: float,
    segment: SegmentSize,
) -> None:
    names = list(next(iter(rows.values())))
    table = Table("shortcut", *names)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[measure]:.3f}" for measure in names))
    Console(width=120).print(table)
    print(f"{segment.num_tokens} tokens; whatever the density, {least:.0%} of the blocks are read exactly")
    rounded = {name: {key: round(value, 3) for key, value in row.items()} for name, row in rows.items()}
    conditions = {"bundle": manifest.name, "pairs": options.pairs, "steps": options.steps, "dtype": options.dtype}
    print(json.dumps(conditions | {"tokens": segment.num_tokens, "least_density": round(least, 3), "rows": rounded}))


if __name__ == "__main__":
    main()
