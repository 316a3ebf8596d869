"""The frame of a character's video that becomes the reference, on drawn puppets whose arms are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from animate_pipelines.errors import Canceled, MediaError, NoPersonFound
from animate_pipelines.families.registry import Models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.reference import Reference, read_reference, settle_reference
from animate_pipelines.job.workspace import Workspace
from animate_pipelines.media.clip import Clip
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from animate_pipelines.perception.readers import Readers
from animate_pipelines.progress.progress import Progress
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_weights.puppet import Character, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera

SIZE, FPS = (288, 336), 8
RAISED = np.linspace(0.2, 2.6, 12)  # radians of both shoulders, frame for frame of the character's video


def film(path: Path, pictures: Sequence[np.ndarray]) -> Path:
    writer = imageio_ffmpeg.write_frames(str(path), SIZE, fps=FPS, macro_block_size=2)
    writer.send(None)
    for picture in pictures:
        writer.send(np.ascontiguousarray(picture))
    writer.close()
    return path


def somebody(seed: int, shoulders: Sequence[float]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    character, backdrop, camera = Character.random(rng), Backdrop.random(rng), Camera.framing(0.8)
    poses = [Pose(left_shoulder=angle, right_shoulder=angle, left_elbow=0.2, right_elbow=0.2) for angle in shoulders]
    return [draw(character, pose, SIZE, camera=camera, backdrop=backdrop).rgb for pose in poses]


def settled(readers: Readers, folder: Path, character: Sequence[np.ndarray], driver: Sequence[np.ndarray]) -> Reference:
    limits, files = MediaLimits(), Workspace.claim(folder / "workspace", {})
    given = read_reference(film(folder / "character.mp4", character), "video", files, limits)
    driving = film(folder / "driving.mp4", driver)
    mezzanine = write_mezzanine(driving, files.mezzanine, probe_video(driving, limits), limits)
    with Clip(mezzanine) as clip:
        return settle_reference(given, readers, clip)


@pytest.mark.parametrize("frame", [2, 9])
def test_the_frame_nearest_in_pose_is_taken(readers: Readers, tmp_path: Path, frame: int) -> None:
    driver = somebody(8, [RAISED[frame], 1.4, 1.4])
    found = settled(readers, tmp_path, somebody(7, RAISED), driver)
    assert found.taken_at_s is not None
    assert abs(round(found.taken_at_s * FPS) - frame) <= 1
    drawn = somebody(7, RAISED)[round(found.taken_at_s * FPS)]
    assert np.abs(found.picture.astype(float) - drawn).mean() < 10  # of 255: it has been a video twice


def test_without_a_driver_to_compare_with_the_surest_frame_is_taken(readers: Readers, tmp_path: Path) -> None:
    empty = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    found = settled(readers, tmp_path, [empty, empty, *somebody(7, RAISED[:3])], [empty] * 3)
    assert found.taken_at_s is not None
    assert found.taken_at_s >= 2 / FPS


def test_a_character_video_without_anybody_is_refused(tiny_models: Models, tmp_path: Path) -> None:
    orange = np.full((SIZE[1], SIZE[0], 3), (255, 165, 0), np.uint8)  # the tiny detector finds nobody in it
    with pytest.raises(NoPersonFound, match="in 3 frames of the character's video") as refused:
        settled(tiny_models.family.readers, tmp_path, [orange] * 3, [orange] * 3)
    assert refused.value.field == "reference_image"


def test_a_render_names_the_frame(tiny_models: Models, media: InputFiles, tmp_path: Path) -> None:
    params = RenderParams(
        reference_image="-", driving_video="-", reference_kind="video", num_frames=5, resolution="480p", seed=3
    )
    moving = InputFiles(reference_image=media.driving_video, driving_video=media.driving_video)
    result = render_video(tiny_models, params, moving, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
    said = f"the reference is the frame at {result.reference_taken_at_s} s of the character's video"
    assert result.reference_taken_at_s is not None
    assert said in result.warnings
    looks: list[Progress] = []

    def cancel(progress: Progress) -> None:
        looks.append(progress)
        if progress.stage == "preprocess" and len([look for look in looks if look.stage == "preprocess"]) == 4:
            raise Canceled

    with pytest.raises(Canceled):
        render_video(tiny_models, params, moving, tmp_path / "no.mp4", workspace=tmp_path / "other", report=cancel)
    assert {look.fraction for look in looks if look.stage == "preprocess"} == {looks[-1].fraction}
    with pytest.raises(MediaError, match="reference_image"):
        render_video(tiny_models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "workspace")
