"""The program that decodes one image, in a child of `image.py`: a line of JSON on stdout, then the RGB bytes.

The line is `{"size": [width, height], "note": text}`, with no pixels after it when the size is over the limit, or
`{"error": reason}`. The note says what is missing of the picture, and is empty where nothing is.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import warnings
from pathlib import Path

from PIL import Image, ImageCms

_FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}
_BACKGROUND = (255, 255, 255)
_END_MARK = b"\xff\xd9"  # ITU-T T.81 B.1.1.3, EOI
_TRAILER_BYTES = 1 << 20
_ONE_COLOUR = 3  # levels within a row
_LEAST_MISSING, _MOST_MISSING = 0.02, 0.25
# EXIF 2.3, tag 0x0112. Rival: ImageOps.exif_transpose, which refuses the whole picture when its EXIF is broken.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def main() -> None:
    """Decode the image that argv names: path, container, the most pixels allowed."""
    path, container, max_pixels = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    Image.MAX_IMAGE_PIXELS = None  # our own limit stands in front of load()
    warnings.simplefilter("ignore")
    try:
        lacks_end, source = open_whole(path, container)
        with Image.open(source, formats=[_FORMATS[container]]) as image:
            size = image.size
            picture = upright_rgb(image) if size[0] * size[1] <= max_pixels else None
            note = describe_missing(picture) if lacks_end else ""
    except MemoryError:
        sys.exit("memory allocation failed")
    except (OSError, ValueError, SyntaxError, EOFError, ArithmeticError) as error:
        _answer({"error": str(error).replace(str(path), "the file")[:200]}, b"")
        return
    _answer({"size": picture.size if picture else size, "note": note}, picture.tobytes() if picture else b"")


def open_whole(path: Path, container: str) -> tuple[bool, Path | io.BytesIO]:
    """Return whether a picture lacks its end, and a source for Pillow: of a JPEG without an end mark, one with it.

    Pillow refuses such a JPEG, libjpeg and every browser show it, with what is missing in grey.
    """
    if container != "jpeg":
        return False, path
    data = path.read_bytes().rstrip(b"\0")
    if _END_MARK in data[-_TRAILER_BYTES:]:  # cameras put other things behind the picture
        return False, path
    return True, io.BytesIO(data + _END_MARK)


def describe_missing(picture: Image.Image | None) -> str:
    """Return a sentence on a picture without its end, by how many of its last rows are of one colour.

    Raises `ValueError` where more than a quarter of it is missing.
    """
    missing = 0.0 if picture is None else _even_share(picture)
    if missing > _MOST_MISSING:
        raise ValueError(f"the file is cut short: the last {missing:.0%} of the picture are missing")
    lost = f": about {missing:.0%} of it, at its end, may be missing" if missing >= _LEAST_MISSING else ""
    return f"the JPEG has no end mark{lost}"


def _even_share(picture: Image.Image) -> float:
    """Return the share of rows at the end in which all pixels are nearly one."""
    rows = picture.height
    while rows and all(high - low <= _ONE_COLOUR for low, high in _row_extrema(picture, rows - 1)):
        rows -= 1
    return 1 - rows / picture.height


def _row_extrema(picture: Image.Image, row: int) -> list[tuple[int, int]]:
    extrema = picture.crop((0, row, picture.width, row + 1)).getextrema()
    return [(int(low), int(high)) for low, high in extrema]  # type: ignore[misc]


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return `image` as opaque RGB in sRGB, turned by its EXIF tag."""
    image.load()
    profile = image.info.get("icc_profile")
    alpha = _alpha(image)
    colours = _colours(image, profile)
    if alpha is not None:
        backing = Image.new("RGB", colours.size, _BACKGROUND)
        backing.paste(colours, mask=alpha)
        colours = backing
    turn = _TURNS.get(_orientation(image))
    return colours if turn is None else colours.transpose(turn)


def _alpha(image: Image.Image) -> Image.Image | None:
    if image.has_transparency_data:
        return image.convert("RGBA").getchannel("A")
    return None


def _colours(image: Image.Image, profile: bytes | None) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling.
        little = image.convert("I").tobytes()
        return Image.frombytes("L", image.size, bytes(little[1::4])).convert("RGB")
    if profile is not None and image.mode in ("RGB", "RGBA", "CMYK"):
        converted = _to_srgb(image.convert("RGB") if image.mode == "RGBA" else image, profile)
        if converted is not None:
            return converted
    return image.convert("RGBA").convert("RGB") if image.mode in ("P", "PA") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    # A broken or foreign profile is common and harmless: the pixels are then taken as sRGB.
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (SyntaxError, ValueError, TypeError, OSError, KeyError, struct.error):
        return 1  # broken EXIF says nothing


def _answer(line: dict[str, object], pixels: bytes) -> None:
    sys.stdout.buffer.write(json.dumps(line).encode() + b"\n" + pixels)


if __name__ == "__main__":
    main()
