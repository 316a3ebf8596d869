"""What goes wrong, in each service's words: one table of status and body for every situation and every dialect."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from animate_pipelines.errors import AnimateError, ContentRefused, MediaError, NoPersonFound
from animate_pipelines.request.params import RenderParams
from animate_server.auth import Keyring
from animate_server.backend import Backend
from animate_server.dialects import DIALECT_NAMES
from animate_server.jobs import NewJob

KEY = "key-of-one-studio"
IMAGE, VIDEO = "https://example.com/a.png", "https://example.com/b.mp4"
Answer = tuple[int, Any]


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """submit: where to, and the fields. video: the path of the field without which nothing goes. look: at one job."""

    submit: str
    fields: Mapping[str, Any]
    video: tuple[str, ...]
    look: Callable[[str], tuple[str, str, Any]]
    in_list: bool = False

    def body(self, fields: Mapping[str, Any]) -> Any:
        return [fields] if self.in_list else fields

    def without_video(self) -> dict[str, Any]:
        *outer, name = self.video
        inner = dict(self.fields[outer[0]] if outer else self.fields)
        del inner[name]
        return dict(self.fields) | {outer[0]: inner} if outer else inner


SPEAKERS = {
    "native": Speaker(
        submit="/v1/jobs",
        fields={"reference_image": IMAGE, "driving_video": VIDEO},
        video=("driving_video",),
        look=lambda job: ("GET", f"/v1/jobs/{job}", None),
    ),
    "segmind": Speaker(
        submit="/segmind/v2/p-video-animate",
        fields={"image": IMAGE, "video": VIDEO},
        video=("video",),
        look=lambda job: ("GET", f"/segmind/v2/requests/{job}", None),
    ),
    "openai": Speaker(
        submit="/v1/videos",
        fields={"prompt": "", "input_reference": IMAGE, "driving_video": VIDEO},
        video=("driving_video",),
        look=lambda job: ("GET", f"/v1/videos/{job}", None),
    ),
    "runway": Speaker(
        submit="/runway/v1/character_performance",
        fields={
            "model": "act_two",
            "character": {"type": "image", "uri": IMAGE},
            "reference": {"type": "video", "uri": VIDEO},
        },
        video=("reference",),
        look=lambda job: ("GET", f"/runway/v1/tasks/{job}", None),
    ),
    "eachlabs": Speaker(
        submit="/eachlabs/v1/prediction",
        fields={"model": "wan-v2-2-14b-animate-move", "input": {"image_url": IMAGE, "video_url": VIDEO}},
        video=("input", "video_url"),
        look=lambda job: ("GET", f"/eachlabs/v1/prediction/{job}", None),
    ),
    "runcomfy": Speaker(
        submit="/runcomfy/v1/models/community/wan-2-2/animate",
        fields={"image_url": IMAGE, "video_url": VIDEO},
        video=("video_url",),
        look=lambda job: ("GET", f"/runcomfy/v1/requests/{job}/result", None),
    ),
    "runninghub": Speaker(
        submit="/runninghub/openapi/v2/rhart-video/wan2.2/character-motion-transfer",
        fields={"299##image": IMAGE, "275##video": VIDEO},
        video=("275##video",),
        look=lambda job: ("POST", "/runninghub/openapi/v2/query", {"taskId": job}),
    ),
    "runware": Speaker(
        submit="/runware/v1",
        fields={
            "taskType": "videoInference",
            "taskUUID": str(uuid.uuid4()),
            "model": "prunaai:p-video@animate",
            "inputs": {"referenceImages": [IMAGE], "referenceVideos": [VIDEO]},
            "deliveryMethod": "async",
        },
        video=("inputs", "referenceVideos"),
        look=lambda job: ("POST", "/runware/v1", [{"taskType": "getResponse", "taskUUID": job}]),
        in_list=True,
    ),
}


def _error(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code} | more}


def _openai(code: str, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return _error(code, type=kind, **more)


def _runway(*path: str) -> dict[str, Any]:
    return {"error": "Validation of body failed", "issues": [{"path": list(path)}]}


def _eachlabs(code: str, category: str) -> dict[str, Any]:
    output = {"error_code": code, "classification": {"category": category}, "success": False, "status": "ERROR"}
    return {"status": "error", "output": output}


def _runware(code: str, **more: Any) -> dict[str, Any]:
    return {"errors": [{"code": code} | more]}


# Of each body what is given here must be there; str stands for any text that is not empty.
SEGMIND = (
    "disable_safety_checker, ignore_audio, image, instruction_prompt, resolution, save_audio, seed, target_fps, turbo, "
    "video"
)
RUNNINGHUB = "275##video, 299##image, webhookUrl"
ANSWERS: dict[str, dict[str, Answer]] = {
    "native": {
        "malformed": (400, _error("body_invalid")),
        "missing": (422, _error("invalid_field", field="driving_video")),
        "unsupported": (422, _error("invalid_field", field="colour")),
        "unauthorised": (401, _error("not_authorized")),
        "unknown": (404, _error("not_found")),
        "expired": (200, {"status": "expired"}),
        "rate-limited": (429, _error("too_many_requests")),
        "over-capacity": (429, _error("queue_full")),
        "failed": (200, {"status": "failed"} | _error("no_person_found")),
        "blocked": (200, {"status": "failed"} | _error("content_refused")),
        "cancelled": (200, {"status": "canceled"}),
    },
    "segmind": {
        "malformed": (400, {"error": str}),
        "missing": (400, {"error": "video is required"}),
        "unsupported": (400, {"error": f"colour is not a field here; there are {SEGMIND}"}),
        "unauthorised": (401, {"error": str}),
        "unknown": (404, {"error": str}),
        "expired": (404, {"error": str}),
        "rate-limited": (429, {"error": str}),
        "over-capacity": (429, {"error": str}),
        "failed": (422, {"status": "FAILED", "error": "nobody in video"}),
        "blocked": (422, {"status": "FAILED", "error": str}),
        "cancelled": (422, {"status": "FAILED", "error": "The request was canceled"}),
    },
    "openai": {
        "malformed": (400, _openai("body_invalid")),
        "missing": (400, _openai("invalid_field", param="driving_video")),
        "unsupported": (400, _openai("invalid_field", param="colour")),
        "unauthorised": (401, _openai("invalid_api_key")),
        "unknown": (404, _openai("not_found")),
        "expired": (404, _openai("not_found")),
        "rate-limited": (429, _openai("rate_limit_exceeded", "rate_limit_error")),
        "over-capacity": (429, _openai("rate_limit_exceeded", "rate_limit_error")),
        "failed": (200, {"status": "failed"} | _error("no_person_found")),
        "blocked": (200, {"status": "failed"} | _error("moderation_blocked", param="input_reference")),
        "cancelled": (404, _openai("not_found")),
    },
    "runway": {
        "malformed": (400, {"error": str}),
        "missing": (400, _runway("reference")),
        "unsupported": (400, _runway("colour")),
        "unauthorised": (401, {"error": str}),
        "unknown": (404, {"error": str}),
        "expired": (404, {"error": str}),
        "rate-limited": (429, {"error": str}),
        "over-capacity": (429, {"error": str}),
        "failed": (200, {"status": "FAILED", "failure": "nobody in reference.uri", "failureCode": "ASSET.INVALID"}),
        "blocked": (200, {"status": "FAILED", "failure": str, "failureCode": "SAFETY.INPUT.IMAGE"}),
        "cancelled": (404, {"error": str}),
    },
    "eachlabs": {
        "malformed": (400, {"error": str}),
        "missing": (400, {"error": "Invalid input for model", "details": "video_url is required"}),
        "unsupported": (400, {"error": "Invalid input for model", "details": str}),
        "unauthorised": (401, {"error": "Invalid or missing API key"}),
        "unknown": (404, {"error": "Prediction not found"}),
        "expired": (404, {"error": "Prediction not found"}),
        "rate-limited": (429, {"status": 429, "error": "too many requests", "details": str}),
        "over-capacity": (429, {"status": 429, "error": "too many requests", "details": str}),
        "failed": (200, _eachlabs("no_person_found", "user_error")),
        "blocked": (200, _eachlabs("content_refused", "content_policy")),
        "cancelled": (200, {"status": "cancelled", "output": None}),
    },
    "runcomfy": {
        "malformed": (400, {"error_code": 400001, "error_message": str}),
        "missing": (422, {"error_code": 422001, "error_message": str, "detail": "video_url"}),
        "unsupported": (422, {"error_code": 422001, "error_message": str, "detail": "colour"}),
        "unauthorised": (401, {"error_code": 401001, "error_message": str}),
        "unknown": (404, {"error_code": 404001, "error_message": str}),
        "expired": (404, {"error_code": 404001, "error_message": str}),
        "rate-limited": (429, {"error_code": 429001, "error_message": str}),
        "over-capacity": (429, {"error_code": 429001, "error_message": str}),
        "failed": (200, {"status": "failed", "output": None, "error": "nobody in video_url"}),
        "blocked": (200, {"status": "failed", "output": None, "error": str}),
        "cancelled": (200, {"status": "cancelled", "output": None, "error": None}),
    },
    "runninghub": {
        "malformed": (200, {"errorCode": "1007", "errorMessage": str}),
        "missing": (200, {"errorCode": "1007", "errorMessage": "275##video is required"}),
        "unsupported": (
            200,
            {
                "errorCode": "1007",
                "errorMessage": "colour is not a field here; there are 275##video, 299##image, webhookUrl",
            },
        ),
        "unauthorised": (200, {"errorCode": "1002", "errorMessage": str, "code": 802}),
        "unknown": (200, {"errorCode": "1004", "errorMessage": str, "code": 807}),
        "expired": (200, {"errorCode": "1004", "errorMessage": str, "code": 807}),
        "rate-limited": (200, {"errorCode": "1003", "errorMessage": str, "code": 421}),
        "over-capacity": (200, {"errorCode": "1520", "errorMessage": str, "code": 421}),
        "failed": (200, {"status": "FAILED", "errorCode": "1015", "errorMessage": "nobody in 275##video"}),
        "blocked": (200, {"status": "FAILED", "errorCode": "1501", "errorMessage": str}),
        "cancelled": (200, {"status": "CANCEL", "errorCode": "", "errorMessage": ""}),
    },
    "runware": {
        "malformed": (400, _runware("invalidRequestBody")),
        "missing": (400, _runware("missingReferenceVideos", parameter="inputs.referenceVideos", taskUUID=str)),
        "unsupported": (400, _runware("unsupportedColour", parameter="colour", taskUUID=str)),
        "unauthorised": (401, _runware("invalidApiKey", parameter="apiKey", taskType="authentication")),
        "unknown": (404, _runware("taskFailedOrNotFound", taskUUID=str)),
        "expired": (404, _runware("taskFailedOrNotFound", taskUUID=str)),
        "rate-limited": (429, _runware("rateLimitExceeded", taskUUID=str)),
        "over-capacity": (429, _runware("rateLimitExceeded", taskUUID=str)),
        "failed": (200, _runware("invalidReferenceVideos", status="error", taskUUID=str)),
        "blocked": (200, _runware("invalidContent", status="error", parameter="inputs.referenceImages")),
        "cancelled": (200, _runware("taskCancelled", status="error", taskUUID=str)),
    },
}


def test_the_table_is_whole() -> None:
    assert set(SPEAKERS) == set(ANSWERS) == set(DIALECT_NAMES)
    assert {tuple(answers) for answers in ANSWERS.values()} == {tuple(ANSWERS["native"])}


def test_requests_that_cannot_be_taken(idle: Any, subtests: pytest.Subtests) -> None:
    for name, speaker in SPEAKERS.items():
        answers = {
            "malformed": idle.http.post(speaker.submit, content=b"{"),
            "missing": idle.http.post(speaker.submit, json=speaker.body(speaker.without_video())),
            "unsupported": idle.http.post(speaker.submit, json=speaker.body(dict(speaker.fields) | {"colour": "red"})),
            "unauthorised": httpx.post(
                idle.url + speaker.submit, json=speaker.body(speaker.fields), headers={"x-api-key": "wrong"}
            ),
        }
        _check(subtests, name, answers)
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_too_many_requests(serve: Any, subtests: pytest.Subtests) -> None:
    with serve(worker=False, max_requests_per_minute=1) as idle:
        idle.http.post("/v1/jobs", json={"reference_image": IMAGE, "driving_video": VIDEO})
        for name, speaker in SPEAKERS.items():
            answer = idle.http.post(speaker.submit, json=speaker.body(speaker.fields))
            _check(subtests, name, {"rate-limited": answer})


def test_a_full_queue(serve: Any, subtests: pytest.Subtests) -> None:
    with serve(worker=False, max_queued=1) as idle:
        idle.http.post("/v1/jobs", json={"reference_image": IMAGE, "driving_video": VIDEO})
        for name, speaker in SPEAKERS.items():
            answer = idle.http.post(speaker.submit, json=speaker.body(speaker.fields))
            _check(subtests, name, {"over-capacity": answer})


def test_jobs_that_ended_without_a_video(idle: Any, subtests: pytest.Subtests) -> None:
    nobody = NoPersonFound("nobody in {field}", field="driving_video")
    refused = ContentRefused("{field} is refused", field="reference_image")
    for name, speaker in SPEAKERS.items():
        ids = {
            "unknown": str(uuid.uuid4()),
            "failed": _failed(idle.backend, name, nobody),
            "blocked": _failed(idle.backend, name, refused),
            "cancelled": _cancelled(idle.backend, name),
        }
        _check(subtests, name, {situation: _look(idle, speaker, job) for situation, job in ids.items()})


def test_an_error_calls_its_field_as_it_is_told() -> None:
    error = MediaError("{field} is {field_of_grass}", field="driving_video", value=5)
    theirs = error.named({"driving_video": "video_url", "seed": "random_seed"})
    assert (str(theirs), theirs.field, theirs.value) == ("video_url is {field_of_grass}", "video_url", 5)
    assert isinstance(theirs, MediaError)
    assert (str(error), error.to_json()["message"]) == ("driving_video is {field_of_grass}",) * 2
    assert str(error.named({"seed": "random_seed"})) == str(error)


@pytest.mark.parametrize(
    ("model", "field"), [("wan-v2-2-14b-animate-move", "video_url"), ("runway-act-two", "reference_uri")]
)
def test_a_failed_prediction_calls_its_field_as_its_model_does(idle: Any, model: str, field: str) -> None:
    job, _ = _queued(idle.backend, "eachlabs", request={"model": model})
    claimed = idle.backend.store.claim("w")
    idle.backend.store.fail(claimed, MediaError("{field} is empty", field="driving_video"))
    shown = idle.http.get(f"/eachlabs/v1/prediction/{job}").json()
    assert shown["output"]["error"] == f"{field} is empty"


def test_jobs_that_have_expired(serve: Any, subtests: pytest.Subtests) -> None:
    with serve(worker=False, job_retention_s=0.001) as idle:
        jobs = {name: _failed(idle.backend, name, NoPersonFound("nobody")) for name in SPEAKERS}
        time.sleep(0.01)
        assert len(idle.backend.store.expire()) == len(jobs)
        for name, speaker in SPEAKERS.items():
            _check(subtests, name, {"expired": _look(idle, speaker, jobs[name])})


def _look(idle: Any, speaker: Speaker, job_id: str) -> httpx.Response:
    method, path, body = speaker.look(job_id)
    return idle.http.request(method, path, json=body)  # type: ignore[no-any-return]


def _queued(backend: Backend, dialect: str, **values: Any) -> tuple[str, str]:
    owner = Keyring([KEY]).owner({"x-api-key": KEY})
    params = RenderParams(reference_image=IMAGE, driving_video=VIDEO)
    new = NewJob(id=str(uuid.uuid4()), owner=owner, dialect=dialect, params=params, **values)
    return backend.store.add(new).id, owner


def _failed(backend: Backend, dialect: str, error: AnimateError) -> str:
    _queued(backend, dialect)
    job = backend.store.claim("w")
    assert job is not None
    return backend.store.fail(job, error).id


def _cancelled(backend: Backend, dialect: str) -> str:
    return backend.store.request_cancel(*_queued(backend, dialect)).id


def _check(subtests: pytest.Subtests, dialect: str, answers: Mapping[str, httpx.Response]) -> None:
    for situation, answer in answers.items():
        with subtests.test(dialect=dialect, situation=situation):
            status, body = ANSWERS[dialect][situation]
            assert (answer.status_code, _differences(body, answer.json())) == (status, []), answer.text


def _differences(expected: Any, shown: Any, path: str = "") -> list[str]:
    if isinstance(expected, dict) and isinstance(shown, dict):
        pairs = [(expected[name], shown.get(name, "nothing at all"), f"{path}.{name}") for name in expected]
        return [difference for pair in pairs for difference in _differences(*pair)]
    if isinstance(expected, list) and isinstance(shown, list) and len(expected) == len(shown):
        pairs = [(*pair, f"{path}[{index}]") for index, pair in enumerate(zip(expected, shown, strict=True))]
        return [difference for pair in pairs for difference in _differences(*pair)]
    same = isinstance(shown, str) and shown != "" if expected is str else expected == shown
    return [] if same else [f"{path}: {expected!r}, not {shown!r}"]
