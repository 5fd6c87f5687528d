"""Whether a file can be read, and whether what it shows can be a film of a chest; and a page of many films to look
at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rrg_lib.data.dicom import is_dicom
from rrg_lib.data.images import SIZE, open_radiograph, read_radiograph
from rrg_lib.errors import ImageError
from rrg_lib.runtime.workspace import written_whole

#: What no film of a chest is: longer than twice its width, smaller than this, nearly of one gray (standard deviation),
#: in colour (channels apart).
MAX_RATIO, MIN_SIDE, MIN_CONTRAST, MAX_COLOUR = 2.0, 128, 8.0, 12.0
TILE, CAPTION, COLUMNS = 160, 28, 8


@dataclass(frozen=True)
class Look:
    """`fault` says why the file can't be read, `oddness` why it may be no chest film; "" for neither."""

    fault: str = ""
    oddness: str = ""
    digest: str = ""


def look_at(images: Path, path: str) -> Look:
    """Opens one image. Never raises for a file of whatever content."""
    try:
        film = open_radiograph(images / path)
    except ImageError as error:
        return Look(fault=str(error).replace(f"{images}/", ""))
    square = np.asarray(film.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return Look(
        "",
        _oddness(images / path, film, square),
        hashlib.sha256(square.tobytes() + repr(film.size).encode()).hexdigest(),
    )


def _oddness(path: Path, film: Image.Image, square: np.ndarray) -> str:
    width, height = film.size
    if max(width, height) > MAX_RATIO * min(width, height):
        return f"{width} x {height}: longer than twice its width"
    if min(width, height) < MIN_SIDE:
        return f"{width} x {height}: small"
    if square.std() < MIN_CONTRAST:
        return "nearly of one gray"
    if (colour := _colour(path)) > MAX_COLOUR:
        return f"in colour (channels {colour:.0f} apart)"
    return ""


def _colour(path: Path) -> float:
    """How far the channels are apart, of 255, on average."""
    if is_dicom(path):
        return 0.0
    with Image.open(path) as image:
        if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
            return 0.0
        image.draft("RGB", (128, 128))
        channels = np.asarray(image.convert("RGB").resize((64, 64)), np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())


def contact_sheet(looks: Sequence[tuple[str, Look]], images: Path, path: Path) -> Path:
    """A PNG of films below `images` with their names, `COLUMNS` a row; what can't be read or is odd is framed in red,
    with the reason on it."""
    rows = max(1, -(-len(looks) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for i, (name, look) in enumerate(looks):
        x, y = i % COLUMNS * TILE, i // COLUMNS * (TILE + CAPTION)
        if not look.fault:
            sheet.paste(Image.fromarray(read_radiograph(images / name, TILE - 6)), (x + 3, y + 3))
        if why := look.fault or look.oddness:
            draw.rectangle((x + 1, y + 1, x + TILE - 2, y + TILE - 2), outline="red", width=3)
            for line, start in enumerate(range(0, min(len(why), 150), 25)):
                draw.text((x + 6, y + 6 + 12 * line), why[start : start + 25], "red", font)
        for line, start in enumerate(range(0, min(len(name), 52), 26)):
            draw.text((x + 3, y + TILE + 12 * line), name[start : start + 26], "black", font)
    with written_whole(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def sheet_of(looks: dict[str, Look], images: Path, path: Path, most: int = 48) -> Path:
    """`contact_sheet` of the images that something is wrong with and, evenly spread, of the others: `most` in all."""
    wrong = [(name, look) for name, look in looks.items() if look.fault or look.oddness][: most // 2]
    fine = [(name, look) for name, look in looks.items() if not (look.fault or look.oddness)]
    room = min(most - len(wrong), len(fine))
    return contact_sheet([*wrong, *(fine[(2 * i + 1) * len(fine) // (2 * room)] for i in range(room))], images, path)
