"""The lateral view of a chest without findings; the patient faces the image's left."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, RIGHT, Anatomy
from rrg_lib.data.drawing.film import COLUMNS, ROWS, SIZE, Layers, add, bend, disc, edge, polygon, strokes

Y = ROWS[:, None]  # (256, 1)
X = COLUMNS[None, :]  # (1, 256)


def draw_lateral(anatomy: Anatomy, rng: np.random.Generator) -> Layers:
    """The layers of the lateral view."""
    view = Layers()
    front, back = anatomy.sternum_z()[:, None], anatomy.back_z()[:, None]
    skin_front, skin_back = (
        front - anatomy.wall * 0.8 - 4 - 10 * anatomy.breast * np.exp(-(((Y - 140) / 40) ** 2)),
        back + 18,
    )
    body = edge(X - skin_front, 4) * edge(skin_back - X, 4)
    view.tissue += body * (0.5 + 0.08 * np.clip((X - skin_front) / 40, 0, 1) * np.clip((skin_back - X) / 30, 0, 1))
    view.tissue += 0.20 * body * edge(70 - Y, 70)  # shoulders and raised arms
    top = anatomy.apex + 2
    lung = edge(X - front, 3) * edge(back - X, 5) * edge(Y - top - 18 * np.abs((X - 145) / 40) ** 2, 12)
    for side in (RIGHT, LEFT):
        diaphragm = anatomy.lateral_diaphragm(side)[None, :]
        inside = edge(diaphragm - Y, 3)
        view.air += 0.5 * anatomy.aeration[side] * lung * inside * (0.8 + 0.2 * edge(105 - Y, 60))
        view.tissue += 0.08 * body * edge(Y - diaphragm, 6)
    _heart(view, anatomy)
    _ribs(view, anatomy, rng, lung)
    _sternum_and_trachea(view, anatomy)
    draw_spine(view, anatomy)
    view.markings[:] = _vessels(anatomy, rng)
    return view


def heart(anatomy: Anatomy) -> tuple[float, float, float, float]:
    """Centre and radii of the heart in the lateral view: it lies on the diaphragm behind the sternum."""
    rx, ry = 74 * anatomy.heart_ratio + 4, 58 * anatomy.heart_ratio + 10
    return float(anatomy.sternum_z()[160]) + rx * 0.94 + 2, anatomy.dome[LEFT] - ry * 0.80, rx, ry


def _heart(view: Layers, anatomy: Anatomy) -> None:
    cx, cy, rx, ry = heart(anatomy)
    patch = disc(cx, cy, rx, ry, angle=0.55, soft=13)
    add(view.tissue, patch, 0.05)
    add(view.air, patch._replace(mask=patch.mask * view.air[patch.window()]), -0.55)
    arch = bend((cx + 5, cy - ry), (cx + 10, 58), (float(anatomy.spine_z()[85]) - 14, 92), 12)
    add(view.tissue, strokes([arch], 15), 0.07)


def _ribs(view: Layers, anatomy: Anatomy, rng: np.random.Generator, lung: np.ndarray) -> None:
    for slope, weight in ((0.62, 0.05), (0.5, 0.035)):  # the near and the far side do not coincide
        phase = (Y - slope * (anatomy.back_z()[:, None] - X)) / (anatomy.rib_spacing * 1.1) + rng.uniform(0, 1)
        phase -= np.floor(phase)
        view.bone += weight * lung * np.clip(1.6 - np.abs(phase - 0.22) / 0.1, 0, 1) * edge(X - 96, 50)


def _sternum_and_trachea(view: Layers, anatomy: Anatomy) -> None:
    rows = np.arange(52, 172, 8)
    add(view.bone, strokes([np.stack([anatomy.sternum_z()[rows] - 4, rows], axis=1)], 6), 0.12)
    add(view.air, strokes([np.array([(138, 24), (142, 70), (148, 104)])], 10), 0.35)
    shoulder = [(120, 0), (215, 0), (204, 46), (178, 64), (150, 40)]
    add(view.tissue, polygon(shoulder), 0.06)


def vertebrae(anatomy: Anatomy) -> list[tuple[float, float, float]]:
    """`(x, y, lean)` of each vertebra from top to bottom: its middle and the direction of the spine there, in
    radians."""
    line, levels = anatomy.spine_z(), np.arange(34, 250, anatomy.vertebra)
    slope = np.gradient(line)
    return [(float(line[int(y)]), float(y), float(np.arctan(slope[int(y)]))) for y in levels]


def vertebra_corners(x: float, y: float, lean: float, half_width: float, half_height: float) -> np.ndarray:
    """(4, 2): front top, back top, back bottom, front bottom."""
    corners = np.array(
        [(-half_width, -half_height), (half_width, -half_height), (half_width, half_height), (-half_width, half_height)]
    )
    c, s = np.cos(lean), np.sin(lean)
    return corners @ np.array([(c, -s), (s, c)]) + (x, y)


def draw_spine(view: Layers, anatomy: Anatomy) -> None:
    """Vertebral bodies with bright endplates and the dark discs between them."""
    for x, y, lean in vertebrae(anatomy):
        corners = vertebra_corners(x, y, lean, 10.5 + y / 100, 0.39 * anatomy.vertebra)
        add(view.bone, polygon(corners), 0.085)
        add(view.bone, strokes([corners[:2], corners[2:], corners[[0, 3]]], 1.2), 0.07)
    line = np.stack([anatomy.spine_z() + 20, ROWS], axis=1)[30:250:10]
    add(view.bone, strokes([line], 9), 0.06)  # arches and processes


def _vessels(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    hilum = np.array([138.0, 112.0])
    lines, widths = [], []
    for angle in np.linspace(0, 2 * np.pi, 14, endpoint=False) + rng.normal(0, 0.15, 14):
        end = hilum + rng.uniform(35, 70) * np.array([np.cos(angle), 1.1 * np.sin(angle)])
        trunk = bend(hilum + rng.normal(0, 7, 2), (hilum + end) / 2 + rng.normal(0, 6, 2), end, 7)
        lines += [trunk[:4], trunk[3:]]
        widths += [2.2, 1.2]
    layer = np.zeros((SIZE, SIZE), np.float32)
    add(layer, strokes(lines, widths), 0.6)
    add(layer, disc(*hilum, 13, 16, soft=12), 0.7)
    return layer
