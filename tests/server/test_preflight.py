"""Preflight over HTTP and in the command line, and what it makes of this installation's history."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from animate_server.backend import Backend
from animate_server.cli import app
from animate_server.estimate import estimate_render
from animate_server.jobs import NewJob
from animate_weights.bundles import find_bundle
from animate_weights.puppet import demo_pair
from animate_weights.puppet.files import write_pair

PAIR = {"reference_image": "https://example.com/a.png", "driving_video": "https://example.com/b.mp4"}
PLAN = {"num_segments": 2, "num_steps": 10, "render_width": 64, "render_height": 32}


def result_of(seconds: float, **changes: Any) -> dict[str, Any]:
    took = {"seconds": {"check": seconds / 4, "render": seconds * 3 / 4}, "peak_memory_bytes": 1000}
    return PLAN | {"bundle": "fake"} | took | changes


def test_an_estimate_is_the_median_rate_of_renders_of_that_size() -> None:
    results = [result_of(20), result_of(40, peak_memory_bytes=3000), result_of(120, num_segments=4)]
    ignored = [result_of(1, bundle="another"), result_of(1, render_width=640), {"score": 90}]
    estimate = estimate_render(PLAN | {"num_segments": 6}, "fake", results + ignored)
    assert estimate == {"jobs": 3, "seconds": 120.0, "peak_memory_bytes": 3000}


def test_no_history_is_said() -> None:
    assert estimate_render(PLAN, "fake", [])["jobs"] == 0
    assert estimate_render(PLAN, "fake", [{"score": 90}])["seconds"] is None


def test_a_preflight_comes_before_the_renders_that_wait(backend: Backend, new_job: Callable[..., NewJob]) -> None:
    ids = [backend.store.add(job).id for job in (new_job(), new_job(), new_job(kind="preflight"), new_job())]
    claimed = [job.id for job in iter(lambda: backend.store.claim("w"), None)]
    assert claimed == [ids[2], ids[0], ids[1], ids[3]]


def test_preflight_is_answered_with_its_report(served: Any, png: bytes, mp4: bytes) -> None:
    served.renderer.result = {"score": 65, "findings": [], "plan": PLAN}
    answer = served.http.post(
        "/v1/preflight", files={"reference_image": ("a.png", png), "driving_video": ("b.mp4", mp4)}
    )
    job = answer.json()
    assert (answer.status_code, job["status"], job["result"]["score"]) == (200, "succeeded", 65)
    assert job["result"]["estimate"] == {"jobs": 0, "seconds": None, "peak_memory_bytes": None}
    assert job["artefacts"][0]["media_type"] == "image/png"
    assert (served.renderer.kinds, job["params"]["preflight"]) == (["preflight"], "only")
    assert served.http.get("/v1/videos").json()["data"] == []  # it is no video


def test_a_job_may_ask_for_preflight_only(served: Any, png: bytes, mp4: bytes) -> None:
    served.renderer.result = {"plan": PLAN}
    files = {"reference_image": ("a.png", png), "driving_video": ("b.mp4", mp4)}
    created = served.http.post("/v1/jobs", files=files, data={"preflight": "only"}).json()
    job = served.wait(created["id"], "succeeded")
    assert (created["params"]["preflight"], job["params"]["preflight"]) == ("only", "only")
    assert (served.renderer.kinds, served.renderer.seen[-1].preflight) == (["preflight"], "warn")
    assert job["artefacts"][0]["media_type"] == "image/png"


def test_preflight_that_takes_longer_is_a_job_to_look_at(idle: Any, png: bytes, mp4: bytes) -> None:
    files = {"reference_image": png, "driving_video": mp4}
    answer = idle.http.post("/v1/preflight", params={"wait_s": 0.05}, files=files)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.headers["location"] == answer.json()["url"]


def test_preflight_takes_no_preflight(idle: Any, png: bytes, mp4: bytes) -> None:
    answer = idle.http.post("/v1/preflight", json=PAIR | {"preflight": "warn"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "preflight")


@pytest.fixture
def puppets(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setenv("ANIMATE_HOME", str(home))
    find_bundle("tiny", home)
    return write_pair(demo_pair(3, size=(96, 96), num_frames=9), tmp_path, sound=False)


def test_the_command_writes_report_and_overlay(puppets: tuple[Path, Path], tmp_path: Path) -> None:
    image, video = puppets
    sheet = tmp_path / "sheet.png"
    arguments = ["preflight", "--image", str(image), "--video", str(video), "--output", str(sheet), "--json"]
    ran = CliRunner().invoke(app, arguments)
    report = json.loads(ran.stdout.splitlines()[-1])
    assert ran.exit_code == int(any(finding["severity"] == "problem" for finding in report["findings"]))
    assert (report["plan"]["num_frames"], report["video"]["pictures"]) == (9, 9)
    assert report["estimate"]["jobs"] == 0
    with Image.open(sheet) as picture:
        assert picture.size[1] > 360


def test_the_command_shows_masks_before_a_replacement(puppets: tuple[Path, Path], tmp_path: Path) -> None:
    image, video = puppets
    sheet = tmp_path / "sheet.png"
    arguments = ["preflight", "--image", str(image), "--video", str(video), "--output", str(sheet), "--json"]
    CliRunner().invoke(app, arguments)
    with Image.open(sheet) as picture:
        height = picture.height
    ran = CliRunner().invoke(app, [*arguments, "--mode", "replace", "--mask-fit", "tight", "--align"])
    masks = json.loads(ran.stdout.splitlines()[-1])["masks"]
    assert (masks["source"], masks["fit"]) == ("keypoint_box", "tight")
    assert all(0 < frame["person"] <= frame["regenerated"] <= 1 for frame in masks["frames"])
    with Image.open(sheet) as picture:
        assert picture.height > height + 100


def test_the_command_takes_a_video_of_the_character(puppets: tuple[Path, Path]) -> None:
    _, video = puppets
    arguments = ["preflight", "--image", str(video), "--reference-kind", "video", "--video", str(video), "--json"]
    report = json.loads(CliRunner().invoke(app, arguments).stdout.splitlines()[-1])
    assert report["reference_taken_at_s"] == 0.0  # of its own poses the first frame is nearest to the first


def test_a_strict_render_of_a_bad_pair_is_refused(puppets: tuple[Path, Path], tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    Image.new("RGB", (96, 96), (90, 90, 90)).save(flat)
    output = tmp_path / "out.mp4"
    arguments = ["render", "--image", str(flat), "--video", str(puppets[1]), "--output", str(output), "--json"]
    ran = CliRunner().invoke(app, [*arguments, "--preflight", "strict", "--bundle", "puppet"])
    error = json.loads(ran.stdout.splitlines()[-1])["error"]
    assert (ran.exit_code, error["code"]) == (65, "pair_refused")
    assert "nobody_in_image" in [finding["code"] for finding in error["value"]]
    assert not output.exists()
