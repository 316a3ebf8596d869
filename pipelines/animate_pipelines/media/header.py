"""Recognises an accepted image or an accepted video by its first bytes.

Standard library only and no process started, so that the HTTP side can refuse at submit. The answer also decides which
demuxer or decoder is allowed to see the bytes later: nothing downstream guesses again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.container import Container
from animate_pipelines.media.limits import MediaLimits
from animate_pipelines.request.fields import FileKind
from animate_pipelines.request.size import Size

HEAD_BYTES = 65_536  # enough for `sniff`, and for the sides of nearly every picture
ACCEPTED = {"image": "JPEG, PNG or WebP", "video": "MP4, MOV, Matroska or WebM", "keypoints": "a JSON object"}

# Boxes that an ISO file or an old QuickTime file may begin with.
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_STILL_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "an AVIF image"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx"), "a HEIC image"),
    **dict.fromkeys((b"mif1", b"msf1"), "a HEIC or AVIF image"),
    b"jxl ": "a JPEG XL image",
}
_FOREIGN = (
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"#EXTM3U", "an HLS playlist"),
    (b"ffconcat", "a concat script"),
    (b"OggS", "an Ogg file"),
    (b"fLaC", "a FLAC file"),
    (b"FLV\x01", "an FLV file"),
    (b"ID3", "an MP3 file"),
    (b"\0\0\x01\xba", "an MPEG program stream"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"0&\xb2u\x8ef\xcf\x11", "a Windows Media file"),
    (b".RMF", "a RealMedia file"),
)
_TS_PACKET = 188  # ISO/IEC 13818-1: every packet begins with 0x47


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaKind:
    """The type of a file, by its first bytes."""

    family: FileKind
    container: Container


def sniff(head: bytes, *, field: str, family: FileKind | None = None) -> MediaKind:
    """Return the type of the file that begins with `head`.

    family: what the field takes, for the error; None where it takes any.
    Raises `MediaError` on `field` for a type that is not accepted.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return MediaKind(family="image", container="jpeg")
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return MediaKind(family="image", container="png")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return MediaKind(family="image", container="webp")
    if head.startswith(b"\x1aE\xdf\xa3"):
        return MediaKind(family="video", container="matroska")
    if head[4:8] in _FIRST_BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS):
        return MediaKind(family="video", container="mov")
    if head.lstrip()[:1] == b"{":
        return MediaKind(family="keypoints", container="json")
    format_name = _name_of(head)
    accepted = ACCEPTED.get(family, "") if family else " or ".join(ACCEPTED.values())
    raise MediaError(
        f"{{field}} is {format_name}; it must be {accepted}", field=field, value=format_name, limit=accepted
    )


def check_family(head: bytes, family: FileKind, *, field: str) -> MediaKind:
    """Return `sniff` of `head`.

    Raises `MediaError` on `field` also for an image in place of a video, or a video in place of an image.
    """
    kind = sniff(head, field=field, family=family)
    if kind.family != family:
        wanted = f"{with_article(family)} ({accepted})" if (accepted := ACCEPTED.get(family)) else with_article(family)
        message = f"{{field}} must be {wanted}, but the file is {with_article(kind.family)} ({kind.container})"
        raise MediaError(message, field=field, value=kind.family, limit=accepted)
    return kind


def check_head(head: bytes, family: FileKind, size_bytes: int, limits: MediaLimits, *, field: str) -> MediaKind:
    """Check all that can be checked before decoding: the family, the size, and a picture's sides where `head` has them.

    head: the first bytes, `HEAD_BYTES` of them where the file has as many.
    size_bytes: of the whole file.
    Raises `MediaError` or `MediaTooLarge` on `field`.
    """
    check_file_size(size_bytes, limits, field=field)
    kind = check_family(head, family, field=field)
    sides = image_sides(head, kind.container)
    if sides is not None:
        check_image_sides(*sides, limits, field=field)
    return kind


def check_file_size(size_bytes: int, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaError` for an empty file, `MediaTooLarge` for one over the limit."""
    if size_bytes == 0:
        raise MediaError("{field} is empty", field=field, value=0)
    if size_bytes > limits.max_file_bytes:
        raise MediaTooLarge(
            f"{{field}} has {size_bytes} bytes; the limit is {limits.max_file_bytes}",
            field=field,
            value=size_bytes,
            limit=limits.max_file_bytes,
        )


def check_image_sides(width: int, height: int, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaTooLarge` or `MediaError` for a picture that is too large, too thin or too small, in pixels."""
    value = f"{width}x{height}"
    if width * height > limits.max_image_pixels:
        message = f"{{field}} is {value}, {width * height} pixels; the limit is {limits.max_image_pixels}"
        raise MediaTooLarge(message, field=field, value=value, limit=f"{limits.max_image_pixels} pixels")
    check_shape(width, height, limits, field=field)


def check_shape(width: int, height: int, limits: MediaLimits, *, field: str) -> None:
    """Raise `MediaError` for a picture with too short a side, or a mere strip."""
    value = f"{width}x{height}"
    if min(width, height) < limits.min_side_px:
        message = f"{{field}} is {value}; each side must have at least {limits.min_side_px} pixels"
        raise MediaError(message, field=field, value=value, limit=f"at least {limits.min_side_px} px a side")
    if max(width, height) > limits.max_aspect * min(width, height):
        message = f"{{field}} is {value}; one side may be at most {limits.max_aspect:g} times the other"
        raise MediaError(message, field=field, value=value, limit=f"aspect at most {limits.max_aspect:g}")


def image_sides(head: bytes, container: Container) -> Size | None:
    """Return the stored (width, height) of a picture, or None when its first bytes `head` do not reach them."""
    if container == "png" and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if container == "webp" and len(head) >= 30:
        return _webp_sides(head)
    if container == "jpeg":
        return _jpeg_sides(head)
    return None


def _webp_sides(head: bytes) -> Size | None:
    # RFC 9649, sections 2.5 to 2.7
    if head[12:16] == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if head[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_sides(head: bytes) -> Size | None:
    # ITU-T T.81 B.1.1: walk the marker segments to the first start-of-frame.
    position = 2
    while position + 9 <= len(head) and head[position] == 0xFF:
        marker = head[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[position + 5 : position + 9])
            return width, height
        else:
            position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return None


def _name_of(head: bytes) -> str:
    if not head:
        return "empty"
    if head[:4] == b"RIFF":
        return {b"AVI ": "an AVI file", b"WAVE": "a WAVE file"}.get(head[8:12], "an unknown RIFF file")
    if head[4:8] == b"ftyp":
        return _STILL_BRANDS.get(head[8:12], "of an unknown format")
    if head[:1] == b"G" and head[_TS_PACKET : _TS_PACKET + 1] == b"G":
        return "an MPEG transport stream"
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    return _text_name(head[:4096])


def _text_name(head: bytes) -> str:
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 64 else "ignore").lstrip().lower()
    except UnicodeDecodeError:
        return "of an unknown format"
    if "<svg" in text:
        return "an SVG"
    if "<mpd" in text:
        return "a DASH manifest"
    if text.startswith(("<?xml", "<!doctype", "<html", "<")):
        return "an XML or HTML text"
    if text.startswith("#extm3u"):
        return "an HLS playlist"
    if text and sum(char.isprintable() or char.isspace() for char in text) > 0.95 * len(text):
        return "a text"
    return "of an unknown format"


def with_article(family: FileKind) -> str:
    """Return the words for a file of that family in a message."""
    return {"image": "an image", "video": "a video", "audio": "an audio file", "keypoints": "a JSON object"}[family]
