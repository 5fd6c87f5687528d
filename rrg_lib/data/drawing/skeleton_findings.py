"""Findings of bones: broken ribs, clavicles, vertebrae, sternum and humerus; worn vertebrae."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing import frontal, lateral
from rrg_lib.data.drawing.anatomy import MIDLINE, sign
from rrg_lib.data.drawing.film import add, disc, fade, polygon, strokes
from rrg_lib.data.drawing.places import FRONTAL, LATERAL, Chest, Region, around, sides
from rrg_lib.data.study import Finding


def fracture(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """A break where the code says: ribs unless it names another bone."""
    words = {place.lower() for place in finding.place}
    if words & {"thoracic vertebrae", "lumbar vertebrae"}:
        return _wedge(chest, rng, low="lumbar vertebrae" in words)
    if "sternum" in words:
        y = float(rng.uniform(85, 120))
        return [_step(chest.lateral.bone, LATERAL, float(chest.anatomy.sternum_z()[int(y)]) - 4, y, np.pi / 2, 7, rng)]
    regions = []
    for side in sides(finding, rng):
        s = sign(side)
        if "clavicle" in words:
            line = frontal.clavicle(chest.anatomy, side)
            x, y = line[9]
            regions.append(
                _step(
                    chest.frontal.bone,
                    FRONTAL,
                    x,
                    y,
                    s * np.arctan2(line[10][1] - line[8][1], abs(line[10][0] - line[8][0])),
                    9,
                    rng,
                )
            )
        elif "humerus" in words:
            x, y = MIDLINE + s * (chest.anatomy.width + 27), chest.anatomy.apex + 30
            regions.append(
                _step(chest.frontal.bone, FRONTAL, float(np.clip(x, 14, 242)), y, np.pi / 2 - s * 0.3, 15, rng)
            )
        else:
            regions += _ribs(chest, finding, side, rng)
    return regions


def _ribs(chest: Chest, finding: Finding, side: int, rng: np.random.Generator) -> list[Region]:
    anatomy, regions = chest.anatomy, []
    count = int(rng.integers(2, 4)) if "multiple" in finding.place else 1
    first = int(rng.integers(2, 5))
    for number in range(first, first + count):
        reach = float(rng.uniform(0.55, 0.82))
        y = float(anatomy.rib_y(number, np.float32(reach)))
        outer = float(anatomy.outer()[int(np.clip(y, 0, 255))])
        slope = float(anatomy.rib_fall(np.float32(reach + 0.05)) - anatomy.rib_fall(np.float32(reach - 0.05))) / (
            0.1 * outer
        )
        x = MIDLINE + sign(side) * reach * outer
        regions.append(
            _step(chest.frontal.bone, FRONTAL, x, y, sign(side) * np.arctan(slope), anatomy.rib_spacing * 0.42, rng)
        )
    return regions


def _step(
    bone: np.ndarray, view: int, x: float, y: float, angle: float, width: float, rng: np.random.Generator
) -> Region:
    """A break in a bone that runs through `(x, y)` at `angle`: a dark gap, one end displaced across, a lump of callus
    at each."""
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    centre, shift = np.array([x, y]), rng.choice((-1, 1)) * rng.uniform(0.45, 0.6) * width
    fade(bone, strokes([np.stack([centre - 2 * along, centre + 12 * along])], 1.15 * width), 0.85)
    ends = strokes([np.stack([centre + 1 * along + shift * across, centre + 13 * along + shift * across])], 0.9 * width)
    add(bone, ends, 0.18)
    lump = disc(*(centre - 2 * along), 3.2, 0.62 * width, angle=angle, soft=1.5)
    other = disc(*(centre + 2 * along + shift * across), 3.2, 0.62 * width, angle=angle, soft=1.5)
    add(bone, lump, 0.20)
    add(bone, other, 0.20)
    return Region(view, around(lump.extent(), other.extent(), ends.extent()))


def _wedge(chest: Chest, rng: np.random.Generator, *, low: bool) -> list[Region]:
    """A vertebra pressed flat in front (lateral view) and dense in both."""
    bodies = lateral.vertebrae(chest.anatomy)
    x, y, lean = bodies[int(rng.integers(9, 11)) if low else int(rng.integers(5, 8))]
    half_height = 0.39 * chest.anatomy.vertebra
    whole = lateral.vertebra_corners(x, y, lean, 11.5 + y / 100, half_height)
    fade(chest.lateral.bone, polygon(whole), 0.8)
    pressed = np.add(whole, [(0, 1.25 * half_height), (0, 0.2 * half_height), (0, 0), (0, 0)])
    body = add(chest.lateral.bone, polygon(pressed), 0.30)
    band = disc(float(chest.anatomy.spine_x()[int(y)]), y, 13, 4.5, soft=2)
    add(chest.frontal.bone, band, 0.14)
    return [Region(LATERAL, body.extent()), Region(FRONTAL, band.extent())]


def worn_spine(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Degenerative spine: bright endplates and bony spurs reaching over narrowed discs, best seen from the side."""
    anatomy = chest.anatomy
    bodies = lateral.vertebrae(anatomy)
    usual = (
        3
        if finding.severity in ("borderline", "mild")
        else 6
        if finding.severity in ("moderate", "severe") or "diffuse" in finding.place
        else 4
    )
    first = int(rng.integers(7, 9)) if "lumbar vertebrae" in finding.place else int(rng.integers(3, max(4, 10 - usual)))
    size = {"severe": 7.5, "moderate": 6.5}.get(finding.severity or "", 7.0 if "large" in finding.place else 5.5)
    chosen = bodies[first : first + usual]
    plates, front_plates, spurs, front_spurs = [], [], [], []
    for x, y, lean in chosen:
        _, _, back, front = lateral.vertebra_corners(x, y, lean, 10.5 + y / 100, 0.39 * anatomy.vertebra)
        gap = np.array([0, 0.22 * anatomy.vertebra])
        plates.append(np.stack([front + 0.5 * gap, back + 0.5 * gap]))
        spurs.append(
            polygon(
                [front - (0, 5), front + 0.5 * gap - (size, 2), front + 0.5 * gap - (size, -2), front + gap + (0, 5)]
            )
        )
        middle, wide = float(anatomy.spine_x()[int(np.clip(y, 0, 255))]), float(frontal.vertebra_half_width(y))
        level = y + 0.5 * anatomy.vertebra
        front_plates.append(np.array([(middle - wide, level), (middle + wide, level)]))
        for tip in (-1, 1):
            beak, root = middle + tip * (wide + size), middle + tip * (wide - 1)
            front_spurs.append(
                polygon([(root, level - 6), (beak, level - 1.5), (beak, level + 1.5), (root, level + 6)])
            )
    seen = [
        add(chest.lateral.bone, strokes(plates, 3.4), 0.20),
        *(add(chest.lateral.bone, spur, 0.22) for spur in spurs),
    ]
    from_front = [
        add(chest.frontal.bone, strokes(front_plates, 3.0), 0.12),
        *(add(chest.frontal.bone, spur, 0.17) for spur in front_spurs),
    ]
    return [
        Region(LATERAL, around(*(p.extent() for p in seen))),
        Region(FRONTAL, around(*(p.extent() for p in from_front))),
    ]
