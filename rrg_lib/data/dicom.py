"""Radiographs in DICOM files: 8 to 16 bits, MONOCHROME1 or 2, shown through the window or the look-up table that the
header asks for."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rrg_lib.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

_PREAMBLE, _MAGIC = 128, b"DICM"


#: How a file begins that was written without a preamble: an element of the first groups, little endian, with its length
#: or its type.
_BARE = re.compile(rb"[\x02\x08]\x00.\x00(?:[A-Z]{2}|.\x00\x00\x00)", re.DOTALL)


def is_dicom(path: Path) -> bool:
    """Whether the file says that it is DICOM, by its content or, for one without the preamble, by its first element or
    its name."""
    with open(path, "rb") as file:
        head = file.read(_PREAMBLE + 4)
    return head[_PREAMBLE:] == _MAGIC or bool(_BARE.match(head)) or path.suffix.lower() in (".dcm", ".dicom")


def dicom_pixels(path: Path, check_size: Callable[[int, int], None]) -> np.ndarray:
    """The pixels (H, W) of a DICOM radiograph, bone bright.

    uint8 where the header has a window or look-up table (of several the first, a table before a window), or 8 bits
    without; else of the depth of the file, to be scaled by its own range. A window in which all of the film is black or
    white is none. MONOCHROME1, in which low values are bright, is turned over; what the header calls padding is black;
    colour becomes luminance. `check_size(width, height)` is called before anything is decoded.

    Raises `ImageError`: no DICOM file, deflated as a whole (what that unpacks to, no header says), no pixels, several
    frames, a window that is no number, an encoding that needs a package that is not installed, damaged.
    """
    import pydicom

    try:
        with (
            warnings.catch_warnings()
        ):  # pydicom warns of values that break the standard; the films of the collections have many
            warnings.simplefilter("ignore")
            _check_deflated(path)
            header = pydicom.dcmread(path, force=True)
            _read_window(path, header)
            if (
                "Rows" not in header
                or "Columns" not in header
                or not any(name in header for name in ("PixelData", "FloatPixelData"))
            ):
                raise ImageError(
                    f"{path}: is a DICOM file without pixels ({_kind(header)}); expected a radiograph. Take it out of "
                    f"the data"
                )
            check_size(int(header.Columns), int(header.Rows))
            if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
                raise ImageError(f"{path}: has {frames} frames; expected one radiograph. Save the one that is meant")
            if (
                "TransferSyntaxUID" not in header.file_meta
            ):  # written without a header of the file: by the standard the plainest encoding
                header.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
            return _shown(header)
    except ImageError:
        raise
    except pydicom.errors.InvalidDicomError as error:
        raise ImageError(f"{path}: is not a DICOM file, whatever its name says. Get the file again") from error
    except (NotImplementedError, RuntimeError) as error:
        name = header.file_meta.TransferSyntaxUID.name
        raise ImageError(
            f"{path}: its pixels are encoded as {name} and could not be decoded ({str(error).splitlines()[0]}). If no "
            f"decoder is installed: "
            "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg; else get the file again"
        ) from error


def _kind(header: Dataset) -> str:
    return str(header.get("Modality") or header.get("SOPClassUID") or "no modality named")


def _shown(header: Dataset) -> np.ndarray:
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    photometric = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    stored = header.pixel_array
    if not photometric.startswith("MONOCHROME"):
        return _luminance(header, stored, photometric)
    values = apply_modality_lut(stored, header)  # (H, W)
    for name in (
        "RescaleSlope",
        "RescaleIntercept",
    ):  # done: left there, a negative slope would turn the window over once more
        header.pop(name, None)
    padding = _padding(header, stored)
    windowed = None
    if "VOILUTSequence" in header or _window_width(header) >= 1:
        windowed = _scaled_by(apply_voi_lut(values, header), *_limits(header))
    if windowed is not None and np.ptp(windowed[~padding]) > 0:
        values = windowed
    elif header.get("BitsStored", 16) <= 8 and values.min() >= 0 and values.max() <= 255:
        values = values.astype(np.uint8)
    if photometric == "MONOCHROME1":
        values = 255 - values if values.dtype == np.uint8 else -values.astype(np.float32)
    if padding.any():
        values = np.where(padding, 0 if values.dtype == np.uint8 else values[~padding].min(), values)
    return values


def _check_deflated(path: Path) -> None:
    from pydicom.filereader import read_file_meta_info

    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except Exception:  # no such header, or a damaged one: who reads the whole file says so
        return
    if syntax is not None and syntax.is_deflated:
        raise ImageError(
            f"{path}: is deflated as a whole ({syntax.name}), and nothing says how much it unpacks to; expected pixels "
            f"that are stored plainly or compressed by themselves. Save it so (dcmconv)"
        )


def _padding(header: Dataset, stored: np.ndarray) -> np.ndarray:
    """Which pixels (H, W) are no film but what the header calls padding: of one value, or between it and its limit.
    None where all are."""
    ends = [header.get(name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return np.zeros(stored.shape, bool)
    low, high = sorted(int(end) for end in (ends if ends[1] is not None else ends[:1] * 2))
    if stored.dtype.kind == "i" and low > np.iinfo(stored.dtype).max:  # a negative value, written as if it were not
        low, high = low - 2**16, high - 2**16
    padding = (stored >= low) & (stored <= high)
    return np.zeros(stored.shape, bool) if padding.all() else padding


def _read_window(path: Path, header: Dataset) -> None:
    """Makes numbers of a window that was written with a decimal comma. Raises `ImageError` for one that is none."""
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DSfloat

    for name in ("WindowCenter", "WindowWidth"):
        value = header.get(name)  # a text where pydicom could make no number of it
        several = value if isinstance(value, MultiValue) else [value]
        texts = [one for one in several if isinstance(one, str) and not isinstance(one, DSfloat)]
        if not texts or not texts[0].strip():
            continue
        try:
            setattr(header, name, float(texts[0].replace(",", ".")))
        except ValueError:
            raise ImageError(
                f"{path}: the header's {name} is {texts[0][:40]!r}; expected a number, for example 2048. Mend the "
                f"header, or take the {name} out of it"
            ) from None


def _window_width(header: Dataset) -> float:
    """The first width there is; 0 for none or one that is no number."""
    width = header.get("WindowWidth")
    first = (
        width[0]
        if width is not None and not isinstance(width, str) and getattr(width, "__len__", None) and len(width)
        else width
    )
    return float(first or 0)


def _limits(header: Dataset) -> tuple[float, float]:
    """What the window or table makes of the darkest and of the brightest value there can be: black and white."""
    from pydicom.pixels import apply_voi_lut

    if "VOILUTSequence" in header:
        table = header.VOILUTSequence[0]
        count, first = int(table.LUTDescriptor[0]) or 2**16, int(table.LUTDescriptor[1])
        ends = apply_voi_lut(np.arange(first, first + count, dtype=np.int64), header)
        return float(ends.min()), float(ends.max())
    reach = 1e9  # far outside any window
    low, high = apply_voi_lut(np.array([-reach, reach]), header)
    return float(low), float(high)


def _scaled_by(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _luminance(header: Dataset, pixels: np.ndarray, photometric: str) -> np.ndarray:
    """Colour (a screen capture, a scan) to gray."""
    from PIL import Image
    from pydicom.pixels import apply_color_lut, convert_color_space

    if photometric == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
    elif photometric.startswith("YBR") and not header.file_meta.TransferSyntaxUID.is_compressed:
        pixels = convert_color_space(pixels, photometric, "RGB")
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).convert("L"))
