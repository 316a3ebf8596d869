"""Files come from a hub whole, or not at all, and go on where they stopped (a hub on loopback)."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from animate_server.cli import app
from animate_server.cli.hub import Hub, HubError

CONTENT = bytes(range(256)) * 1000


@dataclass
class HubOnLoopback:
    """What it serves, by repository and path. broken_after: bytes after which a download is cut off, the next times."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    broken_after: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    lies: bool = False


@pytest.fixture
def hub() -> Iterator[HubOnLoopback]:
    state = HubOnLoopback()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path.startswith("/api/models/"):
                self._list(path.removeprefix("/api/models/").removesuffix("/tree/main"))
            else:
                repository, _, name = path[1:].partition("/resolve/main/")
                self._send(state.files.get(repository, {}).get(name))

        def _list(self, repository: str) -> None:
            """Two to a page."""
            entries = [_entry(name, data, lies=state.lies) for name, data in state.files.get(repository, {}).items()]
            page = int(self.path.partition("page=")[2] or 0)
            body = json.dumps([{"type": "directory", "path": "x", "oid": "", "size": 0}, *entries[page : page + 2]])
            self.send_response(200)
            if page + 2 < len(entries):
                following = f"{state.url}/api/models/{repository}/tree/main?recursive=true&page={page + 2}"
                self.send_header("Link", f'<{following}>; rel="next"')
            self.end_headers()
            self.wfile.write(body.encode())

        def _send(self, data: bytes | None) -> None:
            if data is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            stop = state.broken_after.pop() if state.broken_after else len(data)
            self.wfile.write(data[start : start + stop])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def _entry(name: str, data: bytes, *, lies: bool) -> dict[str, object]:
    sha256 = "0" * 64 if lies else hashlib.sha256(data).hexdigest()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    large = {"lfs": {"oid": sha256, "size": len(data)}} if len(data) > 10_000 else {}
    return {"type": "file", "path": name, "oid": git, "size": len(data)} | large


def test_files_are_listed_over_pages(hub: HubOnLoopback) -> None:
    hub.files["a/b"] = dict.fromkeys(("vae/1", "vae/2", "other", "vae/3", "index"), b"x")
    with Hub(hub.url) as client:
        assert [file.path for file in client.list("a/b", ["vae/*", "index"])] == ["index", "vae/1", "vae/2", "vae/3"]


def test_a_download_goes_on_where_it_broke(hub: HubOnLoopback, tmp_path: Path) -> None:
    hub.files["a/b"] = {"model": CONTENT}
    hub.broken_after = [100_000, 50_000]
    seen: list[int] = []
    slept: list[float] = []
    with Hub(hub.url, sleep=slept.append) as client:
        (file,) = client.list("a/b", ["*"])
        digest = client.fetch(file, tmp_path / "sub/model", seen.append)
    assert digest == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "sub/model").read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=50000-", "bytes=150000-"]
    assert sum(seen) == len(CONTENT)
    assert slept == [1.0, 2.0]
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["model"]


def test_a_later_call_goes_on_and_a_finished_file_is_not_fetched_again(hub: HubOnLoopback, tmp_path: Path) -> None:
    hub.files["a/b"] = {"model": CONTENT}
    (tmp_path / ".model.part").write_bytes(CONTENT[:200_000])
    with Hub(hub.url) as client:
        (file,) = client.list("a/b", ["*"])
        client.fetch(file, tmp_path / "model", lambda num_bytes: None)
        client.fetch(file, tmp_path / "model", lambda num_bytes: None)
    assert hub.ranges == ["bytes=200000-"]


def test_what_has_another_hash_is_refused_and_removed(hub: HubOnLoopback, tmp_path: Path) -> None:
    hub.files["a/b"], hub.lies = {"model": CONTENT}, True
    with Hub(hub.url) as client:
        (file,) = client.list("a/b", ["*"])
        with pytest.raises(HubError, match="another hash"):
            client.fetch(file, tmp_path / "model", lambda num_bytes: None)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_leads_outside_is_refused(hub: HubOnLoopback) -> None:
    hub.files["a/b"] = {"../../evil": b"x"}
    with Hub(hub.url) as client, pytest.raises(HubError, match="leads outside"):
        client.list("a/b", ["*"])


def test_an_absent_hub_and_an_absent_repository_are_said(hub: HubOnLoopback, tmp_path: Path) -> None:
    with Hub("http://127.0.0.1:9") as client, pytest.raises(HubError, match="cannot be reached"):
        client.list("a/b", ["*"])
    hub.files["a/b"] = {"model": b"x"}
    with Hub(hub.url) as client:
        (file,) = client.list("a/b", ["*"])
        del hub.files["a/b"]["model"]
        with pytest.raises(HubError, match="404"):
            client.fetch(file, tmp_path / "model", lambda num_bytes: None)


def test_fetch_makes_a_bundle(hub: HubOnLoopback, tiny_bundle: Path, tmp_path: Path) -> None:
    published = {p.relative_to(tiny_bundle).as_posix(): p.read_bytes() for p in tiny_bundle.rglob("*") if p.is_file()}
    del published["manifest.json"]
    lora = published.pop("loras/lightx2v_4step.safetensors")
    networks = {name: data for name, data in published.items() if name.startswith("process_checkpoint/")}
    hub.files["Wan-AI/Wan2.2-Animate-14B"] = networks
    hub.files["Wan-AI/Wan2.2-Animate-14B-Diffusers"] = published
    hub.files["lightx2v/Wan2.1-Distill-Loras"] = {"wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors": lora}
    folder = tmp_path / "fetched"
    done = CliRunner().invoke(app, ["weights", "fetch", str(folder), "--form", "diffusers", "--endpoint", hub.url])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(folder)
    assert "fetch: 4.0 MB of 4.0 MB" in done.stderr
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["turbo_lora"] == "loras/wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"
    checked = CliRunner().invoke(app, ["weights", "verify", str(folder), "--json"])
    assert checked.exit_code == 0, checked.output
    verdicts = {v["subject"]: v["state"] for v in json.loads(checked.stdout.splitlines()[-1])["verdicts"]}
    assert (verdicts["bytes"], verdicts["animate"], verdicts["turbo"]) == ("ok", "ok", "ok")


def test_fetch_says_what_the_hub_lacks(hub: HubOnLoopback, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["weights", "fetch", str(tmp_path / "new"), "--endpoint", hub.url, "--json"])
    assert done.exit_code == 65
    assert "Wan-AI/Wan2.2-Animate-14B has no config.json" in json.loads(done.stdout)["error"]["message"]
