from __future__ import annotations

import ipaddress
import shutil
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from animate_pipelines.errors import Canceled, FetchError, MediaTooLarge
from animate_server.addresses import AddressPolicy
from animate_server.fetch import fetch

LOOPBACK = AddressPolicy.of(["127.0.0.1"])
DATA = bytes(range(256)) * 40


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.seen.append((self.headers["host"], self.path))  # type: ignore[attr-defined]
        if path.startswith("/hop/"):
            left = int(path.removeprefix("/hop/"))
            self._redirect(f"/hop/{left - 1}" if left else "/file")
        elif path == "/to":
            self._redirect(self.path.partition("?")[2])
        elif path == "/missing":
            self.send_error(404)
        else:
            self._send(path)

    def _redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("location", location)
        self.send_header("content-length", "0")
        self.end_headers()

    def _send(self, path: str) -> None:
        self.send_response(200)
        if path != "/endless":
            self.send_header("content-length", str(len(DATA)))
        self.end_headers()
        try:
            for _ in range(10_000 if path == "/endless" else 1):
                self.wfile.write(DATA)
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[ThreadingHTTPServer]:
    socketserver.TCPServer.allow_reuse_address = True
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(origin: ThreadingHTTPServer, path: str, destination: Path, **options: Any) -> Any:
    host = options.pop("host", "127.0.0.1")
    defaults: dict[str, Any] = {"field": "driving_video", "limit_bytes": 10**6, "timeout_s": 20, "policy": LOOPBACK}
    return fetch(f"http://{host}:{origin.server_port}{path}", destination, **defaults | options)


def test_fetch(origin: Any, tmp_path: Path) -> None:
    written = get(origin, "/file?token=hunter2", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert written.size_bytes == len(DATA)
    assert origin.seen == [(f"127.0.0.1:{origin.server_port}", "/file?token=hunter2")]


def test_without_an_allow_list_nothing_is_connected(origin: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as refused:
        get(origin, "/file", tmp_path / "a", policy=AddressPolicy.of([]))
    assert refused.value.field == "driving_video"
    assert origin.seen == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for films.example, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path / "films.pem"
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=films.example"]
    names = ["-addext", "subjectAltName=DNS:films.example", "-keyout", str(path), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([openssl, *made, *names], check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "cert.pem").read_text())
    return path


def test_https_is_checked_by_name_though_the_address_is_pinned(
    origin: Any, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    origin.socket = context.wrap_socket(origin.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def get_from(host: str) -> None:
        fetch(
            f"https://{host}:{origin.server_port}/file",
            tmp_path / host,
            field="driving_video",
            limit_bytes=10**6,
            timeout_s=20,
            policy=LOOPBACK,
            resolver=lambda *_: [ipaddress.ip_address("127.0.0.1")],
        )

    get_from("films.example")
    assert (tmp_path / "films.example").read_bytes() == DATA
    with pytest.raises(FetchError, match="could not be fetched"):
        get_from("other.example")


def test_redirects_are_followed_ten_times(origin: Any, tmp_path: Path) -> None:
    get(origin, "/hop/9", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    with pytest.raises(FetchError, match="more than 10 redirects"):
        get(origin, "/hop/10", tmp_path / "b")


def test_blanks_around_an_address_are_left_out(origin: Any, tmp_path: Path) -> None:
    fetch(
        f" http://127.0.0.1:{origin.server_port}/file\n",
        tmp_path / "a",
        field="driving_video",
        limit_bytes=10**6,
        timeout_s=20,
        policy=LOOPBACK,
    )
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.2:{port}/file", "http://[::1]:{port}/file", "http://2130706433:{port}/", "file:///etc/passwd"],
)
def test_redirects_are_checked(origin: Any, tmp_path: Path, location: str) -> None:
    with pytest.raises(Exception, match=r".") as refused:
        get(origin, "/to?" + location.format(port=origin.server_port), tmp_path / "a")
    assert getattr(refused.value, "fault", None) == "request"
    assert len(origin.seen) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_checked_address_is_the_one_connected(origin: Any, tmp_path: Path) -> None:
    """A name that answers differently the second time (DNS rebinding) is asked once."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    asked = []

    def resolver(host: str, port: int) -> list[Any]:
        asked.append((host, port))
        return [ipaddress.ip_address(text) for text in next(answers)]

    get(origin, "/file", tmp_path / "a", host="films.example", resolver=resolver)
    assert asked == [("films.example", origin.server_port)]
    assert origin.seen[0][0] == f"films.example:{origin.server_port}"


def test_one_bad_address_of_a_name_is_enough_to_refuse_it(origin: Any, tmp_path: Path) -> None:
    both = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.0.0.1")]
    with pytest.raises(FetchError, match=r"films\.example is not a public address"):
        get(origin, "/file", tmp_path / "a", host="films.example", resolver=lambda *_: both)
    assert origin.seen == []


def test_a_name_without_address(origin: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="has no address"):
        get(origin, "/file", tmp_path / "a", host="films.example", resolver=lambda *_: [])


@pytest.mark.parametrize("path", ["/file?token=hunter2", "/endless?token=hunter2"])
def test_size_limit(origin: Any, tmp_path: Path, path: str) -> None:
    with pytest.raises(MediaTooLarge) as refused:
        get(origin, path, tmp_path / "a", limit_bytes=5000)
    error = refused.value
    assert (error.field, error.limit) == ("driving_video", 5000)
    assert "hunter2" not in str(error.to_json())
    assert list(tmp_path.iterdir()) == []


def test_time_limit(origin: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="took longer than 0 s"):
        get(origin, "/file", tmp_path / "a", timeout_s=0)


def test_a_callback_may_stop_it(origin: Any, tmp_path: Path) -> None:
    def stop() -> None:
        raise Canceled

    with pytest.raises(Canceled):
        get(origin, "/endless", tmp_path / "a", on_chunk=stop, limit_bytes=10**9)
    assert list(tmp_path.iterdir()) == []


def test_failures_name_the_url_without_its_secrets(origin: Any, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as missing:
        get(origin, "/missing?token=hunter2", tmp_path / "a")
    assert "/missing?... answered 404" in missing.value.message
    with pytest.raises(FetchError) as down:
        fetch(
            "http://127.0.0.1:1/x?token=hunter2",
            tmp_path / "a",
            field="driving_video",
            limit_bytes=1,
            timeout_s=5,
            policy=LOOPBACK,
        )
    for error in (missing.value, down.value):
        assert "hunter2" not in str(error.to_json())
