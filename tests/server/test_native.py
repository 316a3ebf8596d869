from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from animate_server.errors import TooManyRequests
from animate_server.jobs import JobStatus
from animate_server.rates import RateLimit

URLS = {"reference_image": "https://example.com/a.png", "driving_video": "https://example.com/b.mp4"}


def data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def inline(png: bytes, mp4: bytes) -> dict[str, Any]:
    return {"reference_image": data_uri("image/png", png), "driving_video": data_uri("video/mp4", mp4)}


def files_of(served: Any) -> list[str]:
    home = served.backend.settings
    folders = (home.uploads_dir, home.artefacts_dir, home.work_dir)
    return [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_a_job_from_data_uris_to_an_mp4(served: Any, inline: dict[str, Any], mp4: bytes) -> None:
    answer = served.http.post("/v1/jobs", json=inline | {"seed": 7, "render_area": "128x96", "fps": 24})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["url"] == f"{served.url}/v1/jobs/{job['id']}"
    assert (job["status"], job["progress"], job["artefact"]) == ("queued", None, None)
    done = served.wait(job["id"], "succeeded")
    assert done["params"]["seed"] == 7
    assert done["params"]["render_area"] == [128, 96]
    assert done["result"] == {"width": 64, "height": 64, "seed": 7, "warnings": [], "safety": "off"}
    artefact = done["artefact"]
    assert artefact["sha256"] == hashlib.sha256(mp4).hexdigest()
    assert httpx.get(artefact["url"]).content == mp4  # no key
    redirect = served.http.get(f"/v1/jobs/{job['id']}/artefact")
    assert (redirect.status_code, redirect.headers["location"]) == (307, artefact["url"])


def test_several_results_of_another_shape(served: Any, inline: dict[str, Any], mp4: bytes) -> None:
    asked = inline | {"num_results": 2, "seed": 7, "aspect_ratio": "9:16", "resolution": "480p", "fit": "crop"}
    done = served.wait(served.http.post("/v1/jobs", json=asked).json()["id"], "succeeded")
    assert (done["params"]["output_size"], done["params"]["fit"]) == ([480, 854], "crop")
    assert [artefact["seed"] for artefact in done["artefacts"]] == [7, 8]
    assert done["artefact"] == done["artefacts"][0]
    for artefact in done["artefacts"]:
        assert httpx.get(artefact["url"]).content == mp4
    assert [(params.seed, params.num_results) for params in served.renderer.seen] == [(7, 1), (8, 1)]
    assert served.http.delete(f"/v1/jobs/{done['id']}").status_code == 204
    assert files_of(served) == []


def test_range_and_head(served: Any, inline: dict[str, Any], mp4: bytes) -> None:
    job = served.wait(served.http.post("/v1/jobs", json=inline).json()["id"], "succeeded")
    url = job["artefact"]["url"]
    head = httpx.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(mp4))
    assert head.headers["content-type"] == "video/mp4"
    assert head.headers["accept-ranges"] == "bytes"
    part = httpx.get(url, headers={"range": "bytes=4-11"})
    assert (part.status_code, part.content) == (206, mp4[4:12])
    assert part.headers["content-range"] == f"bytes 4-11/{len(mp4)}"
    assert httpx.get(url, headers={"range": f"bytes={len(mp4)}-"}).status_code == 416


def test_a_form_with_files(served: Any, png: bytes, mp4: bytes) -> None:
    answer = served.http.post(
        "/v1/jobs",
        data={"fps": "48", "keep_audio": "false", "prompt": "12", "render_area": "64x64"},
        files={"reference_image": ("a.png", png), "driving_video": ("../../b.mp4", mp4)},
    )
    assert answer.status_code == 202, answer.text
    params = answer.json()["params"]
    assert (params["fps"], params["keep_audio"], params["prompt"]) == (48, False, "12")
    served.wait(answer.json()["id"], "succeeded")


@pytest.mark.parametrize("form", [False, True])
def test_uploads_are_used_by_id_and_by_url(served: Any, png: bytes, mp4: bytes, form: bool) -> None:
    def upload(data: bytes) -> dict[str, Any]:
        request: dict[str, Any] = {"files": {"file": ("x", data)}} if form else {"content": data}
        answer = served.http.post("/v1/uploads", **request)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    image, video = upload(png), upload(mp4)
    assert (image["media_type"], image["size_bytes"]) == ("image/png", len(png))
    assert httpx.get(image["url"]).content == png
    job = served.http.post("/v1/jobs", json={"reference_image": image["id"], "driving_video": video["url"]}).json()
    served.wait(job["id"], "succeeded")


def test_urls_are_fetched_in_the_job_where_the_allow_list_lets_them(serve: Any, png: bytes, mp4: bytes) -> None:
    with serve(fetch_allow="localhost") as served:
        image, video = (served.http.post("/v1/uploads", content=data).json()["url"] for data in (png, mp4))
        elsewhere = {"reference_image": image, "driving_video": video.replace("127.0.0.1", "localhost")}
        served.wait(served.http.post("/v1/jobs", json=elsewhere).json()["id"], "succeeded")
        missing = elsewhere | {"driving_video": f"http://localhost:{served.url.rpartition(':')[2]}/files/none?token=x"}
        failed = served.wait(served.http.post("/v1/jobs", json=missing).json()["id"], "failed")
        assert failed["error"]["code"] == "fetch_failed"
        assert failed["error"]["field"] == "driving_video"
        assert failed["error"]["message"].endswith("/files/none?... answered 404")
        refused = elsewhere | {"driving_video": video.replace("127.0.0.1", "127.0.0.2")}
        assert served.http.post("/v1/jobs", json=refused).status_code == 422


def test_events_end_with_the_job(served: Any, inline: dict[str, Any]) -> None:
    job = served.http.post("/v1/jobs", json=inline).json()
    with served.http.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    shown = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert shown[-1]["status"] == "succeeded"
    assert shown[-1]["artefact"]["url"].startswith(served.url)


def test_cancel_while_queued_and_while_running(serve: Any, inline: dict[str, Any]) -> None:
    with serve(worker=False) as idle:
        job = idle.http.post("/v1/jobs", json=inline).json()
        assert idle.http.delete(f"/v1/jobs/{job['id']}").json()["status"] == "canceled"
    with serve() as served:
        job = served.http.post("/v1/jobs", json=inline | {"prompt": "endless"}).json()
        served.wait(job["id"], "running")
        assert served.http.delete(f"/v1/jobs/{job['id']}").json()["cancel_requested"]
        served.wait(job["id"], "canceled")
        assert served.http.get(f"/v1/jobs/{job['id']}/artefact").status_code == 409


def test_removing_a_finished_job_removes_its_files(served: Any, inline: dict[str, Any]) -> None:
    job = served.wait(served.http.post("/v1/jobs", json=inline).json()["id"], "succeeded")
    assert files_of(served) != []
    assert served.http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert served.http.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert httpx.get(job["artefact"]["url"]).status_code == 404
    assert files_of(served) == []


def test_failed_jobs_say_why(served: Any, inline: dict[str, Any]) -> None:
    job = served.http.post("/v1/jobs", json=inline | {"prompt": "nobody"}).json()
    failed = served.wait(job["id"], "failed")
    assert failed["error"] == {
        "code": "no_person_found",
        "message": "no person in 0 of 90 frames",
        "field": "driving_video",
        "value": 0,
        "limit": "at least 1",
    }
    assert failed["attempts"] == 1


def test_lists_are_paged_and_private(idle: Any, inline: dict[str, Any]) -> None:
    ids = [idle.http.post("/v1/jobs", json=inline).json()["id"] for _ in range(3)]
    first = idle.http.get("/v1/jobs", params={"limit": 2}).json()
    assert ([job["id"] for job in first["jobs"]], first["next"]) == ([ids[2], ids[1]], ids[1])
    second = idle.http.get("/v1/jobs", params={"limit": 2, "after": first["next"]}).json()
    assert ([job["id"] for job in second["jobs"]], second["next"]) == ([ids[0]], None)
    assert idle.http.get("/v1/jobs", params={"status": "failed"}).json()["jobs"] == []
    other = {"x-api-key": "key-of-another"}
    assert idle.http.get("/v1/jobs", headers=other).json()["jobs"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/artefact")):
        assert idle.http.request(method, f"/v1/jobs/{ids[0]}{path}", headers=other).status_code == 404


def test_anothers_upload_does_not_exist(idle: Any, png: bytes) -> None:
    upload = idle.http.post("/v1/uploads", content=png).json()
    job = URLS | {"reference_image": upload["id"]}
    answer = idle.http.post("/v1/jobs", json=job, headers={"x-api-key": "key-of-another"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "reference_image")


@pytest.mark.parametrize(("prompt", "status"), [("", "succeeded"), ("nobody", "failed")])
def test_what_was_seen_is_told_of_every_job_that_looked(
    prompt: str, status: str, served: Any, inline: dict[str, Any]
) -> None:
    job = served.http.post("/v1/jobs", json=inline | {"prompt": prompt}).json()
    served.wait(job["id"], status)
    report, picture = served.http.get(job["report_url"]), served.http.get(job["report_url"] + ".png")
    assert (report.json(), report.headers["content-type"]) == ({"num_frames": 90}, "application/json")
    assert (picture.content[:4], picture.headers["content-type"]) == (b"\x89PNG", "image/png")
    assert served.http.get(job["report_url"], headers={"x-api-key": "key-of-another"}).status_code == 404
    served.http.delete(job["url"])
    assert served.http.get(job["report_url"]).status_code == 404
    assert list(served.backend.settings.reports_dir.iterdir()) == []


def test_the_masks_of_a_replacement_are_shown(served: Any, inline: dict[str, Any]) -> None:
    answers = {}
    for mode in ("animate", "replace"):
        job = served.http.post("/v1/jobs", json=inline | {"mode": mode}).json()
        served.wait(job["id"], "succeeded")
        answers[mode] = served.http.get(job["url"] + "/masks.png")
    shown = answers["replace"]
    assert (shown.status_code, shown.content[:4], shown.headers["content-type"]) == (200, b"\x89PNG", "image/png")
    assert (answers["animate"].status_code, answers["animate"].json()["error"]["code"]) == (404, "not_found")
    served.http.delete(job["url"])
    assert served.http.get(job["url"] + "/masks.png").status_code == 404


def test_a_job_that_has_not_looked_has_no_report(idle: Any, inline: dict[str, Any]) -> None:
    job = idle.http.post("/v1/jobs", json=inline).json()
    assert idle.http.get(job["report_url"]).status_code == 404


BAD: list[tuple[dict[str, Any], int, str, Any, Any]] = [
    ({"fps": 0}, 422, "fps", 0, "whole number from 1 to 120"),
    ({"fps": 24.5}, 422, "fps", 24.5, "whole number from 1 to 120"),
    ({"resolution": "4k"}, 422, "resolution", "4k", "480p, 580p, 720p, 1080p"),
    ({"mode": "dance"}, 422, "mode", "dance", "animate, replace, image-to-video, speak"),
    ({"seed": -1}, 422, "seed", -1, "whole number from 0 to 9007199254740991"),
    ({"steps": 101}, 422, "steps", 101, "whole number from 1 to 100"),
    ({"overlap": 3}, 422, "overlap", 3, "1, 5"),
    ({"prompt": "x" * 2001}, 422, "prompt", 2001, "0 to 2000 characters, none of them NUL"),
    ({"render_area": "1x1"}, 422, "render_area", "(1, 1)", "WIDTHxHEIGHT, each 16 to 2048 px"),
    ({"render_area": "wide"}, 422, "render_area", "wide", "WIDTHxHEIGHT, each 16 to 2048 px"),
    ({"aspect_ratio": "2:1"}, 422, "aspect_ratio", "2:1", "source, 9:16, 1:1, 4:3, 3:4, 16:9"),
    ({"aspect_ratio": "1:1", "output_size": "64x64"}, 422, "aspect_ratio", "1:1", ...),
    ({"num_results": 5}, 422, "num_results", 5, "whole number from 1 to 4"),
    ({"person": "tallest"}, 422, "person", "tallest", ...),
    ({"max_gap_s": 61}, 422, "max_gap_s", 61, "number from 0 to 60"),
    ({"start": -1}, 422, "start", -1, "number from 0 to 86400"),
    ({"smoothing": "yes"}, 422, "smoothing", "yes", "true or false"),
    ({"keep_audio": "yes"}, 422, "keep_audio", "yes", "true or false"),
    ({"turbo": True}, 422, "turbo", True, False),
    ({"colour": "red"}, 422, "colour", None, ...),
    ({"reference_image": "/etc/passwd"}, 422, "reference_image", "/etc/passwd", ...),
    ({"reference_image": "file:///etc/passwd"}, 422, "reference_image", "file:///etc/passwd", ...),
    ({"reference_image": "inline:driving_video"}, 422, "reference_image", ..., ...),
    ({"reference_image": "upload:../../etc/passwd"}, 404, "reference_image", "../../etc/passwd", None),
    ({"driving_video": "http://169.254.169.254/latest"}, 422, "driving_video", "169.254.169.254", ...),
    ({"driving_video": "http://localhost:6379/"}, 422, "driving_video", "localhost", ...),
    ({"driving_video": "https://u:p@example.com/"}, 422, "driving_video", "https://example.com/", None),
    ({"driving_video": "data:video/mp4;base64,AAA"}, 422, "driving_video", None, None),
    ({"driving_video": data_uri("video/mp4", b"#EXTM3U\nfile:///etc/passwd")}, 422, "driving_video", ..., ...),
    ({"reference_image": data_uri("image/png", b"<svg onload=x>")}, 422, "reference_image", "an SVG", ...),
    ({"prompt": "data:text/plain,hello"}, 422, "prompt", None, None),
]


def test_bad_input_names_field_value_and_limit_and_leaves_nothing(
    served: Any, inline: dict[str, Any], subtests: pytest.Subtests
) -> None:
    # with a worker: whether there is turbo is known once a bundle is loaded
    for change, status, field, value, limit in BAD:
        with subtests.test(change=str(change)[:80]):
            answer = served.http.post("/v1/jobs", json=inline | change)
            error = answer.json()["error"]
            assert (answer.status_code, error["field"]) == (status, field), error
            assert value is ... or error.get("value") == value
            assert limit is ... or error.get("limit") == limit
            assert served.http.get("/v1/jobs").json()["jobs"] == []
            assert files_of(served) == []


BAD_BODIES = [
    (b"{", "application/json", 400, "body_invalid"),
    (b"[]", "application/json", 400, "body_invalid"),
    (b'{"seed": NaN}', "application/json", 400, "body_invalid"),
    (b"[" * 100_000, "application/json", 400, "body_invalid"),
    (b"<x/>", "text/xml", 400, "body_invalid"),
    (b"nonsense", "multipart/form-data; boundary=x", 400, "body_invalid"),
    (b"nonsense", "multipart/form-data", 400, "body_invalid"),
    (b"{}", "application/json", 422, "invalid_field"),
    (b" " * 200_000, "application/json", 413, "body_too_large"),
]


def test_bad_bodies(serve: Any, subtests: pytest.Subtests) -> None:
    with serve(worker=False, max_json_bytes=150_000) as idle:
        for body, content_type, status, code in BAD_BODIES:
            with subtests.test(body=body[:20], content_type=content_type):
                answer = idle.http.post("/v1/jobs", content=body, headers={"content-type": content_type})
                assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_field_given_twice_is_refused(idle: Any, png: bytes) -> None:
    answer = idle.http.post("/v1/jobs", files=[("reference_image", png), ("reference_image", png)])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "body_invalid")


def test_a_chunked_body_is_cut_off_at_the_limit(serve: Any) -> None:
    with serve(worker=False, max_file_bytes=100_000) as idle:
        sent = iter([b"\x89PNG\r\n\x1a\n" + bytes(2**20)] * 40)
        answer = idle.http.post("/v1/uploads", content=sent)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["limit"]) == (413, "body_too_large", 100_000 + 2**20)
        assert files_of(idle) == []


def test_files_over_the_limit(serve: Any, png: bytes, mp4: bytes) -> None:
    with serve(worker=False, max_file_bytes=1000) as idle:
        answer = idle.http.post("/v1/jobs", files={"reference_image": png, "driving_video": mp4})
        error = answer.json()["error"]
        assert (answer.status_code, error["field"], error["limit"]) == (413, "driving_video", 1000)
        assert files_of(idle) == []


@pytest.mark.parametrize("name", ["reference_image", "driving_video"])
def test_image_and_video_mixed_up(idle: Any, png: bytes, mp4: bytes, name: str) -> None:
    both = {"reference_image": png, "driving_video": mp4}
    both[name] = mp4 if name == "reference_image" else png
    answer = idle.http.post("/v1/jobs", files=both)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, name)
    assert files_of(idle) == []


def test_a_huge_picture_is_refused_by_its_header(idle: Any, make_huge_png: bytes, mp4: bytes) -> None:
    answer = idle.http.post("/v1/jobs", files={"reference_image": make_huge_png, "driving_video": mp4})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["value"]) == (413, "media_too_large", "65000x65000")


@pytest.fixture
def make_huge_png(png: bytes) -> bytes:
    return png[:16] + (65000).to_bytes(4, "big") * 2 + png[24:]


def test_idempotency(idle: Any, inline: dict[str, Any]) -> None:
    def post(fields: dict[str, Any]) -> httpx.Response:
        return idle.http.post("/v1/jobs", json=fields, headers={"idempotency-key": "k"})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(post, [inline] * 12))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(files_of(idle)) == 2
    conflict = post(inline | {"fps": 24})
    assert (conflict.status_code, conflict.json()["error"]["code"]) == (409, "idempotency_key_reused")


def test_a_full_queue_and_a_full_disk(serve: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        idle.http.post("/v1/jobs", json=URLS)
        answer = idle.http.post("/v1/jobs", json=URLS)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    with serve(worker=False, min_free_disk=0.999999) as idle:
        answer = idle.http.post("/v1/jobs", json=URLS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")


def test_one_key_may_send_so_many_in_a_minute(serve: Any, png: bytes) -> None:
    with serve(worker=False, max_requests_per_minute=2) as idle:
        idle.http.post("/v1/jobs", json=URLS)
        idle.http.post("/v1/uploads", content=png)
        answer = idle.http.post("/v1/jobs", json=URLS)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        other = idle.http.post("/v1/jobs", json=URLS, headers={"x-api-key": "key-of-another"})
        assert other.status_code == 202
        assert idle.http.get("/v1/jobs").status_code == 200


def test_the_rate_recovers(clock: Any) -> None:
    rate = RateLimit(60, clock=clock)
    for _ in range(60):
        rate.take("owner")
    with pytest.raises(TooManyRequests) as refused:
        rate.take("owner")
    assert refused.value.retry_after_s == 1
    clock.now += 2
    rate.take("owner")
    rate.take("owner")
    with pytest.raises(TooManyRequests):
        rate.take("owner")


def test_a_submit_with_urls_needs_no_network(idle: Any) -> None:
    answer = idle.http.post(
        "/v1/jobs", json=URLS | {"driving_video": "https://no-such-host.example/v.mp4?token=hunter2"}
    )
    assert answer.status_code == 202
    assert "hunter2" not in answer.text


def test_looking_at_a_job_reads_no_table_through(serve: Any) -> None:
    with serve(worker=False) as idle:
        _, job = (idle.http.post("/v1/jobs", json=URLS).json()["id"] for _ in range(2))
        asked: list[tuple[str, Any]] = []

        def note(*call: Any) -> None:
            asked.append(call[2:4])

        event.listen(Engine, "before_cursor_execute", note)
        try:
            assert idle.http.get(f"/v1/jobs/{job}").json()["id"] == job
            assert len(idle.http.get("/v1/jobs", params={"limit": 1, "after": job}).json()["jobs"]) == 1
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        with idle.backend.engine.begin() as connection:
            plans = [
                step.detail
                for statement, values in asked
                for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]
        assert any("jobs" in plan for plan in plans)
        assert not [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan], plans


def test_a_closing_server_lets_go_of_those_who_watch(serve: Any) -> None:
    with serve(worker=False) as idle:
        job = idle.http.post("/v1/jobs", json=URLS).json()
        lines: list[str] = []

        def follow() -> None:
            with httpx.stream(
                "GET", job["events_url"], headers={"authorization": "Bearer key-of-one-studio"}
            ) as stream:
                lines.extend(stream.iter_lines())

        thread = threading.Thread(target=follow)
        thread.start()
        while not idle.backend.store.counts()[JobStatus.QUEUED]:
            time.sleep(0.01)
        time.sleep(0.1)
    thread.join(5)
    assert not thread.is_alive()
    assert lines[0] == "event: job"
