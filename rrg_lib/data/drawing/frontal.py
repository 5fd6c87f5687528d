"""The frontal view of a chest without findings: body, lungs, mediastinum, ribs, clavicles, spine and vessels."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, Anatomy, sign
from rrg_lib.data.drawing.film import COLUMNS, ROWS, SIZE, Layers, add, bend, disc, edge, polygon, strokes

Y = ROWS[:, None]  # (256, 1)
_STEPS = 64  # samples of a rib's or vertebra's profile


def draw_frontal(anatomy: Anatomy, rng: np.random.Generator) -> Layers:
    """The layers of the frontal view; `rng` is the source of what the anatomy does not say (vessels, ribs' differences,
    the shoulders)."""
    view = Layers()
    outer = anatomy.outer()[:, None]
    x = COLUMNS[None, :] - MIDLINE
    _soft_tissue(view, anatomy, rng)
    for side in (RIGHT, LEFT):
        u = sign(side) * x
        inner, diaphragm = anatomy.inner(side)[:, None], anatomy.diaphragm(side)[None, :]
        thickness = 0.55 + 0.45 * np.clip((outer - u) / 30, 0, 1)  # a ray near the chest wall meets less lung
        lung = edge(u - inner, 3) * edge(outer - u, 3) * edge(diaphragm - Y, 3)
        view.air += anatomy.aeration[side] * lung * thickness
        half = u > 0
        view.tissue += half * (0.12 * edge(Y - diaphragm, 8) * edge(outer + 4 - u, 8))  # liver, spleen
        view.tissue += half * (0.10 * edge(inner - u, 8) * edge(diaphragm + 14 - Y, 14))  # heart and vessels
    _ribs(view, anatomy, rng, np.abs(x) / np.maximum(outer, 20))
    draw_spine(view, anatomy, rng)
    _trachea(view, anatomy)
    _clavicles(view, anatomy, rng)
    view.bone *= np.clip(4 * view.tissue, 0, 1)  # no bone outside the body
    view.markings[:] = vessels(anatomy, rng)
    return view


def _soft_tissue(view: Layers, anatomy: Anatomy, rng: np.random.Generator) -> None:
    chest = anatomy.width + anatomy.wall
    neck, shoulder = rng.uniform(30, 38), rng.uniform(8, 22)
    half = np.interp(
        ROWS, [0, shoulder, shoulder + 26, 80, 130, 255], [neck, neck + 6, 126, chest + 16, chest, chest + 4]
    )[:, None]
    x = np.abs(COLUMNS[None, :] - MIDLINE)
    body = edge(half - x, 4)
    view.tissue += body * (0.50 + 0.10 * np.clip((half - x) / 40, 0, 1)) + 0.06 * body * np.clip((Y - 120) / 130, 0, 1)
    if anatomy.breast > 0.1:
        for side in (RIGHT, LEFT):
            low = rng.uniform(186, 200)
            add(view.tissue, disc(MIDLINE + sign(side) * 58, low - 34, 34, 36, soft=9), 0.09 * anatomy.breast)


def _ribs(view: Layers, anatomy: Anatomy, rng: np.random.Generator, reach: np.ndarray) -> None:
    """All ribs at once: their phase (how many ribs above a pixel) looks up a profile with bright edges. `reach` is 0 at
    midline, 1 at the wall."""
    ribs = 16
    profile = np.interp(
        np.arange(_STEPS) / _STEPS, [0, 0.05, 0.1, 0.22, 0.34, 0.39, 0.44], [0, 0.9, 1, 0.55, 0.85, 0.7, 0]
    )
    back = (profile[None, :] * rng.uniform(0.8, 1.2, (ribs, 1))).astype(np.float32)
    front = np.roll(back, 1, axis=0) * 0.55
    cage = edge((1.06 - reach) * 60, 5) * edge(Y - anatomy.apex - 4, 6)
    fall = anatomy.rib_fall(reach)
    phase = (Y - anatomy.apex - 4 - fall) / anatomy.rib_spacing - anatomy.rib_phase
    view.bone += 0.10 * cage * _look_up(back, phase) * edge((reach - 0.14) * 60, 8)
    phase = (Y - anatomy.apex - 14 - 44 * (1 - reach)) / anatomy.rib_spacing - anatomy.rib_phase - 0.45
    view.bone += 0.10 * cage * _look_up(front, phase) * edge((reach - 0.5) * 60, 22) * edge(Y - 55, 30)


def _look_up(table: np.ndarray, phase: np.ndarray) -> np.ndarray:
    index = (phase * _STEPS).astype(np.int32)
    return table.ravel()[np.clip(index, 0, table.size - 1)] * ((index >= 0) & (index < table.size))


def _vertebra() -> np.ndarray:
    """(32, 32): one vertebra seen from the front, rows from its upper edge over the disc below, columns over its
    width."""
    y, x = np.mgrid[0:32, 0:32].astype(np.float32) / 31
    x = np.abs(2 * x - 1)
    body = edge(0.80 - y, 0.06) * edge(0.96 - x, 0.08)
    rim = (
        np.exp(-(((y - 0.05) / 0.05) ** 2))
        + np.exp(-(((y - 0.76) / 0.05) ** 2))
        + 0.7 * np.exp(-(((x - 0.92) / 0.06) ** 2)) * (y < 0.8)
    )
    pedicles = np.exp(-(((x - 0.58) / 0.13) ** 2) - ((y - 0.3) / 0.13) ** 2)
    process = np.exp(-((x / 0.10) ** 2) - ((y - 0.72) / 0.2) ** 2)
    return 0.55 * body + 0.35 * np.clip(rim, 0, 1) * edge(0.99 - x, 0.05) + 0.35 * pedicles + 0.3 * process


_VERTEBRA = _vertebra()


def vertebra_half_width(y: np.ndarray | float) -> np.ndarray | float:
    """Half the width of the vertebra at that height, frontal view."""
    return 10.5 + 4.0 * np.asarray(y) / SIZE


def draw_spine(view: Layers, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """The column of vertebrae along its line; fainter behind the heart and the liver than above."""
    middle, half = anatomy.spine_x()[:, None], vertebra_half_width(Y)
    left, right = int(middle.min()) - 20, int(middle.max()) + 21
    across = (COLUMNS[None, left:right] - middle) / half  # (256, w)
    down = (ROWS + rng.uniform(0, anatomy.vertebra)) / anatomy.vertebra
    row = ((down % 1) * 31).astype(int)[:, None]
    column = np.clip((across + 1) * 15.5, 0, 31).astype(int)
    view.bone[:, left:right] += 0.18 * _VERTEBRA[row, column] * (np.abs(across) <= 1)


def _trachea(view: Layers, anatomy: Anatomy) -> None:
    line = np.array([[MIDLINE, 0], [MIDLINE + 1, 50], [MIDLINE + 2, 82]])
    add(view.air, strokes([line], 9), 0.28)
    branches = [bend(line[-1], line[-1] + (s * 8, 10), line[-1] + (s * 20, 22 + 4 * s), 6) for s in (-1, 1)]
    add(view.air, strokes(branches, 6), 0.2)


def clavicle(anatomy: Anatomy, side: int) -> np.ndarray:
    """(16, 2): the line of a clavicle, from the sternum outwards."""
    s, y = sign(side), anatomy.apex + 18
    return np.concatenate([
        bend((MIDLINE + s * 9, y + 6), (MIDLINE + s * 30, y + 3), (MIDLINE + s * 55, y - 8), 8),
        bend((MIDLINE + s * 55, y - 8), (MIDLINE + s * 78, y - 20), (MIDLINE + s * 106, y - 18), 8),
    ])  # fmt: skip


def _clavicles(view: Layers, anatomy: Anatomy, rng: np.random.Generator) -> None:
    for side in (RIGHT, LEFT):
        line, s = clavicle(anatomy, side) + rng.uniform(-2, 2, 2), sign(side)
        add(view.bone, strokes([line], 8), 0.13)
        add(view.bone, strokes([line], 5), -0.035)
        x, y = MIDLINE + s * (anatomy.width + 4), anatomy.apex + 20
        blade = [(x + s * 12, y), (x - s * 12, y + 18), (x - s * 8, y + 52), (x + s * 2, y + 78), (x + s * 14, y + 40)]
        add(view.bone, polygon(blade), 0.06)  # scapula
        add(view.bone, disc(x + s * 26, y + 2, 13, soft=2), 0.12)  # head of the humerus


def vessels(anatomy: Anatomy, rng: np.random.Generator, *, count: int = 9, width: float = 2.6) -> np.ndarray:
    """(256, 256): pulmonary vessels branching from the hila and thinning outwards; more and wider ones make a congested
    lung."""
    lines, widths = [], []
    for side in (RIGHT, LEFT):
        s = sign(side)
        hilum = np.array([MIDLINE + s * (anatomy.mediastinum + 8), 106.0 - 5 * (side == LEFT)])
        for angle in np.linspace(-1.25, 1.35, count) + rng.normal(0, 0.12, count):
            reach = rng.uniform(0.75, 1.0) * (60 + 30 * abs(np.sin(angle)))
            way = np.array([s * np.cos(angle), np.sin(angle)])
            end = hilum + reach * way
            middle = hilum + 0.5 * reach * way + rng.normal(0, 6, 2)
            trunk = bend(hilum, middle, end, 9)
            lines += [trunk[:4], trunk[3:7], trunk[6:]]
            widths += [width, 0.62 * width, 0.4 * width]
            for fork, thickness in ((3, 0.5), (5, 0.35)):
                turn = angle + rng.choice((-0.6, 0.6)) + rng.normal(0, 0.1)
                tip = reach * rng.uniform(0.3, 0.5) * np.array([s * np.cos(turn), np.sin(turn)])
                lines.append(trunk[fork] + np.array([(0, 0), 0.5 * tip + rng.normal(0, 2, 2), tip]))
                widths.append(thickness * width)
    layer = np.zeros((SIZE, SIZE), np.float32)
    add(layer, strokes(lines, widths), 0.8)
    for side in (RIGHT, LEFT):  # the hila themselves
        add(
            layer,
            disc(
                MIDLINE + sign(side) * (anatomy.mediastinum + 6),
                106 - 5 * (side == LEFT),
                9,
                17,
                angle=sign(side) * -0.3,
                soft=10,
            ),
            0.75,
        )
    return layer
