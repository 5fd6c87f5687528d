"""What is on films of healthy people too, and looks a little like a finding: vessels end on, nipples, skin folds, bowel
gas, markers."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, sign
from rrg_lib.data.drawing.film import add, bend, disc, strokes
from rrg_lib.data.drawing.places import Chest, lung_point


def add_distractors(chest: Chest, rng: np.random.Generator) -> None:
    """Each with its own chance, independent of the findings."""
    vessels_end_on(chest, rng)
    bowel_gas(chest, rng)
    marker(chest, rng)
    if rng.random() < 0.25:
        nipples(chest, rng)
    if rng.random() < 0.2:
        skin_fold(chest, rng)
    if rng.random() < 0.3:
        rib_cartilage(chest, rng)
    if rng.random() < 0.3:
        fissure(chest, rng)


def vessels_end_on(chest: Chest, rng: np.random.Generator) -> None:
    """Vessels that run towards the beam: round like a granuloma, but near the hilum, smaller and fainter."""
    for side in (RIGHT, LEFT):
        for _ in range(int(rng.integers(0, 3))):
            at = lung_point(chest.anatomy, side, rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.35), 0.5)
            add(chest.frontal.tissue, disc(at.x, at.y, rng.uniform(1.5, 2.2), soft=1.5), 0.16)


def nipples(chest: Chest, rng: np.random.Generator) -> None:
    """A faint round shadow low in each lung, both at one height."""
    y, x = rng.uniform(160, 174), rng.uniform(50, 62)
    for side in (RIGHT, LEFT):
        add(
            chest.frontal.tissue,
            disc(MIDLINE + sign(side) * (x + rng.uniform(-3, 3)), y + rng.uniform(-3, 3), 5, 4.5, soft=4),
            0.08,
        )


def skin_fold(chest: Chest, rng: np.random.Generator) -> None:
    """An edge like a pneumothorax's, but it runs on past the lung and has markings on both sides."""
    s = rng.choice((-1, 1))
    x, y = MIDLINE + s * rng.uniform(50, 66), rng.uniform(60, 100)
    line = bend((x - s * 14, y - 40), (x + s * 8, y + 20), (x + s * 26, y + 110), 16)
    for step in range(4):  # a gradient to one side, a sharp edge to the other
        add(chest.frontal.tissue, strokes([line - (s * 1.5 * step, 0)], 3), 0.035 - 0.007 * step)


def rib_cartilage(chest: Chest, rng: np.random.Generator) -> None:
    """Calcified cartilage at the front ends of the ribs: short grainy dashes near the heart's edges."""
    dashes = []
    for side in (RIGHT, LEFT):
        for y in np.arange(125, 200, 19) + rng.uniform(-3, 3):
            x = MIDLINE + sign(side) * rng.uniform(48, 60)
            dashes.append(np.array([(x, y), (x - sign(side) * rng.uniform(5, 10), y + rng.uniform(4, 8))]))
    add(chest.frontal.bone, strokes(dashes, 2.6), 0.09)


def fissure(chest: Chest, rng: np.random.Generator) -> None:
    """The minor fissure, a hair line across the right lung, thinner than any atelectasis."""
    a, b = lung_point(chest.anatomy, RIGHT, 0.52, 0.2, 0.5), lung_point(chest.anatomy, RIGHT, 0.54, 0.95, 0.5)
    add(chest.frontal.tissue, strokes([bend((a.x, a.y), ((a.x + b.x) / 2, a.y - 3), (b.x, b.y))], 0.8), 0.10)


def bowel_gas(chest: Chest, rng: np.random.Generator) -> None:
    """The stomach's bubble under the left dome, and sometimes gas in the colon."""
    top = chest.anatomy.dome[LEFT]
    add(
        chest.frontal.tissue,
        disc(MIDLINE + rng.uniform(36, 52), top + rng.uniform(16, 24), rng.uniform(8, 20), rng.uniform(5, 9), soft=5),
        -0.22,
    )
    add(
        chest.lateral.tissue,
        disc(rng.uniform(90, 130), top + rng.uniform(18, 26), rng.uniform(8, 16), rng.uniform(5, 8), soft=5),
        -0.16,
    )
    if rng.random() < 0.3:
        add(chest.frontal.tissue, disc(MIDLINE + rng.uniform(-60, 80), 245, 12, 8, soft=5), -0.16)


def marker(chest: Chest, rng: np.random.Generator) -> None:
    """The lead letter that says which side is which: an R on the image's left or an L on its right."""
    size, y = rng.uniform(5, 7), rng.uniform(20, 60)
    if rng.random() < 0.5:
        x = rng.uniform(20, 28)
        lines = [np.array([(0, 2), (0, 0), (1, 0), (1, 1), (0, 1), (1, 2)], float)]
    else:
        x = rng.uniform(224, 232)
        lines = [np.array([(0, 0), (0, 2), (1, 2)], float)]
    add(chest.frontal.metal, strokes([line * (size, size) + (x, y) for line in lines], 1.8), 0.6)
