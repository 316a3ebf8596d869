"""Measures how reliably one of three people is followed while two of them cross, in drawn scenes with known truth.

    python -m animate_benchmarks.crossings [--bundle puppet] [--seeds 100 124]

In each scene the two who cross are followed in turn, with boxes and keypoints from the bundle's own networks. The last
line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from animate_pipelines.errors import NoPersonFound
from animate_pipelines.families.wan_animate.driver import PARTS
from animate_pipelines.loading.readers import load_readers
from animate_pipelines.perception.gaps import bridge
from animate_pipelines.perception.people import follow_person
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage, scan_people
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.request.person import PersonAt
from animate_weights.bundles import find_bundle
from animate_weights.puppet.scene import Scene, draw_scene

SIZE, FPS, DURATION_S = (400, 200), 20, 4.0
PLACES = (0.22, 0.78)  # where the two stand in the first second, as parts of the width
_TRUNK = [5, 6, 11, 12]


def follow_crossing(readers: Readers, seed: int) -> list[float]:
    """Return the share of frames in which each of the two who cross is followed; 0 for a person who is not found.

    readers: the bundle's detector and pose network.
    seed: the scene.
    """
    scene = Scene.random(np.random.default_rng(seed), 3, DURATION_S)
    drawn = [draw_scene(scene, frame / FPS, SIZE) for frame in range(round(DURATION_S * FPS))]
    truth = np.stack([[actor.keypoints for actor in frame.actors] for frame in drawn])
    footage = Footage(
        read=lambda indices: (drawn[index].rgb for index in indices), frames=range(len(drawn)), size=SIZE, fps=FPS
    )
    watch = Stopwatch(PARTS)
    survey = scan_people(readers, footage, watch, lambda done: None)
    shares = []
    for who, place in enumerate(PLACES):
        try:
            people = follow_person(
                readers,
                footage,
                survey,
                person=PersonAt(x=place, y=0.55, time_s=0.75),
                smoothing=False,
                watch=watch,
                on_frame=lambda done, total: None,
            )
        except NoPersonFound:
            shares.append(0.0)
            continue
        shares.append(share_followed(bridge(people.poses, people.found) * [*SIZE, 1], truth, who))
    return shares


def share_followed(poses: np.ndarray, truth: np.ndarray, who: int) -> float:
    """Return the share of frames in which the trunk of a pose lies on a person.

    It lies there within a fifth of the person's true height, or within a quarter where nobody else is nearer. Every
    frame counts alike, also where the person is wholly behind another and the pose is interpolated: a person who is
    mistaken for somebody else there, or comes out as the other, is far off as soon as the two have parted.

    poses: `t 133 3`.
    truth: `t people 133 3`.
    who: index of the person in `truth`.
    """
    height = np.ptp(truth[:, who, :17, 1], axis=1)
    away = np.linalg.norm(_trunks(poses)[:, None] - _trunks(truth), axis=-1) / height[:, None]
    own, nearest = away[:, who], away.argmin(axis=1) == who
    return float(((own <= 0.2) | ((own <= 0.25) & nearest)).mean())


def _trunks(keypoints: np.ndarray) -> np.ndarray:
    return np.asarray(keypoints[..., _TRUNK, :2].mean(axis=-2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="puppet")
    parser.add_argument("--seeds", type=int, nargs=2, default=(100, 124), metavar=("FIRST", "END"))
    arguments = parser.parse_args()
    readers, seeds = load_readers(find_bundle(arguments.bundle, Path())), range(*arguments.seeds)
    console = Console(stderr=True)
    shares = {seed: follow_crossing(readers, seed) for seed in track(seeds, "crossings", console=console)}
    table = Table("scene", "from the left", "from the right", title="share of the frames followed")
    for seed, pair in shares.items():
        if min(pair) < 1:
            table.add_row(str(seed), *(f"{share:.1%}" for share in pair))
    Console().print(table)
    followed = np.array(list(shares.values()))
    print(json.dumps({"cases": followed.size, "followed": float(followed.mean()), "worst": float(followed.min())}))


if __name__ == "__main__":
    main()
