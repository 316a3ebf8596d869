"""`turbo` with a bundle that has no few-step LoRA: refused, or served in full steps and said so in every interface."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import animate_pipelines.render
from animate_pipelines.request.params import RenderParams
from animate_server.renderer import BundleRenderer

SAID = "turbo is not available with this bundle: rendered in 20 full steps"


class _Rendered:
    """What `render_video()` gives back, as far as the server looks at it."""

    def __init__(self, params: RenderParams) -> None:
        self.num_steps = params.steps or (4 if params.turbo else 20)
        self._turbo = params.turbo

    def to_json(self) -> dict[str, Any]:
        return {"turbo": self._turbo, "num_steps": self.num_steps, "warnings": ["another"]}


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a bundle without the LoRA says of itself; `render_video()` does what it is told, in no time."""

    def render_video(models: Any, params: RenderParams, media: Any, destination: Path, **rest: Any) -> _Rendered:
        destination.write_bytes(b"video")
        return _Rendered(params)

    monkeypatch.setattr(animate_pipelines.render, "render_video", render_video)
    return {"name": "plain", "turbo_lora": None, "warning": "", "safety_checker": False}


@pytest.fixture
def urls(png: bytes, mp4: bytes) -> Any:
    """Uploads both inputs to a running server."""

    def upload(served: Any) -> tuple[str, str]:
        image, video = (served.http.post("/v1/uploads", content=data).json()["url"] for data in (png, mp4))
        return image, video

    return upload


def _renderer(bundle: dict[str, Any], setting: str) -> BundleRenderer:
    settings: Any = SimpleNamespace(when_no_turbo_lora=setting, when_no_safety_checker="render", media_limits=None)
    models: Any = None
    cache: Any = None
    return BundleRenderer(models, bundle, settings, cache)


def test_full_steps_are_rendered_and_every_interface_says_so(serve: Any, bundle: dict[str, Any], urls: Any) -> None:
    with serve(real=_renderer(bundle, "full_steps"), when_no_turbo_lora="full_steps") as served:
        image, video = urls(served)
        asked = {"reference_image": image, "driving_video": video, "turbo": True, "steps": 4}
        shown = served.wait(served.http.post("/v1/jobs", json=asked).json()["id"], "succeeded")
        assert shown["params"]["turbo"] is True
        assert shown["result"] == {"turbo": False, "num_steps": 20, "warnings": [SAID, "another"]}

        asked = {"image": image, "video": video, "turbo": True}
        url = served.http.post("/segmind/v2/p-video-animate", json=asked).json()["response_url"]
        served.wait(url.rpartition("/")[2], "succeeded")
        assert served.http.get(url).json()["warnings"] == [SAID, "another"]

        asked = {"input_reference": image, "driving_video": video, "turbo": True, "prompt": "a"}
        created = served.http.post("/v1/videos", json=asked).json()
        served.wait(created["id"], "succeeded")
        assert served.http.get(f"/v1/videos/{created['id']}").json()["warnings"] == [SAID, "another"]


@pytest.mark.parametrize(
    ("asked", "lora", "num_steps"),
    [({"turbo": True}, "lora.safetensors", 4), ({}, None, 20), ({"steps": 7}, None, 7)],
)
def test_nothing_else_changes(
    asked: dict[str, Any], lora: str | None, num_steps: int, serve: Any, bundle: dict[str, Any], urls: Any
) -> None:
    renderer = _renderer(bundle | {"turbo_lora": lora}, "full_steps")
    with serve(real=renderer, when_no_turbo_lora="full_steps") as served:
        image, video = urls(served)
        answer = served.http.post("/v1/jobs", json={"reference_image": image, "driving_video": video} | asked)
        result = served.wait(answer.json()["id"], "succeeded")["result"]
        assert result == {"turbo": "turbo" in asked, "num_steps": num_steps, "warnings": ["another"]}


def test_it_is_refused_unless_the_server_is_set_so(serve: Any, bundle: dict[str, Any]) -> None:
    with serve(real=_renderer(bundle, "refuse")) as served:
        urls = dict.fromkeys(("reference_image", "driving_video"), "https://example.com/file")
        answer = served.http.post("/v1/jobs", json=urls | {"turbo": True})
        assert answer.status_code == 422
        assert answer.json()["error"]["message"] == "turbo is not available: the bundle plain has no few-step LoRA"
