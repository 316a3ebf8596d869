"""Draws the pictures of docs/pairing.md: one pair that fits and some that do not, as preflight shows them.

python -m animate_benchmarks.pairing --bundle puppet --output docs/pairing
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from animate_benchmarks.puppet.pairings import FPS, Flaw, Pairing, random_pairing
from animate_pipelines.loading.readers import load_readers
from animate_pipelines.perception.observation import observe
from animate_pipelines.perception.observations import Observations
from animate_pipelines.perception.readers import Readers
from animate_pipelines.preflight.findings import Cutting
from animate_pipelines.preflight.report import check_pair
from animate_pipelines.preflight.sampling import observe_image, sampled_frames
from animate_pipelines.sheets.overlay import draw_overlay
from animate_weights.bundles import find_bundle

SIZE, FRAMES = (320, 320), 24
SHOWN: tuple[tuple[str, Flaw | None, int], ...] = (
    ("right", None, 4),
    ("framing", "framing", 4),
    ("pose", "pose", 2),
    ("hidden", "occlusion", 3),
)
COLOURS = 96  # of a palette: flat drawings need few


def draw_sheet(readers: Readers, pairing: Pairing) -> Image.Image:
    """Draw the overlay of a pair, as `animate-server preflight --output` writes it."""
    indices = sampled_frames(len(pairing.video), FPS)
    looks = [observe(readers, pairing.video[index]) for index in indices]
    video = Observations.of(looks, [index / FPS for index in indices], SIZE)
    report = check_pair(observe_image(readers, pairing.image), video, Cutting(cuts_s=(), duration_s=FRAMES / FPS))
    best = report.start.best_s if report.start.should_move else None
    seconds = [0.0, *([best] if best else [])]
    frames = [(second, pairing.video[round(second * FPS)]) for second in seconds]
    return draw_overlay(report, pairing.image, frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="puppet")
    parser.add_argument("--output", type=Path, default=Path("docs/pairing"))
    arguments = parser.parse_args()
    readers = load_readers(find_bundle(arguments.bundle, Path()))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, flaw, seed in SHOWN:
        sheet = draw_sheet(readers, random_pairing(np.random.default_rng([40, seed]), flaw, size=SIZE, frames=FRAMES))
        path = arguments.output / f"{name}.png"
        sheet.quantize(COLOURS).save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
