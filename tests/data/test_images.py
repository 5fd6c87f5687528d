"""Radiographs from files: any mode and depth becomes the same gray square; what is no radiograph is refused by name."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rrg_lib.data.images import MAX_PIXELS, read_radiograph
from rrg_lib.errors import ImageError

GRAY = np.add.outer(np.arange(300) // 3, np.arange(400) // 4 + 40).astype(
    np.uint8
)  # (300, 400), 40 to 238: dark at the top left


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


@pytest.fixture
def plain(tmp_path) -> np.ndarray:
    return read_radiograph(saved(tmp_path / "plain.png", Image.fromarray(GRAY)))


def test_the_whole_film_is_squashed_to_a_square(plain):
    """The release resizes test images to a square: corners stay corners, nothing is cropped."""
    assert plain.shape == (256, 256) and plain.dtype == np.uint8
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert abs(int(plain[corner]) - int(GRAY[corner])) <= 1


MODES = {
    "RGB": lambda gray: gray.convert("RGB"),
    "RGBA": lambda gray: gray.convert("RGBA"),
    "LA": lambda gray: gray.convert("LA"),
    "palette": lambda gray: gray.convert("P"),
    "palette, permuted": lambda gray: gray.convert("RGB").quantize(256),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_png_mode_gives_the_same_pixels(mode, tmp_path, plain):
    image = read_radiograph(saved(tmp_path / "image.png", MODES[mode](Image.fromarray(GRAY))))
    assert np.abs(image.astype(int) - plain).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_jpeg_mode_gives_nearly_the_same_pixels(mode, tmp_path, plain):
    image = read_radiograph(saved(tmp_path / "image.jpg", Image.fromarray(GRAY).convert(mode), quality=95))
    assert np.abs(image.astype(int) - plain).max() <= 6


def test_transparent_pixels_are_black(tmp_path):
    alpha = np.where(np.arange(400) < 200, 0, 255).astype(np.uint8)
    picture = np.full((300, 400), 200, np.uint8), np.tile(alpha, (300, 1))
    image = read_radiograph(
        saved(tmp_path / "half.png", Image.merge("LA", [Image.fromarray(channel) for channel in picture]))
    )
    assert image[:, :120].max() == 0 and image[:, 136:].min() == 200


def test_sixteen_bit_films_are_scaled_by_their_own_range(tmp_path, plain):
    """A 12-bit film in 16 bits would be black by the container's range; a few burnt-in marks would make it so by the
    maximum."""
    deep = GRAY.astype(np.uint16) * 16
    deep[:10, :10] = 65535  # 100 of 120,000 pixels
    image = read_radiograph(saved(tmp_path / "deep.png", Image.fromarray(deep)))
    low, high = np.quantile(GRAY, 0.001), np.quantile(GRAY, 0.999)
    expected = np.clip((plain.astype(float) - low) / (high - low), 0, 1) * 255
    assert (
        np.abs(image.astype(float) - expected)[20:, 20:].max() <= 6
    )  # of 255; the marks move the quantile by a gray level or two
    assert image.max() == 255 and image[20:, :].min() < 60


def test_a_blank_deep_image_is_black(tmp_path):
    assert (
        read_radiograph(saved(tmp_path / "blank.png", Image.fromarray(np.full((64, 64), 7000, np.uint16)))).max() == 0
    )


def test_a_bilevel_image_is_black_and_white(tmp_path):
    image = read_radiograph(saved(tmp_path / "mask.png", Image.fromarray(GRAY > 140)))
    assert set(image.ravel()[[0, -1]]) == {0, 255}


def test_exif_orientation_is_obeyed(tmp_path, plain):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: turn by 90 degrees clockwise to look at it
    turned = Image.fromarray(np.rot90(GRAY))
    image = read_radiograph(saved(tmp_path / "turned.jpg", turned, exif=exif, quality=95))
    assert np.abs(image.astype(int) - plain).max() <= 6


def test_a_large_jpeg_decoded_at_a_fraction_is_the_same_film(tmp_path):
    large = Image.fromarray(GRAY).resize((3200, 2400), Image.Resampling.BICUBIC)
    jpeg, png = (
        read_radiograph(saved(tmp_path / "l.jpg", large, quality=95)),
        read_radiograph(saved(tmp_path / "l.png", large)),
    )
    assert np.abs(jpeg.astype(int) - png).max() <= 4


def png_of(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that says it is that large, whatever is in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def png_bytes(path: Path) -> bytes:
    return saved(path, Image.fromarray(GRAY)).read_bytes()


def jpeg_bytes(path: Path) -> bytes:
    return saved(path, Image.fromarray(GRAY), format="JPEG", quality=95).read_bytes()


FAULTS = {
    "zero bytes": (lambda p: b"", r"is empty \(0 bytes\)"),
    "HTML named .png": (lambda p: b"<!DOCTYPE html><html>404</html>", "is an HTML or XML page"),
    "HTML after blank lines": (lambda p: b"\n\n <html>", "is an HTML or XML page"),
    "DICOM": (lambda p: b"\0" * 128 + b"DICM" + b"\0" * 64, "is a DICOM file"),
    "PDF": (lambda p: b"%PDF-1.7", "is a PDF"),
    "GIF": (lambda p: saved(p.with_suffix(".gif"), Image.fromarray(GRAY)).read_bytes(), "is a GIF"),
    "TIFF": (lambda p: saved(p.with_suffix(".tif"), Image.fromarray(GRAY)).read_bytes(), "is a TIFF image"),
    "LFS pointer": (lambda p: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "random bytes": (lambda p: b"\x07\x01radiograph", "is not an image"),
    "truncated PNG": (lambda p: png_bytes(p)[: -len(png_bytes(p)) // 2], "truncated or damaged"),
    "truncated JPEG": (lambda p: jpeg_bytes(p)[: -len(jpeg_bytes(p)) // 2], "truncated or damaged"),
    "PNG header only": (lambda p: png_bytes(p)[:20], "a PNG whose header is damaged|truncated or damaged"),
    "PNG with flipped bytes": (
        lambda p: png_bytes(p)[:200] + b"\xff" * 50 + png_bytes(p)[250:],
        "truncated or damaged",
    ),
    "PNG without pixels": (lambda p: png_of(100, 100), "truncated or damaged"),
    "1 x 1": (
        lambda p: saved(p, Image.new("L", (1, 1))).read_bytes(),
        "is 1 x 1 pixels; expected a radiograph of at least 32 x 32",
    ),
    "header bomb of 30,000 x 30,000": (
        lambda p: png_of(30_000, 30_000, zlib.compress(b"\0" * 1000)),
        f"refused before decoding.*{MAX_PIXELS:,}",
    ),
    "header bomb below Pillow's limit": (
        lambda p: png_of(10_000, 8_000),
        f"10000 x 8000 pixels, refused before decoding.*{MAX_PIXELS:,}",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_radiograph_is_refused_by_name(fault, tmp_path):
    make, message = FAULTS[fault]
    path = tmp_path / "film.png"
    path.write_bytes(make(path))
    with pytest.raises(ImageError, match=message) as raised:
        read_radiograph(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: no such file"):
        read_radiograph(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_radiograph(tmp_path)
