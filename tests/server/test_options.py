"""`render` has every field of a request as an option, and several results get numbered files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from animate_pipelines.request.fields import fields_of
from animate_pipelines.request.params import RenderParams
from animate_server.cli import app
from animate_server.cli.options import flag_of


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    image, video = tmp_path / "who.png", tmp_path / "what.mp4"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)).save(image)
    film = imageio_ffmpeg.write_frames(str(video), (160, 96), fps=20, macro_block_size=2)
    film.send(None)
    for frame in np.random.default_rng(1).integers(0, 256, (6, 96, 160, 3), np.uint8):
        film.send(frame)
    film.close()
    return ["--image", str(image), "--video", str(video), "--bundle", "tiny", "--json"]


def _render(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(app, ["render", *arguments])
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def test_every_field_has_an_option() -> None:
    shown = CliRunner().invoke(app, ["render", "--help"], env={"COLUMNS": "200"}).stdout
    for name, field in fields_of(RenderParams).items():
        assert f"{flag_of(name, field)} " in shown


@pytest.mark.renders
def test_what_could_not_be_set_before_works(pair: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.webm"
    options = ["--negative-prompt", "blurred", "--shift", "3.5", "--guidance-scale", "2", "--output-size", "96x96"]
    options += ["--fit", "crop", "--output-format", "webm", "--quality", "60", "--no-body-control", "--expression", "4"]
    options += ["--safety-check", "--longest", "60", "--num-results", "2", "--steps", "1", "--seed", "3"]
    code, lines = _render(*pair, *options, "--output", str(output))
    assert code == 0, lines[-1]
    first, second = (line for line in lines if line["status"] == "succeeded")
    assert [Path(done["output"]).name for done in (first, second)] == ["out-1.webm", "out-2.webm"]
    assert [done["result"]["seed"] for done in (first, second)] == [3, 4]
    assert all(Path(done["output"]).with_suffix(".report.json").is_file() for done in (first, second))
    assert not output.exists()
    result = first["result"]
    assert (result["width"], result["height"], result["safety"]) == (96, 96, "not_checked")
    assert (result["recipe"]["shift"], result["recipe"]["guidance_scale"]) == (3.5, 2.0)


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        (["--longest", "0.1"], "driving_video", "the limit is 0.1 s"),
        (["--quality", "100"], "quality", "whole number from 20 to 99"),
        (["--output-size", "96"], "output_size", "WIDTHxHEIGHT"),
        (["--mask-fit", "tight"], "mask_fit", "mask_fit is for the mode replace"),
        (["--mode", "speak"], "driving_video", "driving_video is for the mode animate or replace"),
        (["--preflight", "only"], "preflight", "preflight must be one of warn, strict, off"),
        (["--no-body-control", "--retarget"], "body_control", "without retarget"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    options: list[str], field: str, words: str, pair: list[str], tmp_path: Path
) -> None:
    code, lines = _render(*pair, *options, "--output", str(tmp_path / "out.mp4"))
    assert (code, lines[-1]["error"]["field"]) == (65, field)
    assert words in lines[-1]["error"]["message"]


def test_a_task_that_the_bundle_does_not_do_is_refused_by_name(pair: list[str], tmp_path: Path) -> None:
    alone = [*pair[:2], *pair[4:]]
    code, lines = _render(*alone, "--mode", "image-to-video", "--output", str(tmp_path / "out.mp4"))
    assert (code, lines[-1]["error"]["field"]) == (65, "mode")
    assert lines[-1]["error"]["message"].endswith("the bundle tiny does animate, replace")
