"""Still images of every kind that arrives, against literal colours."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from animate_pipelines.errors import MediaError, MediaTooLarge
from animate_pipelines.media.image import read_image
from animate_pipelines.media.limits import MediaLimits


def saved(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_plain_pixels_come_through(tmp_path: Path, limits: MediaLimits) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name, options in [("a.png", {}), ("a.webp", {"lossless": True})]:
        read = read_image(saved(tmp_path, Image.fromarray(pixels), name, **options), limits)
        assert np.array_equal(read, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, limits: MediaLimits, orientation: int) -> None:
    """The white corner of the stored picture must land at the left top, for the tag that says where left top is."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:8, :8] = 255
    # EXIF 2.3, tag 0x0112: how the stored rows and columns came from the upright picture
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(stored)), "turned.png", exif=exif)
    assert np.array_equal(read_image(path, limits), upright)


def test_transparency_is_laid_over_white(tmp_path: Path, limits: MediaLimits) -> None:
    image = Image.new("RGBA", (32, 32), (200, 0, 0, 0))
    image.paste((0, 0, 200, 255), (0, 0, 16, 32))
    image.paste((0, 0, 0, 128), (16, 16, 32, 32))
    read = read_image(saved(tmp_path, image, "alpha.png"), limits)
    assert read[4, 4].tolist() == [0, 0, 200]
    assert read[4, 24].tolist() == [255, 255, 255]
    assert np.abs(read[24, 24].astype(int) - 127).max() <= 1
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.paste(0, (0, 0, 16, 32))
    read = read_image(saved(tmp_path, palette, "palette.png", transparency=0), limits)
    assert (read[4, 4].tolist(), read[4, 24].tolist()) == ([255, 255, 255], [0, 255, 0])


def test_cmyk(tmp_path: Path, limits: MediaLimits) -> None:
    path = saved(tmp_path, Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "cmyk.jpg", quality=95)
    read = read_image(path, limits)
    assert np.abs(read.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits(tmp_path: Path, limits: MediaLimits, channels: int) -> None:
    path = tmp_path / "deep.png"
    pixels = np.full((32, 32, channels), 0x8040, np.uint16)
    if channels == 4:
        pixels[..., 3] = 0xFFFF
    assert cv2.imwrite(str(path), pixels)
    assert (read_image(path, limits) == 0x80).all()


def test_grey_and_profile(tmp_path: Path, limits: MediaLimits) -> None:
    assert (read_image(saved(tmp_path, Image.new("L", (32, 32), 77), "grey.png"), limits) == 77).all()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path, Image.new("RGB", (32, 32), (10, 100, 200)), "srgb.png", icc_profile=profile)
    assert np.abs(read_image(path, limits).astype(int) - (10, 100, 200)).max() <= 1
    path = saved(tmp_path, Image.new("RGB", (32, 32), (10, 100, 200)), "broken.png", icc_profile=b"no profile")
    assert read_image(path, limits)[0, 0].tolist() == [10, 100, 200]


def test_a_cut_file_is_an_error(tmp_path: Path, limits: MediaLimits) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("cut.png", "cut.jpg", "cut.webp"):
        path = saved(tmp_path, Image.fromarray(noise), name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(MediaError, match="reference_image cannot be read: ") as caught:
            read_image(path, limits)
        assert caught.value.field == "reference_image"
        assert str(tmp_path) not in caught.value.message


def test_pixels_are_counted_before_decoding(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("1", (9000, 9000)), "bomb.png")
    assert path.stat().st_size < 50_000
    with pytest.raises(MediaTooLarge) as caught:
        read_image(path, MediaLimits())
    assert (caught.value.value, caught.value.limit) == ("9000x9000", "50000000 pixels")


def test_sides_behind_a_long_header_are_found_by_the_decoder(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(stream, "JPEG", comment=b"x" * 60_000, exif=b"Exif\0\0" + b"y" * 60_000)
    path = tmp_path / "long.jpg"
    path.write_bytes(stream.getvalue())
    assert read_image(path, MediaLimits()).shape == (300, 400, 3)
    with pytest.raises(MediaTooLarge, match="400x300, 120000 pixels; the limit is 100000"):
        read_image(path, MediaLimits(max_image_pixels=100_000))


def test_decoding_is_bounded_in_memory(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (7000, 7000)), "large.png", compress_level=1)
    with pytest.raises(MediaTooLarge, match="of memory") as caught:
        read_image(path, MediaLimits(memory_bytes=100_000_000))
    assert caught.value.limit == "100000000 bytes"
    assert read_image(path, MediaLimits()).shape == (7000, 7000, 3)


def picture_of_noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (160, 120, 3), np.uint8))


@pytest.mark.parametrize(("cut", "words"), [(2, "the JPEG has no end mark"), (0.85, "may be missing")])
def test_a_jpeg_without_its_end_is_read_and_said(tmp_path: Path, cut: float, words: str) -> None:
    path = saved(tmp_path, picture_of_noise(), "whole.jpg", quality=90)
    data, whole = path.read_bytes(), read_image(path, MediaLimits())
    path.write_bytes(data[:-2] if cut == 2 else data[: int(cut * len(data))])
    notes: list[str] = []
    read = read_image(path, MediaLimits(), on_note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("reference_image: the JPEG has no end mark")
    assert words in notes[0]
    assert np.array_equal(read[:96], whole[:96])
    assert np.array_equal(read, whole) == (cut == 2)


def test_a_jpeg_of_which_most_is_missing_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, picture_of_noise(), "whole.jpg", quality=90)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with pytest.raises(MediaError, match=r"cut short: the last \d\d% of the picture are missing"):
        read_image(path, MediaLimits())


def test_what_cameras_put_behind_a_jpeg_is_no_flaw(tmp_path: Path) -> None:
    path = saved(tmp_path, picture_of_noise(), "trailer.jpg")
    path.write_bytes(path.read_bytes() + b"\0" * 300 + b"a short film of a phone" * 20)
    notes: list[str] = []
    read_image(path, MediaLimits(), on_note=notes.append)
    assert notes == []
