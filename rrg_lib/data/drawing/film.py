"""The film: soft masks of discs, clouds, strokes and polygons on a 256 × 256 grid, the layers of a view, and their
exposure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

SIZE = 256
ROWS = np.arange(SIZE, dtype=np.float32)
COLUMNS = np.arange(SIZE, dtype=np.float32)
_FINE = 3  # strokes and polygons are drawn this much larger and averaged down, which is what makes their edges smooth


class Patch(NamedTuple):
    """A mask of values in 0..1 and where its first row and column lie on the film."""

    mask: np.ndarray  # (h, w) float32
    top: int
    left: int

    def window(self) -> tuple[slice, slice]:
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def extent(self, level: float = 0.3) -> tuple[int, int, int, int]:
        """`(x0, y0, x1, y1)`, half open, around the pixels that reach `level` of the largest; the whole window when
        none does."""
        inside = self.mask >= max(level * float(self.mask.max(initial=0)), 1e-6)
        ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(ys):
            return self.left, self.top, self.left + self.mask.shape[1], self.top + self.mask.shape[0]
        return self.left + int(xs[0]), self.top + int(ys[0]), self.left + int(xs[-1]) + 1, self.top + int(ys[-1]) + 1


def _blank() -> np.ndarray:
    return np.zeros((SIZE, SIZE), np.float32)


@dataclass
class Layers:
    """One view before exposure; every layer is (256, 256) float32. `air` is how much air a ray meets, the others how
    much of it they stop."""

    tissue: np.ndarray = field(default_factory=_blank)
    bone: np.ndarray = field(default_factory=_blank)
    air: np.ndarray = field(default_factory=_blank)
    markings: np.ndarray = field(default_factory=_blank)
    metal: np.ndarray = field(default_factory=_blank)

    def density(self) -> np.ndarray:
        """(256, 256): what the film sees. Markings show only where there is air around them."""
        return self.tissue + self.bone - 0.42 * self.air + 0.17 * self.markings * np.clip(self.air, 0, 1) + self.metal


def add(layer: np.ndarray, patch: Patch, amount: float) -> Patch:
    """Adds `amount` of the mask to the layer, in place."""
    layer[patch.window()] += amount * patch.mask
    return patch


def fade(layer: np.ndarray, patch: Patch, amount: float) -> Patch:
    """Takes away that part of the layer where the mask is, in place: 1 leaves nothing."""
    layer[patch.window()] *= 1 - amount * patch.mask
    return patch


def edge(distance: np.ndarray, width: float = 1.5) -> np.ndarray:
    """1 where `distance` is positive, 0 where negative, a ramp `width` pixels wide between."""
    return np.clip(0.5 + distance / width, 0, 1)


def _window(x0: float, y0: float, x1: float, y1: float) -> tuple[int, int, int, int]:
    left, top = int(np.clip(np.floor(x0), 0, SIZE - 2)), int(np.clip(np.floor(y0), 0, SIZE - 2))
    return left, top, int(np.clip(np.ceil(x1), left + 2, SIZE)), int(np.clip(np.ceil(y1), top + 2, SIZE))


def _radius(cx: float, cy: float, rx: float, ry: float, angle: float, reach: float) -> tuple[np.ndarray, int, int]:
    """Distance from the centre of an ellipse, 1 on its edge, in a window `reach` radii wide."""
    r = max(rx, ry) * reach + 2
    left, top, right, bottom = _window(cx - r, cy - r, cx + r, cy + r)
    x, y = COLUMNS[left:right] - cx, ROWS[top:bottom, None] - cy
    c, s = np.cos(angle), np.sin(angle)
    return np.sqrt(((c * x + s * y) / rx) ** 2 + ((c * y - s * x) / ry) ** 2), top, left


def disc(cx: float, cy: float, rx: float, ry: float | None = None, *, angle: float = 0.0, soft: float = 1.5) -> Patch:
    """An ellipse of radii `rx` and `ry`, turned by `angle` radians, whose edge is `soft` pixels wide."""
    ry = rx if ry is None else ry
    radius, top, left = _radius(cx, cy, rx, ry, angle, 1 + soft / min(rx, ry))
    return Patch(edge((1 - radius) * min(rx, ry), soft).astype(np.float32), top, left)


def ring(cx: float, cy: float, radius: float, width: float) -> Patch:
    """A circle's line, `width` pixels wide."""
    distance, top, left = _radius(cx, cy, radius, radius, 0.0, 1 + width / radius)
    return Patch(edge(width / 2 - np.abs(1 - distance) * radius, 1.0).astype(np.float32), top, left)


def cloud(
    cx: float, cy: float, rx: float, ry: float, rng: np.random.Generator, *, angle: float = 0.0, ragged: float = 0.7
) -> Patch:
    """A patchy ellipse: dense in the middle, eaten away at the edge by a texture of weight `ragged`."""
    radius, top, left = _radius(cx, cy, rx, ry, angle, 1.25)
    grain = texture(rng, radius.shape, 9)
    return Patch(
        np.clip(1.25 - radius * 1.1 + ragged * grain, 0, 1).astype(np.float32) * edge(1.25 - radius, 0.3), top, left
    )


def texture(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise in about -1..1 whose grains are `cell` pixels wide."""
    height, width = (max(2, int(n / cell) + 1) for n in shape)
    coarse = Image.fromarray(rng.uniform(-1, 1, (height, width)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _fine_picture(points: np.ndarray, margin: float) -> tuple[Image.Image, int, int]:
    left, top, right, bottom = _window(*(points.min(axis=0) - margin), *(points.max(axis=0) + margin + 1))
    return Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE)), top, left


def _averaged(picture: Image.Image, top: int, left: int) -> Patch:
    return Patch(np.asarray(picture.reduce(_FINE), np.float32) / 255, top, left)


def strokes(lines: Sequence[np.ndarray], width: float | Iterable[float] = 1.5) -> Patch:
    """Polylines, each (points, 2) of x and y, of one width or of one width a line, in one patch."""
    widths = [width] * len(lines) if isinstance(width, int | float) else list(width)
    picture, top, left = _fine_picture(np.concatenate(lines), max(widths))
    pen = ImageDraw.Draw(picture)
    for line, thickness in zip(lines, widths, strict=True):
        points = ((np.asarray(line) - (left, top) + 0.5) * _FINE).ravel().tolist()
        pen.line(points, fill=255, width=max(1, round(thickness * _FINE)), joint="curve" if thickness > 4 else None)
    return _averaged(picture, top, left)


def polygon(points: Sequence[Sequence[float]]) -> Patch:
    """A filled polygon with corners (points, 2) of x and y."""
    corners = np.asarray(points, np.float32)
    picture, top, left = _fine_picture(corners, 1)
    ImageDraw.Draw(picture).polygon(((corners - (left, top) + 0.5) * _FINE).ravel().tolist(), fill=255)
    return _averaged(picture, top, left)


def bend(start: Sequence[float], middle: Sequence[float], end: Sequence[float], count: int = 12) -> np.ndarray:
    """(count, 2): points of the quadratic Bézier curve from `start` to `end`, drawn towards `middle`."""
    t = np.linspace(0, 1, count)[:, None]
    return (1 - t) ** 2 * np.asarray(start) + 2 * t * (1 - t) * np.asarray(middle) + t**2 * np.asarray(end)
