from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from animate_pipelines.errors import (
    BundleNotFound,
    Canceled,
    DeviceError,
    InvalidField,
    NoPersonFound,
    ServerError,
)
from animate_pipelines.progress.progress import Progress
from animate_server.cli import app, main
from animate_server.cli.console import exit_code, print_error, progress_report
from animate_server.cli.credentials import Credentials, credentials_path, find_credentials, store_credentials
from animate_server.errors import NotAuthorized, QueueFull

KEY = "key-of-one-studio"
Run = Callable[..., Any]


@pytest.fixture
def pair(tmp_path: Path, png: bytes, mp4: bytes) -> dict[str, str]:
    (tmp_path / "a.png").write_bytes(png)
    (tmp_path / "b.mp4").write_bytes(mp4)
    return {"reference_image": str(tmp_path / "a.png"), "driving_video": str(tmp_path / "b.mp4")}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(server: str, fields: Any, *options: str, key: str = KEY, model: str = "animate") -> Any:
        text = fields if isinstance(fields, str) else json.dumps(fields)
        fixed = ["--server", server, "--key", key, "--output-dir", str(tmp_path / "out"), "--poll-s", "0.05"]
        return CliRunner().invoke(app, ["run", model, "--input", text, *fixed, *options])

    return call


def test_run_writes_the_video_and_prints_its_path(served: Any, run: Run, pair: Any, mp4: bytes) -> None:
    done = run(served.url, pair | {"prompt": "slow"}, model="replace")
    assert done.exit_code == 0, done.output
    assert Path(done.stdout.strip()).read_bytes() == mp4
    assert "rendering, segment 1/1" in done.stderr
    (params,) = served.renderer.seen
    assert params.mode == "replace"


def test_run_for_machines(served: Any, run: Run, pair: Any) -> None:
    done = run(served.url, pair, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["status"] == "succeeded"
    assert Path(lines[-1]["output"]).is_file()
    assert {line["status"] for line in lines[:-1]} <= {"running"}
    failed = run(served.url, pair | {"prompt": "nobody"}, "--json")
    last = json.loads(failed.stdout.splitlines()[-1])
    assert (failed.exit_code, last["error"]["code"]) == (1, "no_person_found")


def test_run_reads_a_file(served: Any, run: Run, pair: Any, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text(json.dumps(pair))
    assert run(served.url, f"@{tmp_path / 'input.json'}").exit_code == 0


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"prompt": "nobody"}, 1, "no person in 0 of 90 frames"),
        ({"fps": 0}, 65, "--fps must be a whole number from 1 to 120, not 0"),
        ({"colour": "red"}, 65, "colour is not a field here"),
        ({"driving_video": "/no/such/file"}, 65, "--video: there is no file /no/such/file"),
        ({"driving_video": "http://10.0.0.1/"}, 65, "--video: 10.0.0.1 is not a public address"),
    ],
)
def test_run_exit_codes(served: Any, run: Run, pair: Any, change: Any, code: int, words: str) -> None:
    done = run(served.url, pair | change)
    assert done.exit_code == code, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()[-1:]) == 1


def test_run_with_bad_json_a_bad_key_and_without_a_server(served: Any, run: Run, pair: Any) -> None:
    assert run(served.url, "{").exit_code == 65
    assert run(served.url, "[]").exit_code == 65
    assert run(served.url, pair, key="wrong").exit_code == 77
    assert run("http://127.0.0.1:1", pair).exit_code == 75


def test_a_full_queue_is_retryable_and_our_fault_is_69(serve: Any, run: Run, pair: Any, monkeypatch: Any) -> None:
    with serve(worker=False, max_queued=1) as idle:
        idle.http.post(
            "/v1/jobs", json={"reference_image": "https://a.example/", "driving_video": "https://b.example/"}
        )
        assert run(idle.url, pair).exit_code == 75

        def broken(*_: Any) -> None:
            raise RuntimeError

        monkeypatch.setattr(idle.backend.store, "add", broken)
        assert run(idle.url, pair).exit_code == 69


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "dance", "--input", "{}"], ["nothing"], ["serve", "--port", "x"]]
)
def test_bad_arguments_exit_64(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["animate-server", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 64


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ANIMATE_MAX_QUEUED", "many")
    monkeypatch.setattr(sys, "argv", ["animate-server", "serve"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 65
    assert capsys.readouterr().err.startswith("error: ANIMATE_MAX_QUEUED must be a whole number")


def test_ctrl_c_cancels_the_job(served: Any, pair: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "animate_server", "run", "animate", "--server", served.url, "--key", KEY]
    fields = json.dumps(pair | {"prompt": "endless"})
    with subprocess.Popen(
        [*command, "--input", fields, "--output-dir", str(tmp_path), "--poll-s", "0.1"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts the tests in the background has them, and their children, ignore it.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 20
        while not (found := served.http.get("/v1/jobs", params={"status": "running"}).json()["jobs"]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)  # let it come to its poll
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"job {found[0]['id']} is canceled" in errors
    served.wait(found[0]["id"], "canceled")


def test_login_stores_the_key_for_its_server_only(served: Any) -> None:
    runner = CliRunner()
    refused = runner.invoke(app, ["login", "--server", served.url, "--key", "wrong"])
    assert (refused.exit_code, credentials_path().exists()) == (77, False)
    assert runner.invoke(app, ["login", "--server", served.url], input=f"{KEY}\n").exit_code == 0
    assert stat.S_IMODE(credentials_path().stat().st_mode) == 0o600
    assert find_credentials(None, None) == Credentials(server=served.url, key=KEY)
    assert find_credentials("http://elsewhere.example", None).key == ""


def test_options_win_over_variables_and_those_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    store_credentials(Credentials(server="http://a.example", key="stored"))
    monkeypatch.setenv("ANIMATE_API_KEY", "variable")
    assert find_credentials(None, None).key == "variable"
    monkeypatch.setenv("ANIMATE_SERVER", "http://b.example/")
    assert find_credentials(None, None).server == "http://b.example"
    assert find_credentials("http://c.example", "option") == Credentials(server="http://c.example", key="option")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidField(), 65),
        (NoPersonFound(), 65),
        (NotAuthorized(), 77),
        (QueueFull(), 75),
        (Canceled(), 1),
        (ServerError(), 69),
        (DeviceError(), 69),
        (BundleNotFound(), 69),
    ],
)
def test_exit_codes_say_whose_fault_it_is(error: Any, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(InvalidField("two\nlines", field="fps", value=0, limit="1 to 120"))
    assert capsys.readouterr().err == "error: --fps: two lines\n"
    print_error(InvalidField("bad", field="fps"), as_json=True)
    assert json.loads(capsys.readouterr().out)["error"] == {"code": "invalid_field", "message": "bad", "field": "fps"}


def test_progress_in_a_pipe_is_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_report("job 1") as report:
        for step in range(3):
            report(Progress(stage="render", fraction=0.5, segment=0, num_segments=2, step=step, num_steps=3))
        report(Progress(stage="render", fraction=0.7, segment=1, num_segments=2, seconds_left=75))
    assert capsys.readouterr().err.splitlines() == [
        "job 1: 50% rendering, segment 1/2, step 0/3",
        "job 1: 70% rendering, segment 2/2, 1 min 15 s left",
    ]


def test_progress_in_a_terminal_is_a_bar() -> None:
    script = (
        "from animate_server.cli.console import progress_report as p\n"
        "from animate_pipelines.progress.progress import Progress\n"
        "with p('job 1') as report: report(Progress(stage='render', fraction=0.5, seconds_left=3.0))"
    )
    import pty

    read, write = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=write, check=True, env=os.environ | {"TERM": "xterm"})
    os.close(write)
    shown = os.read(read, 65536).decode()
    os.close(read)
    assert "50 %" in shown
    assert "3 s left" in shown
