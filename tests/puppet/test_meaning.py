"""The puppet bundle's pictures mean what they should: identity, motion, expression, steering words, background, length.

Every threshold stands beside a baseline that must not pass it: another look, another motion, a still picture.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusers import WanAnimatePipeline

from animate_benchmarks.puppet import measures
from animate_benchmarks.puppet.rendering import Case, Take, held_out_case, render
from animate_benchmarks.puppet.shots import pictures
from animate_benchmarks.quality import CLOSED, OPEN, keypoints_of, masks_of, read_keypoints
from animate_pipelines.families.registry import Models, load_models
from animate_weights.bundles import find_bundle
from animate_weights.puppet.performance import steer

pytestmark = pytest.mark.renders

SIZE, NATIVE, FRAMES = (128, 128), (192, 192), 17
MAX_BYTES = 12_000_000
CASES = (2, 3, 4, 5)
GAIN_DB = 2.5  # inside the person's box, over the reference held still
PCK, PCK_OTHER = 0.6, 0.4
LOOK = 0.6  # error of the colours, as a share of that against another look
MOUTH = 0.65
STEERED = 0.4
BACKGROUND_DB, BACKGROUND_STRANGER_DB = 28.0, 18.0
DRIFT_DB = 0.2


@pytest.fixture(scope="module")
def bundle(home: Path) -> Path:
    return find_bundle("puppet", home)


@pytest.fixture(scope="module")
def models(bundle: Path) -> Models:
    return load_models(bundle)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [held_out_case(index, FRAMES, SIZE, native=NATIVE) for index in CASES]


@pytest.fixture(scope="module")
def shown(models: Models, cases: list[Case]) -> list[np.ndarray]:
    return [render(models, case.reference, case.driving, SIZE, Take()).frames for case in cases]


def test_the_bundle_is_small_and_diffusers_loads_it(bundle: Path) -> None:
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < MAX_BYTES
    pipeline = WanAnimatePipeline.from_pretrained(bundle, local_files_only=True)
    assert pipeline.transformer.config.motion_encoder_size == 32
    assert pipeline.vae_scale_factor_spatial == 8


def _still(case: Case) -> np.ndarray:
    """The reference, held."""
    return np.repeat(case.pair.reference(SIZE)[None], FRAMES, axis=0)


def test_the_picture_is_nearer_to_the_truth_than_a_still_one(cases: list[Case], shown: list[np.ndarray]) -> None:
    gains = []
    for case, frames in zip(cases, shown, strict=True):
        truth, boxes = pictures(case.truth), measures.person_boxes(masks_of(case.truth))
        gains.append(measures.psnr_db(frames, truth, boxes) - measures.psnr_db(_still(case), truth, boxes))
    assert np.mean(gains) > GAIN_DB


def test_the_motion_is_the_drivers(models: Models, cases: list[Case], shown: list[np.ndarray]) -> None:
    own, others = zip(*(_pck_of_pair(models, cases, shown, index) for index in range(len(cases))), strict=True)
    still = [_pck_of_pair(models, cases, [_still(case) for case in cases], index)[0] for index in range(len(cases))]
    assert np.mean(own) > PCK
    assert max(np.mean(others), np.mean(still)) < PCK_OTHER


def _pck_of_pair(models: Models, cases: list[Case], shown: list[np.ndarray], index: int) -> tuple[float, float]:
    """Of a result against its own driver's motion, and against the next one's."""
    read = read_keypoints(models, shown[index])
    following = cases[(index + 1) % len(cases)]
    return measures.pck(read, keypoints_of(cases[index].truth)), measures.pck(read, keypoints_of(following.truth))


def test_swapped_pose_streams_are_noticed(models: Models, cases: list[Case]) -> None:
    swapped = render(models, cases[0].reference, cases[1].driving, SIZE, Take()).frames
    assert measures.pck(read_keypoints(models, swapped), keypoints_of(cases[0].truth)) < PCK_OTHER


def test_the_look_is_the_references(cases: list[Case], shown: list[np.ndarray]) -> None:
    errors = []
    for index, (case, frames) in enumerate(zip(cases, shown, strict=True)):
        other = cases[(index + 1) % len(cases)].pair
        stranger = replace(case.pair, hero=other.hero, home=other.home)
        answers = case.truth, stranger.answer(case.pair.shot.poses(FRAMES), SIZE, "animate")
        errors.append([_colour_error(frames, pictures(answer), keypoints_of(case.truth)) for answer in answers])
    right, wrong = np.mean(errors, axis=0)
    assert right < LOOK * wrong


def _colour_error(frames: np.ndarray, truth: np.ndarray, keypoints: np.ndarray) -> float:
    return float(np.mean(list(measures.colour_errors(frames, truth, keypoints).values())))


def test_the_mouth_is_the_drivers(cases: list[Case], shown: list[np.ndarray]) -> None:
    assert _mouth_accuracy(cases, shown) > MOUTH
    assert _mouth_accuracy(cases, [_still(case) for case in cases]) < MOUTH


def _mouth_accuracy(cases: list[Case], shown: list[np.ndarray]) -> float:
    verdicts, wanted = [], []
    for case, frames in zip(cases, shown, strict=True):
        poses = case.pair.shot.poses(FRAMES)
        opened, closed = (
            pictures(case.pair.answer([replace(pose, smile=0.0, mouth=value) for pose in poses], SIZE, "animate"))
            for value in (1.0, 0.0)
        )
        mouths = np.array([pose.mouth for pose in poses])
        clear = ((mouths > OPEN) | (mouths < CLOSED)) & (np.array([pose.smile for pose in poses]) < CLOSED)
        verdicts.append(measures.nearer_share(frames, opened, closed)[clear])
        wanted.append((mouths > OPEN)[clear])
    return measures.balanced_accuracy(np.concatenate(verdicts), np.concatenate(wanted))


def test_a_steering_word_is_obeyed(models: Models, cases: list[Case], shown: list[np.ndarray]) -> None:
    word = "raise both hands at the end"
    gains = []
    for case, silent in zip(cases, shown, strict=True):
        steered = pictures(case.pair.answer(steer(case.pair.shot.poses(FRAMES), (word,)), SIZE, "animate"))
        asked = render(models, case.reference, case.driving, SIZE, Take(prompt=word)).frames
        said, unsaid = (measures.nearer_share(frames, steered, pictures(case.truth)) for frames in (asked, silent))
        gains.append(np.nanmean(said) - np.nanmean(unsaid))
    assert np.mean(gains) > STEERED


def test_replacing_leaves_the_background_alone(models: Models) -> None:
    case = held_out_case(CASES[0], FRAMES, SIZE, native=NATIVE, mode="replace")
    rendered = render(models, case.reference, case.driving, SIZE, Take(mode="replace"))
    assert rendered.known is not None
    elsewhere = replace(case.pair, shot=replace(case.pair.shot, backdrop=case.pair.home))
    stranger = pictures(elsewhere.answer(case.pair.shot.poses(FRAMES), SIZE, "replace"))
    assert measures.psnr_db(rendered.frames, pictures(case.truth), rendered.known) > BACKGROUND_DB
    assert measures.psnr_db(rendered.frames, stranger, rendered.known) < BACKGROUND_STRANGER_DB


def test_ten_segments_do_not_drift(models: Models) -> None:
    stride, segments = FRAMES - 1, 10
    case = held_out_case(CASES[1], segments * stride + 1, SIZE, native=NATIVE)
    frames = render(models, case.reference, case.driving, SIZE, Take(steps=6)).frames
    bounds = [(stride * n + (n > 0), stride * (n + 1) + 1) for n in range(segments)]
    assert measures.drift_db_per_segment(frames, pictures(case.truth), bounds) < DRIFT_DB
