"""Inputs made to harm: each is refused with the field, the value and the limit, soon, and nothing is left behind."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.image import read_image
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.media.mezzanine import write_mezzanine
from animate_pipelines.media.probe import probe_video
from tests.media.conftest import Studio


class Listener:
    """A server on loopback that counts who connects."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.connections = 0
        self.thread = threading.Thread(target=self._count, daemon=True)
        self.thread.start()

    def _count(self) -> None:
        while True:
            connection, _ = self.socket.accept()
            connection.close()
            self.connections += 1
            if self.connections == 1_000:
                return

    def close(self) -> None:
        self.connections = 999
        socket.create_connection(("127.0.0.1", self.port)).close()
        self.thread.join()
        self.socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


def refused(path: Path, limits: MediaLimits, folder: Path) -> MediaError:
    """The error of a probe and, if that passes, a full decode."""
    began = time.monotonic()
    before = sorted(folder.iterdir())
    with pytest.raises(MediaError) as caught:
        write_mezzanine(path, folder / "mezzanine.mp4", probe_video(path, limits), limits)
    assert time.monotonic() - began < 30
    assert sorted(folder.iterdir()) == before
    assert caught.value.field == "driving_video"
    assert str(folder) not in caught.value.message
    return caught.value


TEXTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}/a.mp4'\nfile /etc/passwd\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{url}/</BaseURL></MPD>',
    "svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}/a.png"/></svg>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
    "text": "just some words",
    "empty": "",
    # an ISO header, then a playlist: the demuxer of the header is the only one that gets to see it
    "polyglot": "\0\0\0\x18ftypisom\0\0\0\0isomiso2#EXTM3U\n#EXTINF:1,\n{url}/a.ts\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_point_elsewhere(name: str, listener: Listener, limits: MediaLimits, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text(TEXTS[name].format(url=f"http://127.0.0.1:{listener.port}"))
    refused(path, limits, tmp_path)
    with pytest.raises(MediaError):
        read_image(path, limits)
    assert listener.connections == 0


def test_references_inside_a_quicktime_file(
    listener: Listener, studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    """A data reference to a URL where `url ` with the flag "in this file" was."""
    data = bytearray(studio.numbered("reference.mov", 10, "25").read_bytes())
    at = data.index(b"dref")
    entry = data.index(b"url ", at)
    data[entry + 4 : entry + 8] = b"\0\0\0\0"
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    # FFmpeg does not follow it (its option enable_drefs is off) and reads the file's own bytes.
    assert write_mezzanine(path, tmp_path / "m.mp4", probe_video(path, limits), limits).num_frames == 10
    assert listener.connections == 0


def test_cut_files(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    for name, options in [
        ("a.mp4", []),
        ("b.mp4", ["-movflags", "+faststart"]),
        ("c.mkv", []),
        ("d.webm", ["-c:v", "libvpx"]),
    ]:
        whole = studio.numbered(f"whole-{name}", 60, "30", *options, size=(320, 240)).read_bytes()
        for share in (0.3, 0.7, 0.95):
            path = tmp_path / name
            path.write_bytes(whole[: int(len(whole) * share)])
            error = refused(path, limits, tmp_path)
            assert "cut short" in error.message or "cannot be read" in error.message
            path.unlink()


def test_damage_in_the_middle_is_concealed(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    source = studio.folder / "damaged.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240:r=30:d=3", "-g", "30", "-movflags", "+faststart", source)
    data = bytearray(source.read_bytes())
    start = data.index(b"mdat") + len(data) // 2
    data[start : start + 500] = b"\x55" * 500
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    mezzanine = write_mezzanine(path, tmp_path / "m.mp4", probe_video(path, limits), limits)
    assert abs(mezzanine.num_frames - 90) <= 9


def test_image_and_video_mixed_up(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    video, image = studio.numbered("mixed.mp4", 5, "25"), tmp_path / "picture.mp4"
    studio.ffmpeg("-i", video, "-frames:v", "1", "-f", "image2", "-c:v", "png", image)
    error = refused(image, limits, tmp_path)
    wanted = "driving_video must be a video (MP4, MOV, Matroska or WebM)"
    assert (error.value, error.message) == ("image", f"{wanted}, but the file is an image (png)")
    with pytest.raises(MediaError, match=r"reference_image must be an image \(.*\), but the file is a video") as caught:
        read_image(video, limits)
    assert caught.value.field == "reference_image"


def test_a_file_with_audio_only(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    studio.ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "aac", path)
    error = refused(path, limits, tmp_path)
    assert (error.value, error.limit) == (0, 1)


def test_many_audio_streams_are_taken_and_two_video_streams_are_not(
    studio: Studio, limits: MediaLimits, tmp_path: Path
) -> None:
    video = studio.clapper("single.mp4", "-c:a", "aac", seconds=1, audio_seconds=1)
    path = tmp_path / "two.mp4"
    studio.ffmpeg("-i", video, "-map", "0:v", *["-map", "0:a"] * 9, "-c", "copy", path)
    assert len(probe_video(path, limits).tracks) == 9
    studio.ffmpeg("-i", video, "-map", "0:v", "-map", "0:v", "-c", "copy", path)
    assert refused(path, limits, tmp_path).value == 2


def test_of_several_audio_streams_the_default_one_is_taken(studio: Studio, limits: MediaLimits, tmp_path: Path) -> None:
    video = studio.clapper("one.mp4", "-c:a", "aac", seconds=1, audio_seconds=1)
    maps = ["-map", "0:v", "-map", "0:a", "-map", "0:a", "-c", "copy", "-c:a:1", "libmp3lame"]
    for default, (index, codec) in enumerate([(1, "aac"), (2, "mp3")]):
        path = tmp_path / f"two-{default}.mp4"
        chosen = [f"-disposition:a:{default}", "default", f"-disposition:a:{1 - default}", "0"]
        studio.ffmpeg("-i", video, *maps, *chosen, path)
        info = probe_video(path, limits)
        assert info.audio is not None
        assert (len(info.tracks), info.audio.index, info.audio.codec) == (2, index, codec)


@pytest.mark.parametrize(
    ("changes", "value", "limit"),
    [
        ({"max_side_px": 100}, "128x96", "100 px"),
        ({"max_duration_s": 1.5}, 2.0, "1.5 s"),
        ({"max_duration_s": 0.5}, 2.0, "0.5 s"),
        ({"max_stored_fps": 25}, 30.0, "25 fps"),
        ({"max_file_bytes": 1000}, None, 1000),
    ],
)
def test_over_a_limit(studio: Studio, tmp_path: Path, changes: dict[str, float], value: object, limit: object) -> None:
    path = studio.numbered("over.mp4", 60, "30", size=(128, 96))
    error = refused(path, MediaLimits(**changes), tmp_path)  # type: ignore[arg-type]
    assert isinstance(error, MediaTooLarge)
    assert error.value == (path.stat().st_size if value is None else value)
    assert error.limit == limit


def test_a_header_that_understates_the_length(studio: Studio, tmp_path: Path) -> None:
    """The movie header says 0.1 s; the packets are counted all the same."""
    data = bytearray(studio.numbered("understated.mp4", 60, "30").read_bytes())
    for box in (b"mvhd", b"mdhd"):
        at = data.index(box) + 20
        data[at : at + 4] = struct.pack(">I", 100)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaTooLarge, match=r"lasts 2\.0 s; the limit is 1 s"):
        probe_video(path, MediaLimits(max_duration_s=1))


@pytest.mark.parametrize("name", ["-i.mp4", "concat:a|b.mp4", "a'b\n#EXTM3U.mp4", "%d.mp4", "http:x.mp4"])
def test_names_that_look_like_something_else(studio: Studio, limits: MediaLimits, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(studio.numbered("name.mp4", 5, "25").read_bytes())
    mezzanine = write_mezzanine(path, tmp_path / f"m-{name}", probe_video(path, limits), limits)
    assert mezzanine.num_frames == 5
    assert mezzanine.path.exists()
