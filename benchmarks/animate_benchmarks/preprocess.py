"""Measures preprocessing by stage, beside a loop that takes one frame at a time, in the same run.

    python -m animate_benchmarks.preprocess [--bundle puppet] [--sizes 1280x720,1920x1080] [--frames 48] [--repeats 5]

Both sides work on the same drawn film, in turns. Decoding, drawing, cropping and masks are real work. The detector and
the pose network are the bundle's: with `puppet` small stand-ins, so that the rows "detect", "pose" and "read the film"
measure the work around the networks, not the published ones. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import decord
import numpy as np

from animate_pipelines.loading.readers import load_readers
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.perception.boxes import largest_box
from animate_pipelines.perception.detector import detect_people, detect_person
from animate_pipelines.perception.face import crop_face, face_box
from animate_pipelines.perception.masks import KeypointBoxes, fit_mask
from animate_pipelines.perception.onnx_batch import MAX_BATCH
from animate_pipelines.perception.people import find_people
from animate_pipelines.perception.pose import crop_person, estimate_pose, read_poses
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage
from animate_pipelines.perception.skeleton import draw_skeleton, skeleton_of
from animate_pipelines.perception.squash import squash
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_weights.bundles import find_bundle
from animate_weights.puppet import demo_pair
from animate_weights.puppet.files import write_pair

_THREADS = min(os.cpu_count() or 1, 8)
_FACE_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A clip, its frames `h w 3`, and the networks' results for each."""

    clip: Clip
    readers: Readers
    frames: list[np.ndarray]
    boxes: list[np.ndarray]
    poses: list[np.ndarray]

    @classmethod
    def of(cls, clip: Clip, readers: Readers) -> Film:
        frames = list(clip.read_source(clip.indices))
        found = [detect_person(readers.detector, frame) for frame in frames]
        boxes = [np.array([0, 0, *clip.size, 1.0]) if box is None else box for box in found]
        poses = [estimate_pose(readers.pose, frame, box) for frame, box in zip(frames, boxes, strict=True)]
        return cls(clip=clip, readers=readers, frames=frames, boxes=boxes, poses=poses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage over the whole film.

    name: its row in the table.
    ours: the stage as in a render.
    alone: the same frame by frame; None where a render works so, too.
    """

    name: str
    ours: Callable[[], object]
    alone: Callable[[], object] | None = None


def stages_of(film: Film) -> list[Stage]:
    """Return the stages, each over the whole film."""
    width, height = film.clip.size
    readers, frames = film.readers, film.frames
    return [
        Stage(
            name="decode", ours=lambda: _drain(film.clip.read_source(film.clip.indices)), alone=lambda: _decode(film)
        ),
        Stage(
            name="detect",
            ours=lambda: _detect(film),
            alone=lambda: [detect_person(readers.detector, frame) for frame in frames],
        ),
        Stage(
            name="pose",
            ours=lambda: _read_poses(film),
            alone=lambda: [estimate_pose(readers.pose, *each) for each in zip(frames, film.boxes, strict=True)],
        ),
        Stage(name="read the film", ours=lambda: _find(film), alone=lambda: _find_alone(film)),
        Stage(
            name="draw skeleton",
            ours=lambda: [draw_skeleton(skeleton_of(pose, width, height), width, height) for pose in film.poses],
        ),
        Stage(
            name="crop face",
            ours=lambda: [
                crop_face(frame, face_box(pose, width, height), _FACE_PX)
                for frame, pose in zip(frames, film.poses, strict=True)
            ],
        ),
        Stage(name="mask, background", ours=lambda: _mask(film)),
    ]


def main() -> None:
    options = _options()
    readers = load_readers(find_bundle(options.bundle, options.home))
    rows: dict[str, list[dict[str, Any]]] = {}
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder, _film(Path(folder), size, options.frames) as clip:
            film = Film.of(clip, readers)
            rows[f"{size[0]}x{size[1]}"] = [
                _measure(stage, options.frames, options.repeats) for stage in stages_of(film)
            ]
    _print(options, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="puppet")
    parser.add_argument("--home", type=Path, default=Path("~/.cache/animate-server").expanduser())
    parser.add_argument("--sizes", type=_sizes, default=_sizes("1280x720,1920x1080"))
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _sizes(text: str) -> list[tuple[int, int]]:
    pairs = [size.split("x") for size in text.split(",")]
    return [(int(width), int(height)) for width, height in pairs]


def _film(folder: Path, size: tuple[int, int], num_frames: int) -> Clip:
    _, video = write_pair(demo_pair(7, size=size, num_frames=num_frames), folder, sound=False)
    limits = MediaLimits()
    return Clip(write_mezzanine(video, folder / "mezzanine.mp4", probe_video(video, limits), limits))


def _decode(film: Film) -> None:
    reader = decord.VideoReader(str(film.clip.mezzanine.path), ctx=decord.cpu(0), num_threads=1)
    for index in range(len(film.frames)):
        reader[index].asnumpy()


def _drain(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + MAX_BATCH] for start in range(0, len(items), MAX_BATCH))


def _detect(film: Film) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(film.frames):
            for boxes in detect_people(film.readers.detector, list(pool.map(squash, batch)), *film.clip.size):
                largest_box(boxes)


def _read_poses(film: Film) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(list(zip(film.frames, film.boxes, strict=True))):
            read_poses(
                film.readers.pose,
                list(pool.map(lambda each: crop_person(film.readers.pose, *each), batch)),
                film.clip.size,
            )


def _find(film: Film) -> None:
    """Decode, detect and estimate poses as in a render, which also tells people apart."""
    footage = Footage(
        read=film.clip.read_source,
        frames=film.clip.indices.tolist(),
        size=film.clip.size,
        fps=float(film.clip.fps),
    )
    find_people(
        film.readers,
        footage,
        person="largest",
        smoothing=False,
        watch=Stopwatch(("detect", "pose")),
        on_frame=lambda done, total: None,
    )


def _find_alone(film: Film) -> None:
    """Read, detect and estimate poses for the same frames one by one."""
    reader = decord.VideoReader(str(film.clip.mezzanine.path), ctx=decord.cpu(0), num_threads=1)
    for index in range(len(film.frames)):
        frame = reader[index].asnumpy()
        estimate_pose(film.readers.pose, frame, detect_person(film.readers.detector, frame))


def _mask(film: Film) -> None:
    masks = KeypointBoxes().person_masks(film.frames, np.stack(film.poses))
    for frame, mask in zip(film.frames, masks, strict=True):
        np.multiply(frame, 1 - fit_mask(mask, "box")[..., None])


def _measure(stage: Stage, num_frames: int, repeats: int) -> dict[str, Any]:
    """Return the medians of both sides' frames a second and CPU time, after one run of each to warm up.

    Ratios are medians over the pairs of runs; above 1 ours is faster.
    """
    sides = {"ours": stage.ours} | ({} if stage.alone is None else {"alone": stage.alone})
    runs = [{name: _spent(work) for name, work in sides.items()} for _ in range(repeats + 1)][1:]
    row: dict[str, Any] = {"stage": stage.name}
    for name in sides:
        row[f"{name}_fps"] = round(num_frames / statistics.median(run[name].wall_s for run in runs), 1)
        row[f"{name}_cpu_ms"] = round(statistics.median(run[name].cpu_s for run in runs) / num_frames * 1e3, 2)
    if stage.alone is not None:
        row["ratio"] = round(statistics.median(run["alone"].wall_s / run["ours"].wall_s for run in runs), 2)
        row["cpu_ratio"] = round(statistics.median(run["alone"].cpu_s / run["ours"].cpu_s for run in runs), 2)
    return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The time of a run.

    wall_s: seconds on the clock.
    cpu_s: seconds of all threads of the process, which other processes on the same cores hardly change.
    """

    wall_s: float
    cpu_s: float


def _spent(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(wall_s=time.perf_counter() - wall, cpu_s=time.process_time() - cpu)


_COLUMNS = {
    "ours_fps": "fps",
    "alone_fps": "one by one",
    "ratio": "ratio",
    "ours_cpu_ms": "CPU ms",
    "alone_cpu_ms": "one by one",
    "cpu_ratio": "ratio",
}


def _print(options: argparse.Namespace, rows: dict[str, list[dict[str, Any]]]) -> None:
    where = f"{platform.machine()} CPU, {_THREADS} threads, bundle {options.bundle}"
    print(f"{where}, {options.frames} frames; medians of {options.repeats}: frames a second, CPU time a frame")
    for size, measured in rows.items():
        print(f"\n{size:18}" + "".join(f"{title:>12}" for title in _COLUMNS.values()))
        for row in measured:
            print(f"{row['stage']:18}" + "".join(f"{row.get(column, ''):>12}" for column in _COLUMNS))
    print(json.dumps({"where": where, "frames": options.frames, "rows": rows}))


if __name__ == "__main__":
    main()
