"""Calling back: the outbox with a clock moved by hand, and a receiver on loopback that answers as it is told."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from animate_pipelines.errors import NoPersonFound
from animate_server import store as store_module
from animate_server.app import create_app, make_courier
from animate_server.backend import Backend, open_backend
from animate_server.courier import Courier
from animate_server.dialects import load_dialects, native
from animate_server.jobs import Artefact, Job, JobStatus, NewJob
from animate_server.outbox import HOLD_S
from animate_server.settings import Settings
from animate_server.webhooks import Call, CallStatus, Webhook

KEY = "key-of-one-studio"
# the reference vector of the Standard Webhooks libraries
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SIGNED = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@dataclass
class Receiver:
    """Answers with `codes` in turn, and then with 200."""

    url: str = ""
    codes: list[int] = field(default_factory=list)
    seen: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    files: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def wait(self, count: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.seen) < count:
            assert time.monotonic() < deadline, f"{len(self.seen)} calls after 10 s"
            time.sleep(0.02)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.raw.append(body)
            made.seen.append(({name.lower(): value for name, value in self.headers.items()}, json.loads(body)))
            self.send_response(made.codes.pop(0) if made.codes else 200)
            self.send_header("location", f"{made.url}/elsewhere")
            self.end_headers()
            self.wfile.write(b"thanks")

        def do_PUT(self) -> None:
            made.files.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(made.codes.pop(0) if made.codes else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def open_courier(backend: Backend, **parts: Any) -> Courier:
    made = make_courier(backend, create_app(backend).state.ports.files, load_dialects(backend.settings.dialects))
    made._jitter = parts.get("jitter", lambda low, high: 1.0)
    made._resolver = parts.get("resolver", made._resolver)
    return made


@pytest.fixture
def allowed(make_settings: Callable[..., Settings], clock: Any) -> Iterator[Backend]:
    with open_backend(make_settings(fetch_allow="127.0.0.1"), clock=clock) as opened:
        yield opened


@pytest.fixture
def ended(allowed: Backend, new_job: Callable[..., NewJob]) -> Callable[..., Job]:
    """A finished job that owes a call."""

    def end(url: str, *, dialect: str = "native", secret: str = "", failed: bool = False) -> Job:
        webhook = Webhook(url=url, secret=secret)
        allowed.store.add(new_job(dialect=dialect, webhooks=(webhook,), base_url="https://studio.example"))
        job = allowed.store.claim("w")
        assert job is not None
        if failed:
            return allowed.store.fail(job, NoPersonFound("nobody in {field}", field="driving_video"))
        artefact = Artefact(name="a" * 32 + ".mp4", media_type="video/mp4", size_bytes=1, sha256="0", seed=1)
        return allowed.store.finish(job, [artefact], {"warnings": []})

    return end


def of(backend: Backend, job: Job) -> Call:
    return backend.outbox.of_job(job.id, job.owner)


# ---------------------------------------------------------------- the outbox


def test_a_call_is_owed_from_the_transaction_that_ends_the_job(
    allowed: Backend, new_job: Callable[..., NewJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed.store.add(new_job(webhooks=(Webhook(url="http://127.0.0.1:9/hook"),)))
    job = allowed.store.claim("w")
    assert job is not None
    assert (of(allowed, job).status, allowed.outbox.take_due()) == (CallStatus.WAITING, None)

    def crash(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "arm_calls", crash)
        with pytest.raises(RuntimeError):
            allowed.store.fail(job, NoPersonFound())
    assert allowed.store.get(job.id).status is JobStatus.RUNNING
    allowed.store.fail(job, NoPersonFound())
    assert of(allowed, job).status is CallStatus.PENDING


def test_retries_follow_the_schedule_with_one_body_and_one_id(
    allowed: Backend, clock: Any, receiver: Receiver, ended: Any
) -> None:
    receiver.codes = [500, 302, 404, 503, 500, 500, 500, 500, 500, 500]
    job, started = ended(receiver.url, secret=SECRET), clock.now
    courier, times = open_courier(allowed, jitter=lambda low, high: high), []
    assert courier.send_one()
    for pause in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400):
        assert not courier.send_one()
        clock.now += pause * 1.2 - 1
        assert not courier.send_one()
        clock.now += 1
        assert courier.send_one()
        times.append(clock.now - started)
    clock.now += 10**6
    assert not courier.send_one()
    call = of(allowed, job)
    assert (call.status, len(call.attempts), len(receiver.seen)) == (CallStatus.FAILED, 10, 10)
    assert [attempt.status_code for attempt in call.attempts[:3]] == [500, 302, 404]
    assert [attempt.at - started for attempt in call.attempts] == pytest.approx([0, *times])
    assert len(set(receiver.raw)) == 1
    assert {headers["webhook-id"] for headers, _ in receiver.seen} == {call.id}
    assert len({headers["webhook-signature"] for headers, _ in receiver.seen}) == 10  # the time is signed too


def test_a_restart_and_a_sender_that_died(
    allowed: Backend, clock: Any, receiver: Receiver, ended: Any, make_settings: Callable[..., Settings]
) -> None:
    job = ended(receiver.url)
    assert allowed.outbox.take_due() is not None  # and then killed
    with open_backend(make_settings(fetch_allow="127.0.0.1"), clock=clock) as again:
        courier = open_courier(again)
        assert not courier.send_one()
        clock.now += HOLD_S["POST"]
        assert courier.send_one()
        assert of(again, job).status is CallStatus.DELIVERED
    ((headers, body),) = receiver.seen
    assert (body["type"], body["data"]["id"]) == ("job.succeeded", job.id)
    assert body["data"]["artefact"]["url"].startswith("https://studio.example/files/")
    assert "webhook-signature" not in headers


def test_an_address_that_has_become_forbidden_is_not_connected_to(allowed: Backend, ended: Any) -> None:
    job = ended("http://hook.example/x?token=hunter2")
    assert open_courier(allowed, resolver=lambda host, port: [ip_address("10.0.0.1")]).send_one()
    (attempt,) = of(allowed, job).attempts
    assert (attempt.status_code, "10.0.0.1" in attempt.error, "hunter2" in attempt.error) == (None, False, False)
    assert attempt.error.startswith("hook.example is not a public address")


def test_nobody_answers(allowed: Backend, ended: Any) -> None:
    job = ended("http://127.0.0.1:9/hook")
    assert open_courier(allowed).send_one()
    call = of(allowed, job)
    assert (call.status, call.attempts[0].status_code) == (CallStatus.PENDING, None)
    assert call.attempts[0].error.startswith("http://127.0.0.1:9/hook could not be fetched")


def test_a_job_that_expired_before_the_first_attempt(
    allowed: Backend, clock: Any, receiver: Receiver, ended: Any
) -> None:
    job = ended(receiver.url)
    clock.now += 8 * 24 * 3600
    allowed.store.expire()
    assert open_courier(allowed).send_one()
    assert (of(allowed, job).status, receiver.seen) == (CallStatus.FAILED, [])


# ---------------------------------------------------------------- sending the file


def finish_with_file(backend: Backend, new: NewJob, data: bytes, folder: Path) -> Job:
    backend.store.add(new)
    job = backend.store.claim("w")
    assert job is not None
    file = folder / "made.mp4"
    file.write_bytes(data)
    return backend.store.finish(job, [backend.artefacts.publish(file, 1)], {"warnings": []})


def test_a_file_is_put_where_it_is_wanted(
    allowed: Backend, clock: Any, receiver: Receiver, new_job: Callable[..., NewJob], tmp_path: Path
) -> None:
    receiver.codes = [503]
    data = bytes(range(256)) * 9000  # more than one chunk
    wanted = (Webhook(url=receiver.url), Webhook(url=receiver.url + "/put?signature=hunter2", method="PUT"))
    job = finish_with_file(allowed, new_job(dialect="runware", webhooks=wanted), data, tmp_path)
    courier = open_courier(allowed)
    assert (courier.send_one("PUT"), courier.send_one("PUT")) == (True, False)
    clock.now += 10
    assert courier.send_one("PUT")
    (first, _), (headers, body) = receiver.files
    assert (body == data, headers["content-type"], headers["content-length"]) == (True, "video/mp4", str(len(data)))
    assert "transfer-encoding" not in {name.lower() for name in first}
    put, told = allowed.outbox.list(job.owner)
    assert (put.method, put.status, [made.status_code for made in put.attempts]) == ("PUT", "delivered", [503, 200])
    assert (told.method, told.status, of(allowed, job).id) == ("POST", "pending", told.id)
    assert (courier.send_one("POST"), len(receiver.seen)) == (True, 1)


def test_nothing_is_put_for_a_job_that_failed(
    allowed: Backend, receiver: Receiver, new_job: Callable[..., NewJob]
) -> None:
    allowed.store.add(new_job(dialect="runware", webhooks=(Webhook(url=receiver.url, method="PUT"),)))
    job = allowed.store.claim("w")
    assert job is not None
    allowed.store.fail(job, NoPersonFound("nobody in {field}", field="driving_video"))
    assert open_courier(allowed).send_one("PUT")
    assert (receiver.files, allowed.outbox.list(job.owner)) == ([], [])


def test_a_file_that_is_gone_is_not_put(
    allowed: Backend, receiver: Receiver, new_job: Callable[..., NewJob], tmp_path: Path
) -> None:
    wanted = (Webhook(url=receiver.url, method="PUT"),)
    job = finish_with_file(allowed, new_job(dialect="runware", webhooks=wanted), b"x", tmp_path)
    allowed.artefacts.remove(job.artefacts)
    assert open_courier(allowed).send_one("PUT")
    (call,) = allowed.outbox.list(job.owner)
    assert (call.status, call.attempts[0].error, receiver.files) == ("failed", "there is no such file", [])


# ---------------------------------------------------------------- what each service sends


def test_the_signature_of_the_specification() -> None:
    call_id, now, body = SIGNED
    call = Call(
        id=call_id,
        job_id="",
        owner="",
        dialect="native",
        method="POST",
        url="",
        secret=SECRET,
        base_url="",
        status=CallStatus.PENDING,
        body=body,
        tries=0,
        attempts=(),
        created_at=0.0,
        updated_at=0.0,
    )
    assert native.sign_webhook(call, body, now + 0.9) == {
        "webhook-id": call_id,
        "webhook-timestamp": str(now),
        "webhook-signature": SIGNATURE,
    }


def test_eachlabs_three_attempts_and_the_secret_verbatim(
    allowed: Backend, clock: Any, receiver: Receiver, ended: Any
) -> None:
    receiver.codes = [500, 500, 500]
    job = ended(receiver.url, dialect="eachlabs", secret="s3cret", failed=True)
    courier = open_courier(allowed)
    for _ in range(3):
        assert courier.send_one()
        assert not courier.send_one()
        clock.now += 10
    assert (of(allowed, job).status, len(receiver.seen)) == (CallStatus.FAILED, 3)
    headers, body = receiver.seen[0]
    assert headers["x-webhook-secret"] == "s3cret"
    assert (body["exec_id"], body["flow_id"], body["status"], body["error"]) == (job.id, None, "failed", "")
    (output,) = body["output"]
    assert (output["id"], output["status"], output["error"]) == (job.id, "error", "nobody in video_url")
    assert output["output"]["error_code"] == "no_person_found"


def _inline(png: bytes, mp4: bytes) -> tuple[str, str]:
    return (
        f"data:image/png;base64,{base64.b64encode(png).decode()}",
        f"data:video/mp4;base64,{base64.b64encode(mp4).decode()}",
    )


def test_eachlabs_end_to_end(serve: Any, receiver: Receiver, png: bytes, mp4: bytes) -> None:
    image, video = _inline(png, mp4)
    ask = {
        "model": "wan-v2-2-14b-animate-move",
        "input": {"image_url": image, "video_url": video},
        "webhook_url": f"{receiver.url}?token=1",
        "webhook_secret": "s",
    }
    with serve(fetch_allow="127.0.0.1") as served:
        execution = served.http.post("/eachlabs/v1/prediction", json=ask).json()["predictionID"]
        receiver.wait(1)
        headers, body = receiver.seen[0]
        done = served.http.get(f"/eachlabs/v1/prediction/{execution}").json()
        assert (headers["x-webhook-secret"], headers["content-type"]) == ("s", "application/json")
        expected = {"exec_id": execution, "flow_id": None, "status": "succeeded", "error": "", "output": done["output"]}
        assert body == expected
        deadline = time.monotonic() + 10
        while (log := served.http.get(f"/eachlabs/v1/webhooks/{execution}").json())["status"] == "PENDING":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (attempt,) = log["attempts"]
        assert (log["webhook_url"], attempt["status"], attempt["status_code"], attempt["response"]) == (
            f"{receiver.url}?...",
            "SUCCESS",
            200,
            "thanks",
        )
        assert served.http.get("/eachlabs/v1/webhooks").json() == {"webhooks": [log]}
        other = {"x-api-key": "key-of-another"}
        assert served.http.get(f"/eachlabs/v1/webhooks/{execution}", headers=other).status_code == 404
        assert served.http.get("/eachlabs/v1/webhooks", headers=other).json() == {"webhooks": []}


def test_eachlabs_does_not_call_about_a_cancelled_prediction(
    allowed: Backend, receiver: Receiver, new_job: Callable[..., NewJob]
) -> None:
    new = new_job(dialect="eachlabs", webhooks=(Webhook(url=receiver.url),))
    allowed.store.add(new)
    allowed.store.request_cancel(new.id, new.owner)
    courier = open_courier(allowed)
    assert courier.send_one()
    assert (courier.send_one(), receiver.seen, allowed.outbox.list(new.owner)) == (False, [], [])


def test_runninghub_event_detail_and_retry(serve: Any, receiver: Receiver, png: bytes, mp4: bytes) -> None:
    image, video = _inline(png, mp4)
    submit = "/runninghub/openapi/v2/rhart-video/wan2.2/character-motion-transfer"
    with serve(fetch_allow="127.0.0.1") as served:

        def old(call: str, **fields: Any) -> dict[str, Any]:
            return dict(served.http.post(f"/runninghub/task/openapi/{call}", json={"apiKey": KEY} | fields).json())

        ask = {"299##image": image, "275##video": video, "webhookUrl": receiver.url}
        task = served.http.post(submit, json=ask).json()["taskId"]
        receiver.wait(1)
        event = receiver.seen[0][1]
        assert (event["event"], event["taskId"]) == ("TASK_END", task)
        assert json.loads(event["eventData"]) == old("outputs", taskId=task)
        deadline = time.monotonic() + 10
        while (detail := old("getWebhookDetail", taskId=task)["data"])["callbackStatus"] != "SUCCESS":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert (detail["taskId"], detail["webhookUrl"], detail["retryCount"]) == (task, receiver.url, 0)
        assert json.loads(detail["eventData"]) == event
        assert old("retryWebhook", webhookId=detail["id"], webhookUrl=f"{receiver.url}/new")["code"] == 0
        receiver.wait(2)
        assert receiver.raw[0] == receiver.raw[1]
        assert old("retryWebhook", webhookId="none")["code"] == 807
        refused = old("retryWebhook", webhookId=detail["id"], webhookUrl="http://10.0.0.1/")
        assert (refused["code"], refused["msg"][:10]) == (301, "webhookUrl")
        silent = served.http.post(submit, json={"299##image": image, "275##video": video}).json()["taskId"]
        assert old("getWebhookDetail", taskId=silent)["code"] == 807


def test_runware_is_told_what_getresponse_would_say_and_sent_the_file(
    serve: Any, receiver: Receiver, png: bytes, mp4: bytes
) -> None:
    image, video = _inline(png, mp4)
    two, one = (
        {
            "taskType": "videoInference",
            "taskUUID": f"5f0d3c6e-3a52-4a6e-9a3e-0a4c1a0d9f1{count}",
            "model": "prunaai:p-video@animate",
            "inputs": {"referenceImages": [image], "referenceVideos": [video]},
            "deliveryMethod": "async",
            "numberResults": count,
        }
        for count in (2, 1)
    )
    with serve(fetch_allow="127.0.0.1") as served:

        def say(**task: Any) -> Any:
            return served.http.post("/runware/v1", json=[task]).json()

        say(**two, webhookURL=f"{receiver.url}?token=x")
        receiver.wait(1)
        assert receiver.seen[0][1] == say(taskType="getResponse", taskUUID=two["taskUUID"])
        assert len(receiver.seen[0][1]["data"]) == 2

        say(**one, uploadEndpoint=f"{receiver.url}?signature=x")
        deadline = time.monotonic() + 10
        while not (uploads := say(taskType="getTaskDetails", taskUUID=one["taskUUID"])["data"][0]["uploads"]) or (
            uploads[0]["status"] not in ("delivered", "failed")
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert uploads == [{"url": f"{receiver.url}?...", "status": "delivered", "attempts": 1}]
        url = say(taskType="getResponse", taskUUID=one["taskUUID"])["data"][0]["videoURL"]
        assert receiver.files[0][1] == served.http.get(url).content


def test_native_log_and_resend(serve: Any, receiver: Receiver, png: bytes, mp4: bytes) -> None:
    image, video = _inline(png, mp4)
    ask = {"reference_image": image, "driving_video": video}
    with serve(fetch_allow="127.0.0.1") as served:
        job = served.http.post("/v1/jobs", json=ask | {"webhook": {"url": receiver.url, "secret": SECRET}}).json()
        receiver.wait(1)
        path = f"/v1/jobs/{job['id']}/webhook"
        served.wait(job["id"], "succeeded")
        first = receiver.seen[0][0]
        assert first["webhook-signature"].startswith("v1,")
        assert served.http.post(path).json()["id"] == first["webhook-id"]
        receiver.wait(2)
        assert receiver.seen[1][0]["webhook-id"] == first["webhook-id"]
        form = {"webhook": json.dumps({"url": receiver.url})}
        files = {"reference_image": png, "driving_video": mp4}
        assert served.http.post("/v1/jobs", data=form, files=files).status_code == 202
        receiver.wait(3)
        plain = served.http.post("/v1/jobs", json=ask).json()
        assert served.http.get(f"/v1/jobs/{plain['id']}/webhook").status_code == 404


REFUSED: list[tuple[Any, str, str]] = [
    ({"url": "http://10.0.0.1/"}, "webhook.url", "webhook.url: 10.0.0.1 is not a public address"),
    ({"url": "ftp://example.com/"}, "webhook.url", "webhook.url: the scheme must be http or https"),
    ({"url": "https://example.com/", "secret": "whsec_c2hvcnQ="}, "webhook.secret", "webhook.secret must be whsec_"),
    ({"url": "https://example.com/", "secret": "hunter2"}, "webhook.secret", "webhook.secret must be whsec_"),
    ({}, "webhook.url", "webhook.url is required"),
    ({"url": "https://example.com/", "events": []}, "webhook.events", "webhook.events is not a field here"),
    ("https://example.com/", "webhook", "webhook must be an object"),
]


@pytest.mark.parametrize(("webhook", "name", "words"), REFUSED)
def test_bad_webhooks_are_refused_by_name(idle: Any, webhook: Any, name: str, words: str) -> None:
    ask = {"reference_image": "https://example.com/a.png", "driving_video": "https://example.com/b.mp4"}
    answer = idle.http.post("/v1/jobs", json=ask | {"webhook": webhook})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, name)
    assert error["message"].startswith(words)
    assert "hunter2" not in answer.text
    assert idle.http.get("/v1/jobs").json()["jobs"] == []


def test_a_call_before_the_end(idle: Any) -> None:
    ask = {"reference_image": "https://example.com/a.png", "driving_video": "https://example.com/b.mp4"}
    job = idle.http.post("/v1/jobs", json=ask | {"webhook": {"url": "https://example.com/hook?t=1"}}).json()
    path = f"/v1/jobs/{job['id']}/webhook"
    shown = idle.http.get(path).json()
    assert (shown["url"], shown["status"], shown["attempts"]) == ("https://example.com/hook?...", "waiting", [])
    early = idle.http.post(path)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "job_unfinished")


def test_a_removed_job_calls_nobody(allowed: Backend, receiver: Receiver, ended: Any) -> None:
    job = ended(receiver.url)
    allowed.store.remove(job.id, job.owner)
    assert (open_courier(allowed).send_one(), allowed.outbox.list(job.owner)) == (False, [])
