"""Renders with what the caller brings along: keypoints, without any pose network, and masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from animate_pipelines.errors import BundleError, InvalidField, MediaError
from animate_pipelines.families.registry import Models, load_models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.perception.found_people import FoundPeople
from animate_pipelines.perception.mask_file import MaskFile
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult
from animate_weights.manifest import READERS_PATH
from animate_weights.puppet import Character, Performance, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.demo import demo_pair
from animate_weights.puppet.files import write_pair

FRAMES, FPS, SIZE = 12, 20, (96, 96)
AWAY = range(5, 7)  # frames without the person


@pytest.fixture(scope="module")
def blind_models(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A bundle without detector and pose network."""
    bundle = tmp_path_factory.mktemp("blind") / "bundle"
    shutil.copytree(tiny_bundle, bundle, ignore=shutil.ignore_patterns(READERS_PATH.name))
    return load_models(bundle)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[InputFiles, np.ndarray, np.ndarray]:
    """The files of a pair with its keypoints and a mask video; the true poses `t 133 3` in pixels and masks `t h w`."""
    folder = tmp_path_factory.mktemp("given")
    image, _ = write_pair(demo_pair(2, size=SIZE, num_frames=1), folder, sound=False)
    rng = np.random.default_rng(8)
    character, backdrop = Character.random(rng), Backdrop.random(rng)
    poses = Performance.random(rng, 1.0).poses(FRAMES, FPS)
    drawn = [draw(character, pose, SIZE, camera=Camera.framing(0.8), backdrop=backdrop) for pose in poses]
    video = _write(folder / "driving.mp4", [frame.rgb for frame in drawn])
    masks = _write(folder / "masks.mp4", [np.repeat(frame.mask[..., None], 3, axis=2) for frame in drawn])
    track = [None if index in AWAY else frame.keypoints.tolist() for index, frame in enumerate(drawn)]
    keypoints = folder / "keypoints.json"
    keypoints.write_text(json.dumps({"format": "coco_wholebody", "width": 96, "height": 96, "frames": track}))
    media = InputFiles(reference_image=image, driving_video=video, keypoints=keypoints, mask_video=masks)
    return media, np.stack([frame.keypoints for frame in drawn]), np.stack([frame.mask for frame in drawn])


def _write(path: Path, frames: list[np.ndarray]) -> Path:
    film = imageio_ffmpeg.write_frames(str(path), SIZE, fps=FPS, macro_block_size=2, quality=10)
    film.send(None)
    for frame in frames:
        film.send(np.ascontiguousarray(frame))
    film.close()
    return path


def _render(models: Models, media: InputFiles, folder: Path, **fields: Any) -> RenderResult:
    given = {name: str(path) for name in ("keypoints", "mask_video") if (path := getattr(media, name)) is not None}
    values = {"reference_image": "-", "driving_video": "-", "seed": 3, "steps": 1, "resolution": "480p"} | given
    params = RenderParams(**values | fields)
    return render_video(models, params, media, folder / "out.mp4", workspace=folder / "work")


def test_given_keypoints_need_no_pose_network(
    blind_models: Models, pair: tuple[InputFiles, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    media, truth, _ = pair
    alone = InputFiles(
        reference_image=media.reference_image, driving_video=media.driving_video, keypoints=media.keypoints
    )
    result = _render(blind_models, alone, tmp_path)
    assert (result.num_frames, result.frames_without_person, result.preflight) == (FRAMES, len(AWAY), None)
    assert (result.preprocess_seconds["detect"], result.preprocess_seconds["pose"]) == (0.0, 0.0)
    people = FoundPeople.load(Workspace(tmp_path / "work").people)
    there = [index for index in range(FRAMES) if index not in AWAY]
    np.testing.assert_allclose(people.poses[there], truth[there] / [*SIZE, 1], atol=1e-6)
    assert np.flatnonzero(~people.found).tolist() == list(AWAY)


def test_without_keypoints_the_missing_network_is_named(
    blind_models: Models, pair: tuple[InputFiles, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    media = InputFiles(reference_image=pair[0].reference_image, driving_video=pair[0].driving_video)
    with pytest.raises(BundleError, match=r"lacks yolov10m\.onnx; without it keypoints must be given"):
        _render(blind_models, media, tmp_path)


def test_given_masks_are_the_ones_that_are_used(
    blind_models: Models, pair: tuple[InputFiles, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    media, _, truth = pair
    result = _render(blind_models, media, tmp_path, mode="replace", mask_fit="tight")
    assert result.mask_source == "mask_video"
    files = Workspace(tmp_path / "work")
    width = result.render_width
    masks = MaskFile(files.masks, width).read(range(FRAMES))
    scale = width // SIZE[0] or 1
    assert masks.shape == (FRAMES, result.render_height, width)
    assert scale == 1 or masks.shape[1] >= SIZE[1]
    share = masks.mean(axis=(1, 2)) / (truth >= 128).mean(axis=(1, 2))
    assert ((share > 0.9) & (share < 1.1)).all(), share


@pytest.mark.parametrize("frames", [FRAMES - 3, FRAMES + 3])
def test_masks_of_another_length_are_refused(
    frames: int, blind_models: Models, pair: tuple[InputFiles, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    media = pair[0]
    short = _write(tmp_path / "short.mp4", [np.zeros((96, 96, 3), np.uint8)] * frames)
    wrong = InputFiles(
        reference_image=media.reference_image,
        driving_video=media.driving_video,
        keypoints=media.keypoints,
        mask_video=short,
    )
    with pytest.raises(MediaError, match=f"12 frames at 20 fps, as the driving video has, not {frames} frames"):
        _render(blind_models, wrong, tmp_path, mode="replace")


def test_masks_are_for_replacing() -> None:
    with pytest.raises(InvalidField, match="mode replace"):
        RenderParams(reference_image="a", driving_video="b", mask_video="c")
