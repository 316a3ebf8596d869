"""A bundle that does not read photographs says so before it renders, and blames nobody for what it cannot see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from animate_pipelines.errors import NoPersonFound, PairNotRead
from animate_pipelines.preflight.legibility import judge_pair, refuse_foreign, saying_what_is_read
from animate_pipelines.request.params import RenderParams
from animate_server.cli import app
from animate_weights.bundles import find_bundle
from animate_weights.manifest import Manifest, read_manifest
from animate_weights.puppet.demo import demo_pair
from animate_weights.puppet.files import write_pair

PHOTOGRAPHS = Path(__file__).parents[1] / "photographs"
PARAMS = RenderParams(reference_image="a.png", driving_video="b.mp4")


@pytest.fixture
def puppet(home: Path) -> Manifest:
    return read_manifest(find_bundle("puppet", home))


@pytest.fixture
def drawn() -> np.ndarray:
    return demo_pair(2, size=(160, 160), num_frames=1).reference


@pytest.fixture
def photograph() -> np.ndarray:
    return np.array(Image.open(PHOTOGRAPHS / "officer.jpg").convert("RGB"))


@pytest.fixture
def real_pair(tmp_path: Path) -> list[str]:
    """Two photographs as the options of a command: an image, and a film that moves over the other one."""
    video = tmp_path / "what.mp4"
    picture = np.array(Image.open(PHOTOGRAPHS / "astronaut.jpg").convert("RGB"))
    film = imageio_ffmpeg.write_frames(str(video), (192, 192), fps=20)
    film.send(None)
    for shift in range(8):
        film.send(np.ascontiguousarray(picture[shift : shift + 192, shift : shift + 192]))
    film.close()
    return ["--image", str(PHOTOGRAPHS / "officer.jpg"), "--video", str(video)]


def test_bundles_say_what_they_read(home: Path) -> None:
    assert read_manifest(find_bundle("tiny", home)).reads == "nothing"
    assert read_manifest(find_bundle("puppet", home)).reads == "puppets"
    with pytest.raises(ValueError, match="reads must be one of people, puppets, nothing"):
        replace(read_manifest(find_bundle("puppet", home)), reads="dogs")


def test_drawn_pairs_are_judged_and_photographs_are_not(
    puppet: Manifest, drawn: np.ndarray, photograph: np.ndarray
) -> None:
    assert judge_pair(puppet, [drawn], [drawn]).is_judged
    mixed = judge_pair(puppet, [drawn], [photograph, photograph])
    assert (mixed.is_judged, mixed.foreign) == (False, ("driving_video",))
    assert mixed.note == "puppet reads drawn puppets only, and the driving video is a photograph"
    assert judge_pair(replace(puppet, reads="people"), [photograph], [photograph]).is_judged


def test_photographs_are_refused_unless_the_request_goes_on_anyway(puppet: Manifest, photograph: np.ndarray) -> None:
    legibility = judge_pair(puppet, [photograph], [photograph])
    with pytest.raises(PairNotRead, match="puppet reads drawn puppets only, and the image and the driving video are"):
        refuse_foreign(legibility, PARAMS)
    refuse_foreign(legibility, replace(PARAMS, anyway=True))


def test_random_weights_judge_nothing_and_never_stop(home: Path, photograph: np.ndarray) -> None:
    legibility = judge_pair(read_manifest(find_bundle("tiny", home)), [photograph], [photograph])
    assert not legibility.is_judged
    refuse_foreign(legibility, PARAMS)


def test_nobody_found_is_not_blamed_on_the_caller(puppet: Manifest, photograph: np.ndarray) -> None:
    legibility = judge_pair(puppet, [photograph], [photograph])
    with (
        pytest.raises(NoPersonFound, match="nobody; but puppet reads drawn puppets only"),
        saying_what_is_read(legibility),
    ):
        raise NoPersonFound("nobody", field="driving_video")


def test_preflight_judges_no_photographs(real_pair: list[str], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(app, ["preflight", *real_pair, "--output", str(sheet), "--json"])
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (done.exit_code, report["judged"], report["score"], report["reads"]) == (65, False, None, "puppets")
    assert report["not_read"] == ["reference_image", "driving_video"]
    assert {finding["severity"] for finding in report["findings"]} == {"not_judged"}
    assert (report["image"]["people"], report["video"]["people"], "people" in report) == (None, None, False)
    assert sheet.is_file()
    shown = CliRunner().invoke(app, ["preflight", *real_pair])
    assert "people were found" not in shown.output
    assert "note: puppet reads drawn puppets only; real weights: animate-server weights fetch wan" in shown.stderr


def test_render_stops_before_the_first_step_and_leaves_no_files(real_pair: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out" / "x.mp4"
    done = CliRunner().invoke(app, ["render", *real_pair, "--output", str(output)])
    assert done.exit_code == 65
    assert "--anyway renders all the same" in done.stderr
    assert list(output.parent.iterdir()) == []


@pytest.mark.renders
def test_render_goes_on_anyway_and_says_what_was_not_judged(real_pair: list[str], tmp_path: Path) -> None:
    output = tmp_path / "x.mp4"
    options = ["--anyway", "--steps", "1", "--frames", "2", "--resolution", "480p", "--json"]
    done = CliRunner().invoke(app, ["render", *real_pair, *options, "--output", str(output)])
    last = json.loads(done.stdout.splitlines()[-1])
    if last["status"] == "failed":  # what it finds in photographs is chance; nobody at all is not the caller's fault
        assert "but puppet reads drawn puppets only" in last["error"]["message"]
        return
    warnings = last["result"]["warnings"]
    assert any("whom they show was not judged" in warning for warning in warnings)
    assert not any("people were found" in warning for warning in warnings)


def test_a_drawn_pair_renders_without_being_asked(tmp_path: Path, home: Path) -> None:
    image, video = write_pair(demo_pair(3, size=(96, 96), num_frames=2), tmp_path, sound=False)
    done = CliRunner().invoke(app, ["preflight", "--image", str(image), "--video", str(video), "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["judged"]
