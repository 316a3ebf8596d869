"""`render_video()` on the tiny bundle: what it promises of the file, of a restart, and of inputs it must refuse."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

from animate_pipelines.diffusion.vae import VideoVae
from animate_pipelines.errors import Canceled, DeviceError, InvalidField, MediaError, MediaTooLarge, NoPersonFound
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate import conditioning
from animate_pipelines.families.wan_animate.retarget import TargetBody, fit_proportions
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.probe import probe_video
from animate_pipelines.media.resize import padding_resize
from animate_pipelines.perception.observation import require_pose
from animate_pipelines.progress.progress import Progress
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult

NUM_FRAMES = 13  # three segments of 5 frames, each beginning with the last frame of the one before


def _params(**fields: Any) -> RenderParams:
    values: dict[str, Any] = {"reference_image": "-", "driving_video": "-", "seed": 3, "resolution": "480p"}
    return RenderParams(**values | {"num_frames": NUM_FRAMES} | fields)


def _frames(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return np.stack(frames)


class Notes:
    """Remembers what a render reported, and cancels it when told to."""

    def __init__(self, cancel_at: tuple[int, int] | None = None) -> None:
        self.seen: list[Progress] = []
        self._cancel_at = cancel_at

    def __call__(self, progress: Progress) -> None:
        self.seen.append(progress)
        if self._cancel_at == (progress.segment, progress.step):
            raise Canceled


@pytest.fixture(scope="module")
def whole(
    short_models: Models, media: InputFiles, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RenderResult, Notes]:
    """An uninterrupted render of all three segments."""
    folder, notes = tmp_path_factory.mktemp("whole"), Notes()
    result = render_video(
        short_models, _params(), media, folder / "out.mp4", workspace=folder / "workspace", report=notes
    )
    return result, notes


def test_the_file_is_what_the_result_says(whole: tuple[RenderResult, Notes]) -> None:
    result, _ = whole
    info = probe_video(result.path, MediaLimits())
    assert (info.width, info.height, info.fps, info.num_frames) == (826, 496, Fraction(20), NUM_FRAMES)
    assert (result.width, result.height, result.fps, result.num_frames) == (826, 496, "20/1", NUM_FRAMES)
    assert (result.render_width, result.render_height, result.num_segments) == (112, 64, 3)
    assert result.duration_s == NUM_FRAMES / 20
    assert (result.audio, info.audio is not None) == ("copied", True)
    assert result.warnings == (
        "the bundle 'tiny' has random weights: the picture is noise",
        "generated at 112x64 and scaled to 826x496",
    )
    assert result.seed == 3
    assert json.loads(json.dumps(result.to_json()))["bundle"] == "tiny"


def test_progress_moves_forward_through_every_stage_and_step(whole: tuple[RenderResult, Notes]) -> None:
    result, notes = whole
    assert list(dict.fromkeys(note.stage for note in notes.seen)) == [
        "check",
        "preprocess",
        "encode",
        "render",
        "finish",
    ]
    fractions = [note.fraction for note in notes.seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    steps = [(note.segment, note.step) for note in notes.seen if note.num_steps]
    assert steps == [(segment, step) for segment in range(3) for step in (1, 2)]
    assert set(result.seconds) == {"check", "preprocess", "encode", "render", "finish"}


@pytest.mark.parametrize("cancel_at", [(1, 1), (2, 2)])
def test_a_restart_gives_the_same_frames(
    cancel_at: tuple[int, int],
    whole: tuple[RenderResult, Notes],
    short_models: Models,
    media: InputFiles,
    tmp_path: Path,
) -> None:
    result, _ = whole
    workspace, destination = tmp_path / "workspace", tmp_path / "out.mp4"
    with pytest.raises(Canceled):
        render_video(short_models, _params(), media, destination, workspace=workspace, report=Notes(cancel_at))
    assert not destination.exists()
    done = {path.name: path.stat().st_mtime_ns for path in workspace.glob("segment-*.mp4")}
    assert len(done) == cancel_at[0]

    notes = Notes()
    render_video(short_models, _params(), media, destination, workspace=workspace, report=notes)
    assert {name: (workspace / name).stat().st_mtime_ns for name in done} == done  # not rendered again
    rendered = {note.segment for note in notes.seen if note.num_steps}
    assert rendered == set(range(cancel_at[0], 3))
    np.testing.assert_array_equal(_frames(destination), _frames(result.path))
    assert destination.read_bytes() == result.path.read_bytes()


def test_another_seed_in_the_same_workspace_starts_over(
    whole: tuple[RenderResult, Notes], short_models: Models, media: InputFiles, tmp_path: Path
) -> None:
    params = _params(num_frames=5)
    for seed in (3, 4):
        result = render_video(
            short_models,
            dataclasses.replace(params, seed=seed),
            media,
            tmp_path / f"{seed}.mp4",
            workspace=tmp_path / "workspace",
        )
        assert result.num_segments == 1
    assert not np.array_equal(_frames(tmp_path / "3.mp4"), _frames(tmp_path / "4.mp4"))
    np.testing.assert_array_equal(_frames(tmp_path / "3.mp4"), _frames(whole[0].path)[:5])


def test_a_whole_video_at_another_rate(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    """`media/test_clip.py` counts the frames of other rates."""
    params = _params(fps=24, steps=1, num_frames=None)
    result = render_video(tiny_models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert (result.num_frames, result.repeated_frames) == (48, 8)
    assert len(_frames(result.path)) == 48
    assert result.duration_s == 2.0


def test_replace_and_turbo_run_and_say_how(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    params = _params(mode="replace", turbo=True, num_frames=17, overlap=5, keep_audio=False)
    result = render_video(tiny_models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert (result.mask_source, result.num_steps, result.turbo) == ("keypoint_box", 4, True)
    assert Image.open(tmp_path / "out.masks.png").convert("RGB").width == 1200
    assert result.audio == "none"
    assert probe_video(result.path, MediaLimits()).audio is None


def test_an_output_size_of_its_own(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    params = _params(output_size=(192, 192), fit="crop", num_frames=5, steps=1, output_format="webm")
    result = render_video(tiny_models, params, media, tmp_path / "out.webm", workspace=tmp_path / "workspace")
    info = probe_video(result.path, MediaLimits())
    assert (info.width, info.height, info.codec) == (192, 192, "vp9")
    assert (result.width, result.height) == (192, 192)
    assert "the driving video was cut from 160x96 to 96x96" in result.warnings
    with pytest.raises(MediaTooLarge, match="padded to 160x320 is over 200 pixels a side"):
        render_video(
            tiny_models,
            _params(output_size=(480, 960)),
            media,
            tmp_path / "out.mp4",
            workspace=tmp_path / "workspace",
            limits=MediaLimits(max_side_px=200),
        )


def test_a_driving_video_longer_than_the_service_takes(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    with pytest.raises(MediaTooLarge, match=r"driving_video lasts [\d.]+ s; the limit is 0.5 s"):
        render_video(tiny_models, _params(longest_s=0.5), media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert MediaLimits(max_duration_s=10).with_videos_of(30.0).max_duration_s == 10


def test_retargeting_draws_another_skeleton(
    whole: tuple[RenderResult, Notes], short_models: Models, media: InputFiles, tmp_path: Path
) -> None:
    params = _params(retarget=True, num_frames=5)
    result = render_video(short_models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert not np.array_equal(_frames(result.path), _frames(whole[0].path)[:5])


def test_retargeting_needs_a_person_in_the_reference(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((96, 160, 3), 90, np.uint8))
    alone = InputFiles(reference_image=tmp_path / "flat.png", driving_video=media.driving_video)
    with pytest.raises(NoPersonFound) as caught:
        render_video(tiny_models, _params(retarget=True), alone, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert caught.value.field == "reference_image"


def test_neutral_pictures_decide_how_limbs_are_measured(
    tiny_models: Models, media: InputFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their people are found in pictures of the originals' sizes; one that shows nobody is named."""
    looked_at: list[TargetBody] = []
    monkeypatch.setattr(
        conditioning, "fit_proportions", lambda *given: looked_at.append(given[2]) or fit_proportions(*given)
    )
    mirrored, flat = tmp_path / "mirrored.png", tmp_path / "flat.png"
    Image.open(media.reference_image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
    cv2.imwrite(str(flat), np.full((96, 160, 3), 90, np.uint8))
    fields = {"retarget": True, "neutral_reference": "c", "neutral_driver": "d", "num_frames": 5, "steps": 1}
    params = _params(**fields)
    both = dataclasses.replace(media, neutral_reference=mirrored, neutral_driver=media.reference_image)
    render_video(tiny_models, params, both, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    (figure,) = looked_at
    assert figure.neutral is not None
    for pose, path, size in (
        (figure.neutral.driver, media.reference_image, (160, 96)),  # of the driving frames
        (figure.neutral.reference, mirrored, (112, 64)),  # of what is rendered
    ):
        picture = padding_resize(np.asarray(Image.open(path)), *size)
        np.testing.assert_array_equal(pose, require_pose(tiny_models.family.readers, picture, field="-"))
    nobody = dataclasses.replace(media, neutral_reference=mirrored, neutral_driver=flat)
    with pytest.raises(NoPersonFound, match="no person was found in neutral_driver") as caught:
        render_video(tiny_models, params, nobody, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert caught.value.field == "neutral_driver"


@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_nobody_in_the_video_is_found_out_before_denoising(
    mode: str, tiny_models: Models, empty_scene: InputFiles, tmp_path: Path
) -> None:
    notes = Notes()
    with pytest.raises(NoPersonFound, match="any of the 13 frames") as caught:
        render_video(
            tiny_models,
            _params(mode=mode),
            empty_scene,
            tmp_path / "out.mp4",
            workspace=tmp_path / "workspace",
            report=notes,
        )
    assert caught.value.to_json()["field"] == "driving_video"
    assert {note.stage for note in notes.seen} == {"check", "preprocess"}
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert (report["missing_person"], report["people"], report["chosen"]) == ([[0, 12]], [], 0)
    assert (tmp_path / "out.timeline.png").is_file()


def test_image_and_video_mixed_up(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    swapped = InputFiles(reference_image=media.driving_video, driving_video=media.reference_image)
    with pytest.raises(MediaError) as caught:
        render_video(tiny_models, _params(), swapped, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert caught.value.field == "reference_image"


def test_two_sounds_are_said(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    ffmpeg, both = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "both.mp4"
    maps = ["-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy"]
    subprocess.run([ffmpeg, "-v", "error", "-i", str(media.driving_video), *maps, str(both)], check=True)
    twice = dataclasses.replace(media, driving_video=both)
    params = _params(num_frames=2, steps=1)
    result = render_video(tiny_models, params, twice, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert "the driving video has 2 audio tracks: the default one was taken" in result.warnings
    assert result.audio == "copied"


def test_turbo_is_refused_where_there_is_none(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    slow = dataclasses.replace(tiny_models, manifest=dataclasses.replace(tiny_models.manifest, turbo_lora=None))
    with pytest.raises(InvalidField, match="few-step LoRA") as caught:
        render_video(slow, _params(turbo=True), media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    assert caught.value.field == "turbo"


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("CUDA out of memory"), torch.AcceleratorError("illegal")])
def test_a_failing_device_is_told_from_other_faults(
    failure: Exception, tiny_models: Models, media: InputFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise failure

    monkeypatch.setattr(VideoVae, "decode", fail)
    with pytest.raises(DeviceError, match=str(failure)):
        render_video(tiny_models, _params(), media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
