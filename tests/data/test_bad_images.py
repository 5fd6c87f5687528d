"""Bad images: what people's folders really hold, each with its documented outcome.

Every row of a table is one file in an otherwise sound folder. `SET_ASIDE`: the image goes to rejected.csv with that
reason and the run goes on. `READ`: it is no fault, whatever it looks like.
"""

from __future__ import annotations

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image
from trees import SOUND_FILM as FILM
from trees import png_header, prepared, sound_release


@pytest.fixture
def root(tmp_path) -> Path:
    return sound_release(tmp_path / "root")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def dicom(**header) -> bytes:
    pixels = header.pop("pixels", FILM)
    without = header.pop("without", ())
    from pydicom import dcmread

    path = trees.dicom_file(Path(header.pop("folder")) / "made.dcm", pixels, **header)
    data = dcmread(path)
    for name in without:
        delattr(data, name)
    out = BytesIO()
    data.save_as(out)
    path.unlink()
    return out.getvalue()


PLAIN = encoded(Image.fromarray(FILM))
JPEG = encoded(Image.fromarray(np.kron(FILM, np.ones((4, 4), np.uint8))), "JPEG")

# ---- images

SET_ASIDE = {
    "zero bytes": (lambda d: b"", r"is empty \(0 bytes\)"),
    "truncated PNG": (lambda d: PLAIN[: len(PLAIN) // 2], "truncated or damaged"),
    "truncated JPEG": (lambda d: JPEG[: len(JPEG) // 2], "truncated or damaged"),
    "a flipped byte in a PNG": (
        lambda d: PLAIN[:200] + bytes([PLAIN[200] ^ 255]) + PLAIN[201:],
        "truncated or damaged",
    ),
    "HTML named .png": (lambda d: b"<!DOCTYPE html><html>404</html>", "an HTML or XML page"),
    "a PDF named .png": (lambda d: b"%PDF-1.7\n", "is a PDF"),
    "a text named .png": (lambda d: b"see the other folder\n", "is not an image"),
    "a zip named .png": (lambda d: b"PK\x03\x04rest", "a zip archive"),
    "a GIF named .png": (lambda d: encoded(Image.fromarray(FILM), "GIF"), "is a GIF"),
    "a TIFF named .png": (lambda d: encoded(Image.fromarray(FILM), "TIFF"), "is a TIFF"),
    "a WebP named .png": (lambda d: encoded(Image.fromarray(FILM), "WEBP"), "a WebP"),
    "a Git LFS pointer": (lambda d: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    "a pickle with code, named .png": (lambda d: b"cos\nsystem\n(S'touch pwned'\ntR.", "is not an image"),
    "an animated PNG": (
        lambda d: encoded(Image.fromarray(FILM), save_all=True, append_images=[Image.fromarray(255 - FILM)]),
        r"is animated \(2 pictures\)",
    ),
    "1 x 1": (lambda d: encoded(Image.new("L", (1, 1))), "is 1 x 1 pixels; expected a radiograph of at least 32 x 32"),
    "a header of 30,000 x 30,000": (lambda d: png_header(30_000, 30_000), "refused before decoding"),
    "a header of 10,000 x 8,000": (lambda d: png_header(10_000, 8_000), "10000 x 8000 pixels, refused before decoding"),
    "a PNG without pixels": (lambda d: png_header(100, 100), "truncated or damaged"),
    "a text chunk that unpacks to 100 MB": (
        lambda d: (
            PLAIN[:33]
            + (
                lambda body: (
                    struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
                )
            )(b"k\0\0" + zlib.compress(b"\0" * 100_000_000, 9))
            + PLAIN[33:]
        ),
        "truncated or damaged",
    ),
    "DICOM without pixels": (lambda d: dicom(folder=d, without=("PixelData",)), r"without pixels \(CR\)"),
    "DICOM with several frames": (lambda d: dicom(folder=d, NumberOfFrames=3), "has 3 frames"),
    "DICOM of 30,000 x 30,000": (
        lambda d: dicom(folder=d, Rows=30_000, Columns=30_000),
        "30000 x 30000 pixels, refused before decoding",
    ),
    "DICOM whose pixels end early": (lambda d: dicom(folder=d, Rows=700), "damaged|could not be decoded"),
    "DICOM cut in the header": (lambda d: dicom(folder=d)[:180], "without pixels|damaged"),
    "a name that is a folder": (None, "is a folder"),
    "a name that is a dead link": (None, "no such file"),
    "a file that is missing": (None, "no such file"),
}

READ = {
    "16 bits": lambda d: encoded(Image.fromarray(FILM.astype(np.uint16) * 257)),
    "12 bits in 16": lambda d: encoded(Image.fromarray(FILM.astype(np.uint16) * 16)),
    "RGB": lambda d: encoded(Image.fromarray(FILM).convert("RGB")),
    "alpha": lambda d: encoded(Image.fromarray(FILM).convert("RGBA")),
    "a palette": lambda d: encoded(Image.fromarray(FILM).convert("P")),
    "a JPEG named .png": lambda d: encoded(Image.fromarray(FILM), "JPEG", quality=100, subsampling=0),
    "CMYK": lambda d: encoded(Image.fromarray(FILM).convert("CMYK"), "JPEG", quality=100, subsampling=0),
    "DICOM named .png": lambda d: dicom(folder=d),
    "DICOM of 12 bits with a window": lambda d: dicom(
        folder=d, pixels=FILM.astype(np.uint16) * 16, bits=12, WindowCenter=2048, WindowWidth=4096
    ),
    "DICOM, MONOCHROME1": lambda d: dicom(folder=d, pixels=255 - FILM, photometric="MONOCHROME1"),
    "DICOM in RGB": lambda d: dicom(folder=d, pixels=np.repeat(FILM[..., None], 3, axis=2), photometric="RGB"),
}


@pytest.mark.parametrize("fault", SET_ASIDE)
def test_a_bad_image_is_set_aside_with_its_reason(fault, root, monkeypatch):
    make, reason = SET_ASIDE[fault]
    bad = root / "images" / "bad" / "0.png"
    bad.unlink()
    if make:
        bad.write_bytes(make(root))
    elif "folder" in fault:
        bad.mkdir()
    elif "link" in fault:
        bad.symlink_to("nowhere.png")
    monkeypatch.chdir(root)
    data = prepared(root)
    (entry,) = data.rejected
    assert (entry.study, entry.file, entry.dropped) == ("bad", "bad/0.png", False)
    assert re.search(reason, entry.reason), entry.reason
    assert str(root) not in entry.reason
    assert data.ids == ["good", "bad", "also"] and [data.num_views(i) for i in range(3)] == [1, 1, 1]
    assert not (root / "pwned").exists()


@pytest.mark.parametrize("kind", READ)
def test_a_film_of_any_kind_is_read(kind, root):
    (root / "images" / "bad" / "0.png").write_bytes(READ[kind](root))
    data = prepared(root)
    assert data.rejected == ()
    difference = np.abs(data.views(1)[0].astype(int) - data.views(1)[1])
    assert difference.max() <= 8 and difference.mean() <= 2
