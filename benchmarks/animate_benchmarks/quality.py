"""Measures the puppet bundle's pictures against the true ones, beside baselines that must fail.

    python -m animate_benchmarks.quality --bundle puppet --pairs 32

The last line of stdout is one JSON object. Pairs are held out: their seeds are in no training set.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from animate_benchmarks.puppet import measures
from animate_benchmarks.puppet.clips import Mode, Size
from animate_benchmarks.puppet.rendering import Case, Take, held_out_case, render
from animate_benchmarks.puppet.shots import pictures
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.loading.execution import Execution
from animate_pipelines.media.resize import render_size
from animate_pipelines.perception.detector import detect_person
from animate_pipelines.perception.pose import estimate_pose
from animate_weights.bundles import find_bundle
from animate_weights.puppet import Frame, Pose
from animate_weights.puppet.performance import STEERING_WORDS, steer

DRIFT_SEGMENTS = 10
OPEN, CLOSED = 0.7, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The bundle, the sizes and the number of pairs."""

    models: Models
    size: Size
    native: Size
    pairs: int
    long_pairs: int

    def case(self, index: int, num_frames: int | None = None, mode: Mode = "animate") -> Case:
        frames = num_frames or self.models.manifest.segment_frames
        return held_out_case(index, frames, self.size, native=self.native, mode=mode)

    def render(self, case: Case, take: Take) -> np.ndarray:
        return render(self.models, case.reference, case.driving, self.size, take).frames

    def still(self, case: Case) -> np.ndarray:
        """Return the reference image, held for every frame."""
        return np.repeat(case.pair.reference(self.size)[None], len(case.truth), axis=0)


def masks_of(truth: list[Frame]) -> np.ndarray:
    return np.stack([frame.mask for frame in truth])


def keypoints_of(truth: list[Frame]) -> np.ndarray:
    return np.stack([frame.keypoints for frame in truth])


def measure_pairs(setting: Setting) -> dict[str, float]:
    """Measure PSNR, SSIM, PCK, colours and expression on one segment of every pair."""
    cases = [setting.case(index) for index in range(setting.pairs)]
    shown = [setting.render(case, Take(seed=index)) for index, case in enumerate(cases)]
    rows = [_measure_pair(setting, cases, shown, index) for index in range(len(cases))]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return mean | _measure_expression(setting, cases, shown)


def _measure_pair(setting: Setting, cases: list[Case], shown: list[np.ndarray], index: int) -> dict[str, float]:
    case, frames = cases[index], shown[index]
    other = cases[(index + 1) % len(cases)]
    truth, still = pictures(case.truth), setting.still(case)
    boxes = measures.person_boxes(masks_of(case.truth))
    poses = case.pair.shot.poses(len(truth))
    stranger = replace(case.pair, hero=other.pair.hero, home=other.pair.home).answer(poses, setting.size, "animate")
    read = read_keypoints(setting.models, frames)
    colours = measures.colour_errors(frames, truth, keypoints_of(case.truth))
    wrong = measures.colour_errors(frames, pictures(stranger), keypoints_of(case.truth))
    return {
        "psnr_db": measures.psnr_db(frames, truth),
        "person_psnr_db": measures.psnr_db(frames, truth, boxes),
        "ssim": measures.ssim(frames, truth),
        "still_psnr_db": measures.psnr_db(still, truth),
        "still_person_psnr_db": measures.psnr_db(still, truth, boxes),
        "shuffled_psnr_db": measures.psnr_db(frames, pictures(stranger)),
        "shuffled_motion_person_psnr_db": measures.psnr_db(shown[(index + 1) % len(cases)], truth, boxes),
        "pck": measures.pck(read, keypoints_of(case.truth)),
        "pck_true_frames": measures.pck(read_keypoints(setting.models, truth), keypoints_of(case.truth)),
        "pck_still": measures.pck(read_keypoints(setting.models, still), keypoints_of(case.truth)),
        "pck_shuffled": measures.pck(read, keypoints_of(other.truth)),
        "colour_error": float(np.mean(list(colours.values()))),
        "colour_error_shuffled": float(np.mean(list(wrong.values()))),
    }


def read_keypoints(models: Models, frames: np.ndarray) -> np.ndarray:
    """Return the keypoints that the bundle's own detector and pose network find, `t 133 3` in pixels."""
    height, width = frames.shape[1:3]
    readers = models.family.readers
    assert readers is not None
    poses = [estimate_pose(readers.pose, frame, detect_person(readers.detector, frame)) for frame in frames]
    return np.stack(poses) * np.array([width, height, 1.0])


def _measure_expression(setting: Setting, cases: list[Case], shown: list[np.ndarray]) -> dict[str, float]:
    """Return the balanced accuracy of mouth and eyes.

    A frame is open or closed as the true picture that it is nearer to.
    """
    verdicts: dict[str, list[np.ndarray]] = {"mouth": [], "eyes": []}
    wanted: dict[str, list[np.ndarray]] = {"mouth": [], "eyes": []}
    still: dict[str, list[np.ndarray]] = {"mouth": [], "eyes": []}
    for case, frames in zip(cases, shown, strict=True):
        poses = case.pair.shot.poses(len(frames))
        for name in verdicts:
            opened, closed = (_with_feature(setting, case, poses, name, value) for value in (1.0, 0.0))
            values = np.array([getattr(pose, name) for pose in poses])
            clear = (values > OPEN) | (values < CLOSED)
            if name == "mouth":
                clear &= np.array([pose.smile for pose in poses]) < CLOSED
            verdicts[name].append(measures.nearer_share(frames, opened, closed)[clear])
            still[name].append(measures.nearer_share(setting.still(case), opened, closed)[clear])
            wanted[name].append((values > OPEN)[clear])
    result = {}
    for name in verdicts:
        truth = np.concatenate(wanted[name])
        result[f"{name}_accuracy"] = measures.balanced_accuracy(np.concatenate(verdicts[name]), truth)
        result[f"{name}_accuracy_still"] = measures.balanced_accuracy(np.concatenate(still[name]), truth)
    return result


def _with_feature(setting: Setting, case: Case, poses: list[Pose], name: str, value: float) -> np.ndarray:
    changed = [replace(pose, smile=0.0) if name == "mouth" else pose for pose in poses]
    return pictures(case.pair.answer([replace(pose, **{name: value}) for pose in changed], setting.size, "animate"))


def measure_prompts(setting: Setting) -> dict[str, float]:
    """Measure how much more often a word's effect shows when the prompt has the word; one word a pair, in turn.

    The effect shows where a frame is nearer to the true picture with it than to the one without, judged where those
    differ.
    """
    gains: dict[str, list[float]] = {word: [] for word in STEERING_WORDS}
    for index in range(setting.pairs):
        word = STEERING_WORDS[index % len(STEERING_WORDS)]
        case = setting.case(index)
        poses = case.pair.shot.poses(len(case.truth))
        steered = pictures(case.pair.answer(steer(poses, (word,)), setting.size, "animate"))
        plain = pictures(case.truth)
        with_word = setting.render(case, Take(seed=index, prompt=word))
        without = setting.render(case, Take(seed=index))
        effect, baseline = (measures.nearer_share(frames, steered, plain) for frames in (with_word, without))
        if not np.isnan(effect).all():
            gains[word].append(float(np.nanmean(effect) - np.nanmean(baseline)))
    means = {word: float(np.mean(values)) for word, values in gains.items() if values}
    by_word = {f"prompt_effect_{word.replace(' ', '_')}": value for word, value in means.items()}
    return {"prompt_effect": float(np.mean(list(means.values())))} | by_word


def measure_replace(setting: Setting) -> dict[str, float]:
    """Measure the PSNR of the pixels that replace mode must keep, and of the whole picture."""
    untouched, whole, person = [], [], []
    for index in range(setting.pairs):
        case = setting.case(index, mode="replace")
        rendered = render(setting.models, case.reference, case.driving, setting.size, Take(mode="replace", seed=index))
        assert rendered.known is not None
        truth = pictures(case.truth)
        if rendered.known.any():
            untouched.append(measures.psnr_db(rendered.frames, truth, rendered.known))
        whole.append(measures.psnr_db(rendered.frames, truth))
        person.append(measures.psnr_db(rendered.frames, truth, measures.person_boxes(masks_of(case.truth))))
    return {
        "replace_background_psnr_db": float(np.mean(untouched)),
        "replace_psnr_db": float(np.mean(whole)),
        "replace_person_psnr_db": float(np.mean(person)),
    }


def measure_turbo(setting: Setting) -> dict[str, float]:
    """Measure the few-step LoRA, and the same few steps without it; return nothing for a bundle that has none."""
    if setting.models.manifest.turbo_lora is None:
        return {}
    cases = [setting.case(index) for index in range(setting.pairs)]
    few = setting.models.manifest.turbo_steps
    levels = {"turbo_psnr_db": Take(turbo=True), "few_steps_without_lora_psnr_db": Take(steps=few)}
    return {
        name: float(
            np.mean(
                [
                    measures.psnr_db(setting.render(case, replace(take, seed=index)), pictures(case.truth))
                    for index, case in enumerate(cases)
                ]
            )
        )
        for name, take in levels.items()
    }


def measure_length(setting: Setting) -> dict[str, float]:
    """Measure seams and drift on a few long pairs."""
    stride = setting.models.manifest.segment_frames - 1
    seams, drifts = [], []
    for index in range(setting.long_pairs):
        case = setting.case(index, DRIFT_SEGMENTS * stride + 1)
        frames, truth = setting.render(case, Take(seed=index)), pictures(case.truth)
        seams.append(measures.seam_ratio(frames, truth, [stride * n + 1 for n in range(1, DRIFT_SEGMENTS)]))
        bounds = [(stride * n + (n > 0), stride * (n + 1) + 1) for n in range(DRIFT_SEGMENTS)]
        drifts.append(measures.drift_db_per_segment(frames, truth, bounds))
    return {"seam_ratio": float(np.mean(seams)), "drift_db_per_segment": float(np.mean(drifts))}


def show(result: dict[str, float]) -> None:
    table = Table("measure", "value")
    for name, value in result.items():
        table.add_row(name, f"{value:.3f}")
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="puppet", help="a name or a folder")
    parser.add_argument("--home", type=Path, default=Path("~/.cache/animate-server").expanduser())
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--long-pairs", type=int, default=2, help="pairs of ten segments, for seams and drift")
    parser.add_argument("--native", type=int, default=192, help="side of the driving video, pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--vae-dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    execution = Execution(device=arguments.device, dtype=arguments.dtype, vae_dtype=arguments.vae_dtype)
    models = load_models(find_bundle(arguments.bundle, arguments.home), device=arguments.device, execution=execution)
    area = models.manifest.render_areas[0]
    setting = Setting(
        models=models,
        size=render_size(arguments.native, arguments.native, area[0] * area[1]),
        native=(arguments.native, arguments.native),
        pairs=arguments.pairs,
        long_pairs=arguments.long_pairs,
    )
    began = time.monotonic()
    result: dict[str, float] = {}
    for stage in (measure_pairs, measure_replace, measure_turbo, measure_prompts, measure_length):
        result |= stage(setting)
    show(result)
    conditions = {"pairs": arguments.pairs, "dtype": arguments.dtype, "vae_dtype": arguments.vae_dtype}
    rounded = {name: round(value, 4) for name, value in result.items()}
    print(json.dumps(rounded | conditions | {"seconds": round(time.monotonic() - began, 1)}))


if __name__ == "__main__":
    main()
