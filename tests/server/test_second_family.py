"""A family from elsewhere renders through the unchanged loop, worker and API, and survives a kill between segments."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from animate_pipelines.errors import BundleError, InvalidField
from animate_pipelines.families.registry import Models, find_family, load_models
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "tests/plugins"
NUM_FRAMES = 17  # four segments of five frames, of which one is carried
LONG_S = 60.0


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of the other family, which is installed as long as the test runs."""
    monkeypatch.syspath_prepend(PLUGINS)
    import toy_family

    return toy_family.write_bundle(tmp_path / "toy")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "who.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)).save(path)
    return path


def _frames(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return np.stack(frames)


def _fields(**more: Any) -> dict[str, Any]:
    asked = {"mode": "image-to-video", "prompt": "it waves", "seed": 7, "num_frames": NUM_FRAMES, "resolution": "480p"}
    return asked | more


def _render(models: Models, picture: Path, folder: Path, **more: Any) -> RenderResult:
    params = RenderParams(reference_image=str(picture), **_fields(**more))
    return render_video(models, params, InputFiles.of(params), folder / "out.mp4", workspace=folder / "work")


def test_a_prompt_alone_drives_it(bundle: Path, picture: Path, tmp_path: Path) -> None:
    result = _render(load_models(bundle), picture, tmp_path)
    assert (result.num_frames, result.num_segments, result.fps, result.audio) == (NUM_FRAMES, 4, "8/1", "none")
    assert (result.mode, result.mask_source, result.preflight) == ("image-to-video", None, None)
    assert result.warnings[:2] == ("the bundle 'toy' has random weights", "the family is a toy")
    frames = _frames(result.path)
    assert len(frames) == NUM_FRAMES
    other = _render(load_models(bundle), picture, tmp_path / "other", prompt="it sleeps")
    assert not np.array_equal(frames, _frames(other.path))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"guidance_scale": 2.0}, "guidance_scale", "is not taken by the family toy"),
        ({"mode": "speak", "driving_audio": "-"}, "mode", "the bundle toy does image-to-video"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(
    fields: dict[str, Any], field: str, words: str, bundle: Path, picture: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidField, match=words) as refused:
        _render(load_models(bundle), picture, tmp_path, **fields)
    assert refused.value.field == field


def test_a_family_that_is_not_installed_is_named() -> None:
    with pytest.raises(BundleError, match="'toy'; installed are wan-animate"):
        find_family("toy")


def test_nothing_in_the_product_names_it() -> None:
    for root in ("animate_server", "pipelines", "weights", "kernels", "benchmarks", "pyproject.toml"):
        for path in [ROOT / root, *(ROOT / root).rglob("*.py")]:
            assert not path.is_file() or "toy_family" not in path.read_text(), path


class _Workers:
    """Worker processes over the home of a served API."""

    def __init__(self, home: Path, bundle: Path) -> None:
        settings = {"HOME": home, "BUNDLE": bundle, "LEASE_S": "1.0", "HEARTBEAT_S": "0.2", "MIN_FREE_DISK": "0"}
        self._environment = os.environ | {f"ANIMATE_{name}": str(value) for name, value in settings.items()}
        self._environment["PYTHONPATH"] = str(PLUGINS)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "animate_server", "worker", "--device", "cpu"]
        return subprocess.Popen(command, env=self._environment)


def _until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.renders
def test_a_job_goes_on_frame_identically_after_a_kill(
    bundle: Path, picture: Path, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    whole = _render(load_models(bundle), picture, tmp_path / "whole")
    with serve(worker=False) as idle:
        processes = _Workers(idle.backend.settings.home, bundle)
        with processes.start() as first:
            _until(idle.backend.workers.bundle)
            upload = idle.http.post("/v1/uploads", content=picture.read_bytes()).json()["id"]
            job = idle.http.post("/v1/jobs", json=_fields(reference_image=upload))
            assert job.status_code == 202, job.text
            work = idle.backend.settings.work_dir / job.json()["id"]
            _until(lambda: len(list(work.rglob("state-*.safetensors"))) >= 2)
            first.kill()
        left = len(list(work.rglob("state-*.safetensors")))
        assert 2 <= left < 4
        with processes.start() as second:
            _until(lambda: idle.http.get(f"/v1/jobs/{job.json()['id']}").json()["status"] == "succeeded")
            second.terminate()
        done = idle.http.get(f"/v1/jobs/{job.json()['id']}").json()
        assert done["attempts"] == 2
        assert done["result"]["warnings"] == list(whole.warnings)  # it did not begin anew
        (tmp_path / "served.mp4").write_bytes(idle.http.get(done["artefact"]["url"]).content)
    np.testing.assert_array_equal(_frames(tmp_path / "served.mp4"), _frames(whole.path))


@pytest.mark.renders
def test_the_api_refuses_what_the_loaded_bundle_does_not_do(bundle: Path, serve: Callable[..., Any]) -> None:
    with serve(worker=False) as idle, _Workers(idle.backend.settings.home, bundle).start() as worker:
        _until(idle.backend.workers.bundle)
        image = {"reference_image": "https://example.com/a.png"}
        pair, unfit = image | {"driving_video": "https://example.com/b.mp4"}, _fields(**image, guidance_scale=2)
        for fields, field in ((pair, "mode"), (unfit, "guidance_scale")):
            answer = idle.http.post("/v1/jobs", json=fields)
            assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
        worker.terminate()
