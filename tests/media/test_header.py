"""What first bytes are, literally; and that telling it loads nothing heavy."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import pytest
from PIL import Image

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.header import check_family, check_head, image_sides, sniff
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.request.fields import FileKind

MP4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2"
MOV = b"\0\0\0\x14ftypqt  \0\0\x02\0qt  "
WEBM = b"\x1aE\xdf\xa3\x9fB\x86\x81\x01"
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"


def png_head(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize(
    ("head", "family", "container"),
    [
        (MP4, "video", "mov"),
        (MOV, "video", "mov"),
        (b"\0\0\x10\0moov", "video", "mov"),
        (WEBM, "video", "matroska"),
        (JPEG, "image", "jpeg"),
        (png_head(4, 4), "image", "png"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image", "webp"),
    ],
)
def test_accepted_formats(head: bytes, family: str, container: str) -> None:
    kind = sniff(head, field="driving_video")
    assert (kind.family, kind.container) == (family, container)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"", "empty"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", "an HLS playlist"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a concat script"),
        (b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "a DASH manifest"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b'<?xml version="1.0"?><CompositionPlaylist/>', "an XML or HTML text"),
        (b"hello there, this is no video", "a text"),
        (b"GIF89a\x01\0\x01\0", "a GIF"),
        (b"RIFF\x10\0\0\0AVI LIST", "an AVI file"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF image"),
        ((b"G" + bytes(187)) * 2, "an MPEG transport stream"),
        (bytes(range(128, 200)), "of an unknown format"),
    ],
)
def test_everything_else_is_refused_by_name(head: bytes, name: str) -> None:
    with pytest.raises(MediaError) as caught:
        sniff(head, field="driving_video")
    assert (caught.value.field, caught.value.value) == ("driving_video", name)
    assert "JPEG, PNG or WebP" in str(caught.value.limit)


def test_an_image_for_a_video_and_the_reverse() -> None:
    with pytest.raises(MediaError, match=r"driving_video must be a video \(.*\), but the file is an image") as caught:
        check_family(JPEG, "video", field="driving_video")
    assert (caught.value.field, caught.value.value) == ("driving_video", "image")
    with pytest.raises(MediaError, match=r"reference_image must be an image \(.*\), but the file is a video"):
        check_family(MP4, "image", field="reference_image")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_sides_are_read_as_pillow_reads_them(form: str, options: dict[str, object]) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (301, 77), "red").save(stream, form, **options)
    head = stream.getvalue()
    assert image_sides(head, sniff(head, field="x").container) == (301, 77)


def test_a_huge_picture_is_refused_by_its_header() -> None:
    with pytest.raises(MediaTooLarge) as caught:
        check_head(png_head(65_000, 65_000), "image", 1000, MediaLimits(), field="reference_image")
    assert caught.value.to_json() == {
        "code": "media_too_large",
        "message": "reference_image is 65000x65000, 4225000000 pixels; the limit is 50000000",
        "field": "reference_image",
        "value": "65000x65000",
        "limit": "50000000 pixels",
    }


def test_file_size_and_shape() -> None:
    limits = MediaLimits(max_file_bytes=1000)
    with pytest.raises(MediaTooLarge) as caught:
        check_head(MP4, "video", 1001, limits, field="driving_video")
    assert (caught.value.value, caught.value.limit) == (1001, 1000)
    with pytest.raises(MediaError, match="is empty"):
        check_head(b"", "video", 0, limits, field="driving_video")
    with pytest.raises(MediaError, match="at least 16 pixels"):
        check_head(png_head(8, 100), "image", 100, limits, field="reference_image")
    with pytest.raises(MediaError, match="at most 8 times"):
        check_head(png_head(20, 1000), "image", 100, limits, field="reference_image")


def test_the_http_side_can_import_it_without_heavy_modules() -> None:
    program = (
        "import sys, animate_pipelines.media.header, animate_pipelines.media.size, animate_pipelines.media.limits\n"
        "print([m for m in ('numpy', 'PIL', 'torch', 'decord', 'cv2', 'imageio_ffmpeg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("head", "family", "right", "wrong"),
    [
        (b"GIF89a" + bytes(60), "video", "MP4, MOV, Matroska or WebM", "JPEG"),
        (b"\0\0\0\x1cftypavif" + bytes(60), "image", "JPEG, PNG or WebP", "MP4"),
        (MP4, "image", "JPEG, PNG or WebP", "Matroska"),
        (JPEG, "keypoints", "a JSON object", "MP4"),
    ],
)
def test_a_wrong_kind_is_answered_with_what_that_field_takes(
    head: bytes, family: FileKind, right: str, wrong: str
) -> None:
    with pytest.raises(MediaError) as caught:
        check_family(head, family, field="x")
    assert right in caught.value.message
    assert wrong not in caught.value.message
    assert caught.value.limit == right
