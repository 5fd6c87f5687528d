"""A radiograph from a file: PNG, JPEG or DICOM of any mode and depth, to a square of 8-bit gray."""

from __future__ import annotations

import math
import warnings
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rrg_lib.data.dicom import dicom_pixels, is_dicom
from rrg_lib.errors import ImageError

#: Side of the stored views in pixels.
SIZE = 256
#: The largest image that is decoded: 8,000 x 8,000. The largest films of the public collections have about a third of
#: it.
MAX_PIXELS = 64_000_000
#: The smallest side, in pixels, that is taken for a radiograph.
MIN_SIDE = 32
#: Of a deep image, this share of the darkest and of the brightest pixels is left out of its range: burnt-in marks would
#: else set it.
RANGE_TAILS = 0.001
#: Nor what stands apart from all the rest: on the other side of a gap of so much of the range, in which next to no
#: pixel lies. A burnt-in mark or a white frame is at most so much of a film, its borders (-2000, as of no ray) so much.
GAP, MOST_MARKED, MOST_BORDER = 0.35, 0.25, 0.7
_BINS = 256

_FORMATS = ("PNG", "JPEG")
#: What Pillow calls the PNGs of 16 bits of which it would read 8; and how colours weigh in luminance (ITU-R 601).
_DEEP_COLOUR = ("LA;16B", "RGB;16B", "RGBA;16B")
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_SIGNATURES = (  # how the files that end up among radiographs begin; only used to say what a refused file is
    (b"<", "an HTML or XML page (a failed download?)"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"PK\x03\x04", "a zip archive"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"RIFF", "a WebP image"),
    (b"{", "a JSON text"),
    (b"version https://git-lfs", "a Git LFS pointer, not the image itself"),
    (b"\x89PNG", "a PNG whose header is damaged"),
    (b"\xff\xd8", "a JPEG whose header is damaged"),
)


class StoredImage(Protocol):
    """An image that is no file of its own but a part of another one; its text is its name."""

    def read_bytes(self) -> bytes: ...


def read_radiograph(path: Path | str | StoredImage, size: int = SIZE) -> np.ndarray:
    """The image in `path` as (size, size) uint8, 0 black.

    *The whole film is kept and squashed to a square* (bilinear, antialiased), as the R2Gen release does to validation
    and test images: nothing is cropped, so a costophrenic angle at the edge of the film stays, and the aspect ratio is
    not. Colour becomes luminance, transparency lies on black, EXIF orientation is obeyed, and images deeper than 8 bit
    are scaled by their own range (`RANGE_TAILS` left out at each end). A JPEG much larger than `size` is
    decoded at a fraction of its resolution, at least twice `size`. A DICOM file is shown as its header says
    (`dicom.dicom_pixels`).

    Raises:
        ImageError: not there, not a PNG, JPEG or DICOM file, animated, damaged, smaller than `MIN_SIDE` or larger than
            `MAX_PIXELS` (refused before decoding).
    """
    return np.asarray(open_radiograph(path, size).resize((size, size), Image.Resampling.BILINEAR))


def pixel_box(x0: float, y0: float, x1: float, y1: float, size: int = SIZE) -> tuple[int, int, int, int]:
    """A box in shares of an image's width and height, 0 to 1, as pixels (x0, y0, x1, y1) of what `read_radiograph`
    makes of that image, half open.

    The whole film is squashed to the square, so shares stay shares; every pixel that the box touches is in it, one at
    least.
    """

    def ends(low: float, high: float) -> tuple[int, int]:
        # 0.3 * 10 is 3.0000000000000004 to a computer: a pixel that is touched by less than a billionth is not touched
        first = min(math.floor(low * size + 1e-9), size - 1)
        return first, max(min(math.ceil(high * size - 1e-9), size), first + 1)

    (left, right), (top, bottom) = ends(x0, x1), ends(y0, y1)
    return left, top, right, bottom


def open_radiograph(path: Path | str | StoredImage, size: int = SIZE) -> Image.Image:
    """The image in `path` in 8-bit gray and its own shape, at least twice `size` where it is that large. Raises as
    `read_radiograph` does."""
    path = Path(path) if isinstance(path, str) else path
    try:
        source = encoded(path)
        if isinstance(path, Path) and is_dicom(path):
            return _film(dicom_pixels(path, lambda width, height: _check_size(path, width, height)))
        with warnings.catch_warnings():  # Pillow warns of what is refused here anyway
            warnings.simplefilter("ignore")
            with Image.open(source, formats=_FORMATS) as image:
                _check_size(path, *image.size)
                if (frames := getattr(image, "n_frames", 1)) > 1:
                    raise ImageError(
                        f"{path}: is animated ({frames} pictures); expected one radiograph. Save the one that is meant"
                    )
                if image.format == "PNG" and image.tile[0][3] in _DEEP_COLOUR:
                    return _turned(_film(_deep_luminance(source)), image)
                image.draft("L", (2 * size, 2 * size))  # JPEG only: the decoder itself halves, before the pixels exist
                return _gray(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: refused before decoding, {error}; {_limit()}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is {_what(path)}; expected a PNG, a JPEG or a DICOM file. Replace it, or take it out of the data"
        ) from error
    except PermissionError as error:
        raise ImageError(f"{path}: may not be read ({error.strerror}). Change its permissions") from error
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        raise ImageError(
            f"{path}: the image data is truncated or damaged ({error}); expected a whole PNG or JPEG. Get the file "
            f"again"
        ) from error


def _deep_luminance(source: Path | BytesIO) -> np.ndarray:
    """A PNG of 16-bit colour as luminance (H, W), transparency on black. Pillow keeps the high byte alone, in which a
    film of 12 bits has 16 grays."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    data = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    decoded = decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED)
    channels = decoded.numpy().astype(np.float32)  # (1 to 4, H, W)
    gray = channels[0] if len(channels) < 3 else np.tensordot(_LUMINANCE, channels[:3], 1)
    return gray if len(channels) in (1, 3) else gray * (channels[-1] / 65535)


def _turned(film: Image.Image, as_stored: Image.Image) -> Image.Image:
    """`film` as the EXIF orientation of the image it was decoded from says."""
    film.info["exif"] = as_stored.getexif().tobytes()
    return ImageOps.exif_transpose(film)


def _film(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels if pixels.dtype == np.uint8 else _scaled(pixels))


def encoded(path: Path | StoredImage) -> Path | BytesIO:
    """What a decoder opens: the file, or the bytes that are stored elsewhere. Raises `ImageError` for neither."""
    if isinstance(path, Path):
        _check_file(path)
        return path
    data = path.read_bytes()
    if not data:
        raise ImageError(f"{path}: is empty (0 bytes); expected a PNG or JPEG radiograph. Get the file again")
    return BytesIO(data)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise ImageError(f"{path}: no such file; expected a PNG or JPEG radiograph. Check the path, or fetch the image")
    if not path.is_file():
        raise ImageError(
            f"{path}: is {'a folder' if path.is_dir() else 'not a regular file'}; expected a PNG or JPEG radiograph"
        )
    if path.stat().st_size == 0:
        raise ImageError(f"{path}: is empty (0 bytes); expected a PNG or JPEG radiograph. Get the file again")


def _check_size(path: Path | StoredImage, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{path}: its header says {width} x {height} pixels, refused before decoding; {_limit()}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{path}: is {width} x {height} pixels; expected a radiograph of at least {MIN_SIDE} x {MIN_SIDE}. Get the "
            f"original film"
        )


def _limit() -> str:
    return f"the limit is {MAX_PIXELS:,} pixels. Scale the image down, or replace it"


def _what(path: Path | StoredImage) -> str:
    """In words, what a file that is no image begins with."""
    if isinstance(path, Path):
        try:
            with open(path, "rb") as file:
                head = file.read(64)
        except OSError as error:
            return f"not readable ({error.strerror})"
    else:
        head = path.read_bytes()[:132]
        if head[128:] == b"DICM":
            return "a DICOM file, which is read from a folder alone"
    for signature, name in _SIGNATURES:
        if head.lstrip().startswith(signature):
            return name
    return f"not an image (it begins with {head[:8]!r})"


def _gray(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit gray ("L")."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled(np.asarray(image)))
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return (
        image.convert("RGB").convert("L") if image.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV") else image.convert("L")
    )


def _scaled(pixels: np.ndarray) -> np.ndarray:
    """Deep pixels (H, W) to uint8 by their own range, `RANGE_TAILS` of them clipped at each end, and what stands apart
    (`GAP`); a blank image is all 0."""
    film = _without_marks(pixels)
    low, high = np.quantile(film, (RANGE_TAILS, 1 - RANGE_TAILS), method="nearest").astype(np.float64)
    if high <= low:  # nearly all pixels alike: take what range there is
        low, high = float(pixels.min()), float(pixels.max())
    if high <= low:
        return np.zeros(pixels.shape, np.uint8)
    return np.rint(np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _without_marks(pixels: np.ndarray) -> np.ndarray:
    """The pixels that are not on the far side of a gap, as a flat array; all of them where there is none."""
    low, high = float(pixels.min()), float(pixels.max())
    if not high > low:
        return pixels
    counts = np.histogram(pixels, _BINS, (low, high))[0]
    empty = counts <= 1e-4 * pixels.size
    edges = np.flatnonzero(np.diff(np.concatenate(([False], empty, [False])).astype(np.int8)))
    begin, end = max(edges.reshape(-1, 2), key=lambda run: run[1] - run[0], default=(0, 0))
    if end - begin < GAP * _BINS:
        return pixels
    above, below = counts[end:].sum() / pixels.size, counts[:begin].sum() / pixels.size
    step = (high - low) / _BINS
    if above <= MOST_MARKED and np.count_nonzero(counts[:begin]) > 2:
        return pixels[pixels < low + begin * step]
    if below <= MOST_BORDER and np.count_nonzero(counts[end:]) > 2:
        return pixels[pixels >= low + end * step]
    return pixels
