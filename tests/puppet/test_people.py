"""People in drawn clips, as the bundle's own networks see them: never the drawing's truth."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from animate_benchmarks.crossings import follow_crossing
from animate_benchmarks.puppet.rendering import held_out_case
from animate_pipelines.errors import NoPersonFound, PersonLost
from animate_pipelines.families.registry import Models
from animate_pipelines.families.wan_animate.driver import PARTS
from animate_pipelines.job.cache import PreprocessCache
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.job.preflight import preflight
from animate_pipelines.perception.observation import observe
from animate_pipelines.perception.people import find_people
from animate_pipelines.perception.readers import Readers
from animate_pipelines.perception.scan import Footage
from animate_pipelines.progress.progress import Progress
from animate_pipelines.progress.stopwatch import Stopwatch
from animate_pipelines.render import render_video
from animate_pipelines.request.choices import Task
from animate_pipelines.request.params import RenderParams
from animate_weights.puppet import Character, Performance, Pose, draw
from animate_weights.puppet.backdrop import Backdrop
from animate_weights.puppet.camera import Camera
from animate_weights.puppet.canvas import Canvas
from animate_weights.puppet.draw import draw_on
from animate_weights.puppet.scene import Scene, draw_scene

SIZE, FPS, NUM_FRAMES = (192, 192), 20, 60
WIDE, SCENE_S = (400, 200), 4.0
GONE, TURNED = range(20, 26), range(36, 48)  # a tenth and a fifth


@pytest.fixture(scope="module")
def models(tiny_models: Models, readers: Readers) -> Models:
    """The puppet's networks before the tiny bundle's transformer: what is seen counts here, not what is painted."""
    return dataclasses.replace(
        tiny_models,
        manifest=dataclasses.replace(tiny_models.manifest, reads="puppets"),
        family=dataclasses.replace(tiny_models.family, readers=readers),
    )


def write_media(folder: Path, frames: list[np.ndarray]) -> InputFiles:
    video, image = folder / "driving.mp4", folder / "reference.png"
    Image.fromarray(frames[0]).save(image)
    film = imageio_ffmpeg.write_frames(str(video), frames[0].shape[1::-1], fps=FPS, macro_block_size=2)
    film.send(None)
    for frame in frames:
        film.send(np.ascontiguousarray(frame))
    film.close()
    return InputFiles(reference_image=image, driving_video=video)


def perform(seed: int) -> list[np.ndarray]:
    """One puppet who is gone in `GONE` and shows its back in `TURNED`."""
    rng = np.random.default_rng(seed)
    who, backdrop = Character.random(rng), Backdrop.random(rng)
    performance, camera = Performance.random(rng, NUM_FRAMES / FPS, liveliness=0.5), Camera.framing(0.8)
    frames = []
    for frame, pose in enumerate(performance.poses(NUM_FRAMES, FPS)):
        pose = dataclasses.replace(pose, yaw=math.pi if frame in TURNED else 0.0)
        stand = dataclasses.replace(camera, x=9.0) if frame in GONE else camera
        frames.append(draw(who, pose, SIZE, camera=stand, backdrop=backdrop).rgb)
    return frames


@pytest.mark.renders
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_report_lists_exactly_the_frames_without_person_and_face(seed: int, models: Models, tmp_path: Path) -> None:
    media = write_media(tmp_path, perform(seed))
    params = RenderParams(reference_image="-", driving_video="-", seed=1, steps=1, resolution="480p", preflight="off")
    result = render_video(models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "work")
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert (result.num_frames, result.frames_without_person) == (NUM_FRAMES, len(GONE))
    assert report["missing_person"] == [[GONE[0], GONE[-1]]]
    assert report["missing_face"] == [[GONE[0], GONE[-1]], [TURNED[0], TURNED[-1]]]


def test_an_empty_scene_fails_before_anything_is_denoised(models: Models, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    empty = Backdrop.random(rng).paint(*SIZE)
    stages: set[str] = set()

    def note(progress: Progress) -> None:
        stages.add(progress.stage)

    params = RenderParams(reference_image="-", driving_video="-", preflight="off")
    with pytest.raises(NoPersonFound, match=f"any of the {NUM_FRAMES} frames"):
        render_video(
            models,
            params,
            write_media(tmp_path, [empty] * NUM_FRAMES),
            tmp_path / "out.mp4",
            workspace=tmp_path / "work",
            report=note,
        )
    assert stages == {"check", "preprocess"}
    assert json.loads((tmp_path / "out.report.json").read_text())["missing_person"] == [[0, NUM_FRAMES - 1]]


@pytest.mark.parametrize("grey", [0, 64, 128, 255])
def test_nobody_is_in_a_flat_picture(grey: int, models: Models) -> None:
    """The detector draws a box there with a score of up to 0.7; the joints in it have a confidence of 0.04 at most."""
    assert observe(models.family.readers, np.full((192, 320, 3), grey, np.uint8)) is None


@pytest.mark.long
def test_preflight_numbers_the_people_and_finds_the_cut(models: Models, tmp_path: Path) -> None:
    cut, rng = 16, np.random.default_rng(40)
    scene, elsewhere = Scene.random(rng, 2, SCENE_S), Scene.random(rng, 1, SCENE_S)
    frames = [draw_scene(scene, frame / FPS, WIDE).rgb for frame in range(cut)]
    frames += [draw_scene(elsewhere, frame / FPS, WIDE).rgb for frame in range(8)]
    media, sheet = write_media(tmp_path, frames), tmp_path / "sheet.png"

    def look(person: str | int) -> dict[str, Any]:
        params = RenderParams(reference_image="-", driving_video="-", person=person)
        readers = models.family.readers
        return preflight(readers, models.manifest, params, media, sheet, workspace=tmp_path / "work", masks=None)

    left, right = look("0.22,0.5@0.2"), look("0.78,0.5@0.2")
    assert left["following"] != right["following"]
    for report in (left, right):
        assert report["following"] in [who["number"] for who in report["people"]]
        (finding,) = [finding for finding in report["findings"] if finding["code"] == "cuts"]
        assert f"at {cut / FPS:.1f} s" in finding["message"]
    with Image.open(sheet) as picture:
        assert picture.height > 600  # the overlay alone has 360 and a few lines
    with pytest.raises(NoPersonFound) as caught:
        look(50)
    assert caught.value.field == "person"


@pytest.mark.renders
@pytest.mark.parametrize("mode", ["animate", "replace"])
def test_a_job_says_of_its_person_what_preflight_says(mode: Task, models: Models, tmp_path: Path) -> None:
    """One of two stands upright in the first frames, the other has raised both hands."""
    rng = np.random.default_rng(43)
    poses = (Pose(left_shoulder=2.8, right_shoulder=2.8), Pose())
    people = [
        (Character.random(rng), pose, Camera.framing(0.8, x=x)) for pose, x in zip(poses, (0.25, 0.75), strict=True)
    ]
    canvas = Canvas(Backdrop.random(rng).paint(800, 400), 2)
    for who, pose, camera in people:
        draw_on(canvas, who, pose, WIDE, camera)
    media = write_media(tmp_path, [canvas.finish()[0]] * 8)

    def checked(person: str, job: bool) -> dict[str, Any]:
        params = RenderParams(
            reference_image="-", driving_video="-", mode=mode, person=person, steps=1, seed=1, resolution="480p"
        )
        folder = tmp_path / f"{person}-{job}"
        if job:
            said = render_video(models, params, media, tmp_path / "out.mp4", workspace=folder).preflight
            assert said is not None
            return said
        return preflight(
            models.family.readers, models.manifest, params, media, tmp_path / "sheet.png", workspace=folder, masks=None
        )

    distances = []
    for person in ("0.25,0.5@0.1", "0.75,0.5@0.1"):
        in_job, alone = (checked(person, job=job)["pose_distance"]["first"] for job in (True, False))
        assert in_job == pytest.approx(alone, abs=15)  # in replace mode a job looks at letter-boxed frames
        distances.append(in_job)
    assert abs(distances[0] - distances[1]) > 40, distances


@pytest.mark.parametrize("index", [0, 9])
def test_one_person_alone_is_followed_in_every_frame(index: int, models: Models) -> None:
    """In the second clip the detector's box is by turns around the upper and the lower half, at times around both."""
    driving = held_out_case(index, 49, (96, 96), native=SIZE).driving
    people = find_people(
        models.family.readers,
        Footage(
            read=lambda indices: (driving[index] for index in indices), frames=range(len(driving)), size=SIZE, fps=FPS
        ),
        person="largest",
        smoothing=False,
        watch=Stopwatch(PARTS),
        on_frame=lambda done, total: None,
    )
    assert people.found.all()


@pytest.mark.long
@pytest.mark.parametrize("seed", [20, 21, 22])
def test_who_is_followed_stays_the_same_among_three_who_cross(seed: int, readers: Readers) -> None:
    """Either of the two who cross; a third leaves and comes back.

    Over 48 scenes (seeds 300 to 323, 500 to 523) 99.3 % of the frames are right, in the worst crossing 94 %
    (`python -m animate_benchmarks.crossings --seeds 500 524`). The detector is the limit: while the two are less than
    a fifth of the height apart it mostly finds the nearer one alone, and in that one's box the pose network reads the
    nearer one or a mixture.
    """
    shares = follow_crossing(readers, seed)
    assert np.mean(shares) >= 0.97, shares
    assert min(shares) >= 0.94, shares


@pytest.mark.long
def test_who_is_lost_too_long_is_not_looked_for_again(models: Models, tmp_path: Path) -> None:
    """What was found is kept before the gaps are judged: the same job with a longer gap pays no detection."""
    media, cache = write_media(tmp_path, perform(0)), PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    params = RenderParams(
        reference_image="-", driving_video="-", seed=1, steps=1, resolution="480p", preflight="off", max_gap_s=0.1
    )
    with pytest.raises(PersonLost):
        render_video(models, params, media, tmp_path / "out.mp4", workspace=tmp_path / "first", cache=cache)
    patient = dataclasses.replace(params, max_gap_s=2.0)
    result = render_video(models, patient, media, tmp_path / "out.mp4", workspace=tmp_path / "second", cache=cache)
    assert (result.preprocess_cached, result.preprocess_seconds["detect"]) == (True, 0.0)
