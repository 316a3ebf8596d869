"""One table for all dialects: the same job asked in each gives the same params, and no field is silently dropped."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

import animate_server
from animate_pipelines.errors import InvalidField
from animate_pipelines.request.params import RenderParams
from animate_server.dialects import (
    DIALECT_NAMES,
    eachlabs,
    load_dialects,
    openai,
    runcomfy,
    runninghub,
    runway,
    segmind,
)
from animate_server.dialects.eachlabs import models as eachlabs_models
from animate_server.dialects.native import schema as native_schema
from animate_server.dialects.runware import schema as runware_schema
from animate_server.webhooks import Webhook

IMAGE, VIDEO, OTHER = "https://example.com/a.png", "https://example.com/b.mp4", "https://example.com/other"
OTHER_WAYS = {
    runninghub.NodesRequest,
    runninghub.CreateRequest,
    runninghub.AppRequest,
}  # to ask for the same, tested with its dialect
TASK = "8bd1c4a8-5d2c-4a44-9f0b-1d2c3e4f5a6b"
WAITING = {"/v1/jobs": "queued", "/runway/v1/tasks": "THROTTLED", "/eachlabs/v1/prediction": "created"}
DIALECTS = {dialect.name: dialect for dialect in load_dialects()}
JOB = RenderParams(reference_image=IMAGE, driving_video=VIDEO, seed=5)


@dataclass(frozen=True)
class Asked:
    """schema: of the fields below `inside` (of all without it). request: asks for `job`. others: other values."""

    dialect: str
    schema: type[BaseModel]
    request: Mapping[str, Any]
    others: Mapping[str, Any]
    inside: str = ""
    job: RenderParams = JOB
    seeded: bool = True

    def read(self, request: Mapping[str, Any]) -> tuple[RenderParams, Sequence[Webhook]]:
        """All that the request asks for."""
        rules = DIALECTS[self.dialect].webhooks
        return self.parse(request), rules.find(request) if rules else ()

    def parse(self, request: Mapping[str, Any]) -> RenderParams:
        """Of an interface that has no seed the drawn one is set aside."""
        params = DIALECTS[self.dialect].parse(request)
        return params if self.seeded else dataclasses.replace(params, seed=self.job.seed)

    def changed(self, name: str) -> dict[str, Any]:
        if not self.inside:
            return dict(self.request) | {name: self.others[name]}
        return dict(self.request) | {self.inside: self.request[self.inside] | {name: self.others[name]}}


def _eachlabs(model: str, schema: type[BaseModel], fields: dict[str, Any], others: dict[str, Any], **job: Any) -> Asked:
    request = {"model": model, "input": fields}
    params = RenderParams(**{"reference_image": IMAGE, "driving_video": VIDEO, "seed": 5} | job)
    return Asked("eachlabs", schema, request, others, inside="input", job=params)


MOVE = {"image_url": IMAGE, "video_url": VIDEO, "seed": 5, "resolution": "720p"}
MOVED = {
    "image_url": OTHER,
    "video_url": OTHER,
    "resolution": "480p",
    "seed": 6,
    "num_inference_steps": 8,
    "enable_safety_checker": True,
    "shift": 3.0,
    "video_quality": "low",
    "video_write_mode": "small",
    "prompt": "x",
}
ASKED = [
    Asked(
        "native",
        native_schema.JobRequest,
        {"reference_image": IMAGE, "driving_video": VIDEO, "seed": 5},
        {
            "reference_image": OTHER,
            "driving_video": OTHER,
            "reference_kind": "video",
            "mode": "replace",
            "prompt": "x",
            "negative_prompt": "x",
            "resolution": "480p",
            "render_area": "128x96",
            "fps": 24,
            "seed": 6,
            "steps": 8,
            "shift": 3.0,
            "guidance_scale": 2.0,
            "turbo": True,
            "keep_audio": False,
            "overlap": 5,
            "num_frames": 9,
            "longest_s": 30.0,
            "body_control": False,
            "expression": 5,
            "safety_check": True,
            "anyway": True,
            "shortest_s": 3.0,
            "largest_bytes": 10**6,
            "webhook": {"url": "https://example.com/hook"},
            "retarget": True,
            "aspect_ratio": "1:1",
            "output_size": "640x480",
            "fit": "crop",
            "output_format": "webm",
            "quality": 50,
            "num_results": 2,
            "preflight": "strict",
            "mask_fit": "tight",
            "align": True,
            "keypoints": OTHER,
            "driving_audio": OTHER,
            "mask_video": OTHER,
            "neutral_reference": OTHER,
            "neutral_driver": OTHER,
            "start": 1.5,
            "duration": 2.0,
            "person": "center",
            "max_gap_s": 0.5,
            "smoothing": True,
        },
    ),
    Asked(
        "segmind",
        segmind.AnimateRequest,
        {"image": IMAGE, "video": VIDEO, "seed": 5, "disable_safety_checker": True},
        {
            "image": OTHER,
            "video": OTHER,
            "resolution": "1080p",
            "target_fps": "24",
            "seed": 6,
            "save_audio": False,
            "ignore_audio": True,
            "instruction_prompt": "x",
            "turbo": True,
            "disable_safety_checker": False,
        },
    ),
    Asked(
        "openai",
        openai.CreateRequest,
        {"prompt": "", "input_reference": {"image_url": IMAGE}, "driving_video": VIDEO, "seed": 5},
        {
            "prompt": "x",
            "input_reference": OTHER,
            "model": "wan2.2-replace",
            "size": "854x480",
            "seconds": 4,
            "driving_video": OTHER,
            "fps": 24,
            "seed": 6,
            "keep_audio": False,
            "turbo": True,
        },
    ),
    Asked(
        "runway",
        runway.PerformanceRequest,
        {
            "model": "act_two",
            "character": {"type": "image", "uri": IMAGE},
            "reference": {"type": "video", "uri": VIDEO},
            "seed": 5,
            "contentModeration": {"publicFigureThreshold": "low"},
        },
        {
            "model": "gen4",
            "character": {"type": "image", "uri": OTHER},
            "reference": {"type": "video", "uri": OTHER},
            "ratio": "720:1280",
            "seed": 6,
            "bodyControl": False,
            "expressionIntensity": 5,
            "contentModeration": {"publicFigureThreshold": "auto"},
        },
    ),
    Asked(
        "eachlabs",
        eachlabs.PredictionRequest,
        {"model": "wan-v2-2-14b-animate-move", "input": MOVE, "webhook_url": "https://example.com/hook"},
        {
            "model": "wan-v2-2-14b-animate-replace",
            "version": "0.0.2",
            "input": MOVE | {"seed": 6},
            "webhook_url": "https://example.com/other",
            "webhook_secret": "x",
        },
        job=RenderParams(reference_image=IMAGE, driving_video=VIDEO, seed=5, steps=20, shift=5.0),
    ),
    Asked(
        "runcomfy",
        runcomfy.ModelRequest,
        {"model_id": "community/wan-2-2/animate", "image_url": IMAGE, "video_url": VIDEO, "seed": 5},
        {
            "image_url": OTHER,
            "video_url": OTHER,
            "mode": "replace",
            "prompt": "x",
            "resolution": "480p",
            "fps": 24,
            "seed": 6,
            "keep_audio": False,
            "watermark": True,
        },
    ),
    Asked(
        "runninghub",
        runninghub.TransferRequest,
        {"299##image": IMAGE, "275##video": VIDEO},
        {"299##image": OTHER, "275##video": OTHER, "webhookUrl": "https://example.com/hook"},
        job=dataclasses.replace(JOB, mode="replace", longest_s=30.0),
        seeded=False,
    ),
    Asked(
        "runware",
        runware_schema.VideoInference,
        {
            "taskType": "videoInference",
            "taskUUID": TASK,
            "model": runware_schema.ANIMATE,
            "inputs": {"referenceImages": [IMAGE], "referenceVideos": [VIDEO]},
            "seed": 5,
        },
        {
            "taskType": "imageInference",
            "taskUUID": "1",
            "model": "runware:101@1",
            "inputs": {"referenceImages": [OTHER], "referenceVideos": [OTHER]},
            "positivePrompt": "x",
            "resolution": "1080p",
            "fps": 24,
            "seed": 6,
            "settings": {"preserveAudio": False, "turbo": True},
            "numberResults": 2,
            "outputFormat": "WEBM",
            "outputQuality": 50,
            "outputType": "base64Data",
            "deliveryMethod": "late",
            "includeCost": "yes",
            "ttl": 1,
            "webhookURL": "https://example.com/hook",
            "uploadEndpoint": "https://example.com/put",
            "safety": {"mode": "fast"},
            "routing": {"mode": "fast"},
        },
    ),
    _eachlabs("wan-v2-2-14b-animate-move", eachlabs_models.AnimateInput, MOVE, MOVED, steps=20, shift=5.0),
    _eachlabs(
        "wan-v2-2-14b-animate-replace",
        eachlabs_models.AnimateInput,
        MOVE,
        MOVED,
        mode="replace",
        steps=20,
        shift=5.0,
    ),
    _eachlabs(
        "runway-act-two",
        eachlabs_models.ActTwoInput,
        {
            "character_type": "image",
            "character_uri": IMAGE,
            "reference_uri": VIDEO,
            "aspect_ratio": "1280:720",
            "seed": 5,
        },
        {
            "character_type": "video",
            "character_uri": OTHER,
            "reference_uri": OTHER,
            "aspect_ratio": "720:1280",
            "body_control": False,
            "expression_intensity": 5,
            "seed": 6,
            "public_figure_moderation": "auto",
            "prompt": "x",
        },
        output_size=(1280, 720),
        shortest_s=3.0,
        largest_bytes=50_000_000,
    ),
]
every_schema = pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked.dialect}-{asked.schema.__name__}")


def test_every_dialect_is_in_the_table() -> None:
    assert {asked.dialect for asked in ASKED} == set(DIALECT_NAMES)
    prefixes = [dialect.prefix for dialect in DIALECTS.values()]
    assert len(set(prefixes)) == len(prefixes)


def test_the_core_names_no_service() -> None:
    package = Path(animate_server.__file__).parent
    words = (set(DIALECT_NAMES) - {"native"}) | {"apikey"}
    for file in package.rglob("*.py"):
        if package / "dialects" not in file.parents:
            text = file.read_text().lower().replace('"type": "apikey"', "")  # OpenAPI's own word
            assert [word for word in words if word in text] == [], file


@every_schema
def test_the_same_job_gives_the_same_params(asked: Asked) -> None:
    assert asked.parse(asked.request) == asked.job


@every_schema
def test_every_field_counts_is_refused_or_is_listed_as_ignored(asked: Asked) -> None:
    dialect = DIALECTS[asked.dialect]
    without_effect = set()
    names = [field.alias or name for name, field in asked.schema.model_fields.items()]
    for name in names:
        outcome = _outcome(asked, asked.changed(name))
        if isinstance(outcome, str):
            assert name in outcome.split(".")
        elif outcome == asked.read(asked.request):
            without_effect.add(f"{asked.inside}.{name}" if asked.inside else name)
    inner = {name.partition(".")[2] or name for name in dialect.ignored if name.startswith(f"{asked.inside}.")}
    listed = inner if asked.inside else {name for name in dialect.ignored if "." not in name}
    own = listed & set(names)
    assert without_effect == {f"{asked.inside}.{name}" if asked.inside else name for name in own}


def _outcome(asked: Asked, request: dict[str, Any]) -> tuple[RenderParams, Sequence[Webhook]] | str:
    """What is asked for, or the name of the field that is refused."""
    try:
        return asked.read(request)
    except InvalidField as refused:
        return refused.field or ""


@every_schema
def test_an_unknown_field_is_refused_by_name(asked: Asked) -> None:
    request = dict(asked.request) | {"colour": "red"}
    if asked.inside:
        request = dict(asked.request) | {asked.inside: asked.request[asked.inside] | {"colour": "red"}}
    with pytest.raises(InvalidField, match="colour"):
        DIALECTS[asked.dialect].parse(request)


def test_the_table_has_the_schemas_that_are_documented() -> None:
    for dialect in DIALECTS.values():
        asked = {asked.schema for asked in ASKED if asked.dialect == dialect.name}
        assert asked >= set(dialect.schemas.values()) - OTHER_WAYS, dialect.name


def test_the_settings_switch_dialects_off(serve: Any) -> None:
    with serve(worker=False, dialects="native,runway") as idle:
        assert idle.http.get("/runway/v1/organization").status_code == 200
        for path in ("/v1/videos", "/segmind/v2/requests/x", "/eachlabs/v1/models"):
            answer = idle.http.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        paths = httpx.get(f"{idle.url}/openapi.json").json()["paths"]
        assert {path.split("/")[1] for path in paths} == {"v1", "runway", "files", "health", "metrics"}


def test_a_job_behind_others_of_its_key_waits_in_each_services_words(serve: Any, png: bytes, mp4: bytes) -> None:
    with serve(max_running_per_key=1) as served:
        files = {"reference_image": png, "driving_video": mp4}
        first, second = (
            served.http.post("/v1/jobs", files=files, data={"prompt": "endless"}).json()["id"] for _ in range(2)
        )
        served.wait(first, "running")
        models = served.http.get("/runway/v1/organization").json()["tier"]["models"]
        assert models["act_two"]["maxConcurrentGenerations"] == 1
        shown = {path: served.http.get(f"{path}/{second}").json()["status"] for path in WAITING}
        assert shown == WAITING
        served.http.delete(f"/v1/jobs/{first}")
        served.wait(second, "running")
        assert served.http.get(f"/runway/v1/tasks/{second}").json()["status"] == "RUNNING"
