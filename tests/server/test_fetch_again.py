"""Servers that fail for a while, break off, pack what they send, or answer with a part: what a browser would do."""

from __future__ import annotations

import email.utils
import gzip
import socketserver
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from animate_pipelines.errors import Canceled, FetchError, MediaTooLarge
from animate_server import fetch as fetching
from animate_server.addresses import AddressPolicy
from animate_server.fetch import fetch

DATA = bytes(range(256)) * 64
Headers = Mapping[str, str]


@dataclass
class Origin:
    """A server on loopback that answers as `answer` says: called with the number of the request and its headers."""

    answer: Callable[[int, Headers], bytes] = lambda number, headers: ok(DATA)
    seen: list[Headers] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    def get(self, path: Path, **options: float) -> bytes:
        fetch(
            f"http://127.0.0.1:{self.port}/film?token=hunter2",
            path,
            field="driving_video",
            policy=AddressPolicy.of(["127.0.0.1"]),
            **{"limit_bytes": 10**6, "timeout_s": 20.0} | options,  # type: ignore[arg-type]
        )
        return path.read_bytes()


def ok(body: bytes, *lines: str, status: str = "200 OK", stated: int | None = None) -> bytes:
    length = len(body) if stated is None else stated
    head = [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.fixture
def origin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Origin]:
    monkeypatch.setattr(fetching, "_BACK_OFF_S", (0.0, 0.0))
    made = Origin()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            made.paths.append(self.rfile.readline().split()[1].decode())
            lines = iter(self.rfile.readline, b"\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.decode().partition(":") for line in lines)}
            made.seen.append(headers)
            self.wfile.write(made.answer(len(made.seen), headers))

    socketserver.TCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", ["408 Timeout", "429 Slow", "500 Oops", "502 Bad", "503 Busy", "504 Late"])
def test_what_may_pass_is_tried_again(origin: Origin, tmp_path: Path, status: str) -> None:
    origin.answer = lambda number, headers: ok(b"no", status=status) if number < 3 else ok(DATA)
    assert origin.get(tmp_path / "a") == DATA
    assert len(origin.seen) == 3


@pytest.mark.parametrize("status", ["400 No", "403 No", "404 No", "410 Gone"])
def test_what_will_not_pass_is_not(origin: Origin, tmp_path: Path, status: str) -> None:
    origin.answer = lambda number, headers: ok(b"no", status=status)
    with pytest.raises(FetchError, match=f"answered {status[:3]}"):
        origin.get(tmp_path / "a")
    assert len(origin.seen) == 1


def test_after_three_tries_it_is_over(origin: Origin, tmp_path: Path) -> None:
    origin.answer = lambda number, headers: ok(b"no", status="503 Busy")
    with pytest.raises(FetchError, match=r"/film\?\.\.\. answered 503, 3 times") as failed:
        origin.get(tmp_path / "a")
    assert (len(origin.seen), failed.value.field) == (3, "driving_video")
    assert "hunter2" not in str(failed.value.to_json())


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded_within_the_deadline(origin: Origin, tmp_path: Path, form: str) -> None:
    later = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    times: list[float] = []

    def answer(number: int, headers: Headers) -> bytes:
        times.append(time.monotonic())
        return ok(b"", f"Retry-After: {later}", status="503 Busy") if number == 1 else ok(DATA)

    origin.answer = answer
    assert origin.get(tmp_path / "a") == DATA
    assert times[1] - times[0] > 0.5
    origin.seen.clear()
    origin.answer = lambda number, headers: ok(b"", "Retry-After: 60", status="503 Busy")
    with pytest.raises(FetchError, match="wants to be asked again in 60 s, which is past the limit of 5 s"):
        origin.get(tmp_path / "b", timeout_s=5)


def test_a_broken_connection_goes_on_where_it_broke(origin: Origin, tmp_path: Path) -> None:
    def answer(number: int, headers: Headers) -> bytes:
        if number == 1:
            return ok(DATA[:5000], 'ETag: "v1"', stated=len(DATA))
        first = int(headers["range"].removeprefix("bytes=").removesuffix("-"))
        span = f"Content-Range: bytes {first}-{len(DATA) - 1}/{len(DATA)}"
        return ok(DATA[first:], span, 'ETag: "v1"', status="206 Partial Content")

    origin.answer = answer
    assert origin.get(tmp_path / "a") == DATA
    assert [headers.get("if-range") for headers in origin.seen] == [None, '"v1"']


@pytest.mark.parametrize("second", ["200 OK", "416 Range Not Satisfiable"])
def test_a_file_that_changed_meanwhile_is_read_anew(origin: Origin, tmp_path: Path, second: str) -> None:
    changed = DATA[::-1]

    def answer(number: int, headers: Headers) -> bytes:
        if number == 1:
            return ok(DATA[:5000], 'ETag: "v1"', stated=len(DATA))
        if "range" in headers and second.startswith("416"):
            return ok(b"", status=second)
        return ok(changed, 'ETag: "v2"')

    origin.answer = answer
    assert origin.get(tmp_path / "a") == changed


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_packed_answer_is_unpacked(
    origin: Origin, tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(DATA)

    def answer(number: int, headers: Headers) -> bytes:
        body = packed[:40] if number == 1 else packed  # broken off once: of such a body no rest can be asked for
        return ok(body, f"Content-Encoding: {encoding}", stated=len(packed))

    origin.answer = answer
    assert origin.get(tmp_path / "a") == DATA
    assert "range" not in origin.seen[1]


def test_a_bomb_meets_the_limit(origin: Origin, tmp_path: Path) -> None:
    origin.answer = lambda number, headers: ok(gzip.compress(bytes(50_000_000)), "Content-Encoding: gzip")
    with pytest.raises(MediaTooLarge):
        origin.get(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        ("br", b"x", "answered in 'br'"),
        ("gzip", b"no gzip", "does not unpack"),
        ("gzip", gzip.compress(DATA)[:-9], "ends"),
    ],
)
def test_what_cannot_be_unpacked_is_said(
    origin: Origin, tmp_path: Path, encoding: str, body: bytes, words: str
) -> None:
    origin.answer = lambda number, headers: ok(body, f"Content-Encoding: {encoding}")
    with pytest.raises(FetchError, match=words):
        origin.get(tmp_path / "a")


def test_a_206_that_covers_the_whole_is_the_file(origin: Origin, tmp_path: Path) -> None:
    whole = f"Content-Range: bytes 0-{len(DATA) - 1}/{len(DATA)}"
    origin.answer = lambda number, headers: ok(DATA, whole, status="206 Partial Content")
    assert origin.get(tmp_path / "a") == DATA
    part = f"Content-Range: bytes 0-99/{len(DATA)}"
    origin.answer = lambda number, headers: ok(DATA[:100], part, status="206 Partial Content")
    with pytest.raises(FetchError, match="a part of the file only"):
        origin.get(tmp_path / "b")


def test_a_pause_can_be_stopped(origin: Origin, tmp_path: Path) -> None:
    origin.answer = lambda number, headers: ok(b"", "Retry-After: 15", status="503 Busy")

    def stop() -> None:
        raise Canceled

    began = time.monotonic()
    with pytest.raises(Canceled):
        origin.get(tmp_path / "a", on_chunk=stop)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/my clip (1).mp4", "/my%20clip%20(1).mp4"),
        ("/Stra\u00dfe.mp4?a=b c", "/Stra%C3%9Fe.mp4?a=b%20c"),
        ("/100%25.mp4?sig=a%2Fb+c", "/100%25.mp4?sig=a%2Fb+c"),
    ],
)
def test_a_redirect_is_quoted_as_browsers_do(origin: Origin, tmp_path: Path, location: str, asked: str) -> None:
    def answer(number: int, headers: Headers) -> bytes:
        head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return head.encode() if number == 1 else ok(DATA)

    origin.answer = answer
    assert origin.get(tmp_path / "a") == DATA
    assert origin.paths[1] == asked
