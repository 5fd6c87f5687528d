"""Devices: catheters, pacemakers, wires, clips, stents, valves, tubes, prostheses. The code's head and place choose
which."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, sign
from rrg_lib.data.drawing.film import Patch, add, bend, disc, polygon, ring, strokes
from rrg_lib.data.drawing.lateral import heart
from rrg_lib.data.drawing.places import FRONTAL, LATERAL, Chest, Region, around, sides, spot
from rrg_lib.data.study import Finding

_BRIGHT = 0.42


def device(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """The device that the code names."""
    words = {finding.head, *finding.place}
    side = sides(finding, rng)[0]
    if "Catheters, Indwelling" in words:
        return catheter(chest, RIGHT if finding.side is None and rng.random() < 0.6 else side, rng)
    if "Tube, Inserted" in words or "Tuberculosis" in words:
        return _tube(chest, rng, to_stomach="abdomen" in words or not any("trachea" in word for word in words))
    if words & {"humerus", "shoulder"}:
        return _prosthesis(chest, side)
    if words & {"spine", "thoracic vertebrae", "cervical vertebrae"}:
        return _rods(chest, high="cervical vertebrae" in words)
    if words & {"aortic valve", "mitral valve"}:
        return _valve(chest, rng)
    if "Stents" in words or words & {"coronary vessels", "aorta"}:
        return _stent(chest, rng, abdomen="abdomen" in words)
    if finding.head == "Surgical Instruments":
        if words & {"abdomen", "breast", "lung", "neck", "hilum", "apex"} or finding.side:
            return _clips(chest, finding, side, rng)
        return _sternal_wires(chest, rng)
    return _pacemaker(chest, LEFT if finding.side is None else side, rng)


def _metal(chest: Chest, front: list[Patch], side: list[Patch] = (), amount: float = _BRIGHT) -> list[Region]:
    for patch in front:
        add(chest.frontal.metal, patch, amount)
    for patch in side:
        add(chest.lateral.metal, patch, 0.9 * amount)
    regions = [Region(FRONTAL, around(*(patch.extent() for patch in front)))]
    return regions + ([Region(LATERAL, around(*(patch.extent() for patch in side)))] if side else [])


def catheter(chest: Chest, side: int, rng: np.random.Generator) -> list[Region]:
    """A central line from the chest wall or neck, under the clavicle, down the superior vena cava; half of them end in
    a port."""
    s, top = sign(side), chest.anatomy.apex + 18
    tip = np.array([MIDLINE - rng.uniform(11, 15), rng.uniform(112, 132)])  # the vena cava is on the patient's right
    crossing = np.array([MIDLINE + s * rng.uniform(26, 34), top + rng.uniform(-4, 2)])
    start = np.array([MIDLINE + s * rng.uniform(52, 66), top + rng.uniform(26, 42)])
    line = np.concatenate(
        [bend(start, np.add(start, (-s * 4, -30)), crossing), bend(crossing, (tip[0] + s * 2, crossing[1] + 2), tip)]
    )
    front = [strokes([line], 3.2)]
    if rng.random() < 0.5:
        front += [disc(*start, 6.5), ring(*start, 7, 1.5)]
    down = [strokes([bend((112, top + 20), (124, top - 4), (134, tip[1]), 12)], 2.8)]
    return _metal(chest, front, down)


def _pacemaker(chest: Chest, side: int, rng: np.random.Generator) -> list[Region]:
    s = sign(side)
    box = np.array([MIDLINE + s * rng.uniform(62, 74), chest.anatomy.apex + rng.uniform(30, 42)])
    cx, cy, rx, ry = heart(chest.anatomy)
    apex = np.array([MIDLINE + rng.uniform(22, 40), chest.anatomy.dome[LEFT] - rng.uniform(8, 16)])
    entry = np.array([MIDLINE + s * 26, chest.anatomy.apex + 20])
    lead = np.concatenate(
        [
            bend(box, np.add(box, (-s * 16, -22)), entry),
            bend(entry, (MIDLINE - 14, entry[1] + 6), (MIDLINE - 15, 120)),
            bend((MIDLINE - 15, 120), (MIDLINE - 20, apex[1] + 6), apex),
        ]
    )
    front = [disc(*box, 13, 10, angle=s * 0.4), strokes([lead], 3.0)]
    lateral = [
        strokes(
            [
                bend((118, chest.anatomy.apex + 30), (140, 70), (132, 120)),
                bend((132, 120), (128, cy + ry), (cx - 0.5 * rx, cy + 0.55 * ry)),
            ],
            2.4,
        )
    ]
    return _metal(chest, front, [*lateral, disc(106, box[1] + 4, 5, 11)])


def _sternal_wires(chest: Chest, rng: np.random.Generator) -> list[Region]:
    heights = np.linspace(rng.uniform(62, 72), rng.uniform(150, 168), int(rng.integers(5, 7)))
    loops, points = [], []
    for y in heights + rng.normal(0, 1, len(heights)):
        half = rng.uniform(6, 8)
        t = np.linspace(0.3, 2 * np.pi + 0.1, 14)
        loops.append(np.stack([MIDLINE + half * np.cos(t), y + 3.6 * np.sin(t)], axis=1))
        z = float(chest.anatomy.sternum_z()[int(y)]) - 4
        points.append(np.array([(z - 4, y - 2), (z + 3, y + 2)]))
    return _metal(chest, [strokes(loops, 2.4)], [strokes(points, 3.0)])


def _clips(chest: Chest, finding: Finding, side: int, rng: np.random.Generator) -> list[Region]:
    anatomy = chest.anatomy
    if "abdomen" in finding.place:
        x, y, z = (
            MIDLINE + sign(RIGHT if finding.side is None else side) * rng.uniform(34, 52),
            min(238, anatomy.dome[RIGHT] + rng.uniform(24, 34)),
            100.0,
        )
    elif "neck" in finding.place:
        x, y, z = MIDLINE + sign(side) * 14, 18.0, 135.0
    elif "breast" in finding.place:
        x, y, z = MIDLINE + sign(side) * rng.uniform(58, 74), rng.uniform(148, 170), float(anatomy.sternum_z()[160]) - 8
    else:
        at = spot(anatomy, finding, side, rng, radius=8)
        x, y, z = at.x, at.y, at.z
    front, lateral = [], []
    for dx, dy in rng.uniform(-9, 9, (int(rng.integers(4, 7)), 2)):
        turn = rng.uniform(0, np.pi)
        clip = 3.4 * np.array([(-np.cos(turn), -np.sin(turn)), (np.cos(turn), np.sin(turn))])
        front.append(np.add(clip, (x + dx, y + dy)))
        lateral.append(np.add(clip, (z + 0.6 * dx, y + dy)))
    return _metal(chest, [strokes(front, 3.0)], [strokes(lateral, 3.0)], 0.5)


def _stent(chest: Chest, rng: np.random.Generator, *, abdomen: bool) -> list[Region]:
    cx, cy, rx, ry = heart(chest.anatomy)
    x, y = (
        (MIDLINE - 30, min(236, chest.anatomy.dome[RIGHT] + 28))
        if abdomen
        else (MIDLINE + rng.uniform(18, 34), rng.uniform(134, 150))
    )
    z = 120.0 if abdomen else cx + 0.2 * rx
    tilt = rng.uniform(0.5, 1.1)
    patches = []
    for middle in ((x, y), (z, y if abdomen else cy - 0.3 * ry)):
        along, across = np.array([np.cos(tilt), np.sin(tilt)]), np.array([-np.sin(tilt), np.cos(tilt)])
        rails = [np.stack([middle - 10 * along + d * across, middle + 10 * along + d * across]) for d in (-2.6, 2.6)]
        rungs = [
            np.stack([middle + k * along - 2.6 * across, middle + (k + 4) * along + 2.6 * across])
            for k in range(-10, 9, 4)
        ]
        patches.append(strokes(rails + rungs, 1.8))
    return _metal(chest, patches[:1], patches[1:], 0.5)


def _valve(chest: Chest, rng: np.random.Generator) -> list[Region]:
    cx, cy, rx, ry = heart(chest.anatomy)
    x, y = MIDLINE + rng.uniform(6, 16), rng.uniform(140, 152)
    return _metal(
        chest, [ring(x, y, 9, 2.6), disc(x, y, 8, 2.0, angle=0.6)], [ring(cx + 0.25 * rx, cy - 0.2 * ry, 9, 2.6)], 0.36
    ) + _sternal_wires(chest, rng)


def _tube(chest: Chest, rng: np.random.Generator, *, to_stomach: bool) -> list[Region]:
    end = min(244, chest.anatomy.dome[LEFT] + 38) if to_stomach else rng.uniform(66, 76)
    line = np.array([(MIDLINE + 1, 0), (MIDLINE + 2, 40), (MIDLINE + 1, end if not to_stomach else 150)])
    if to_stomach:
        line = np.concatenate([line, bend(line[-1], (MIDLINE + 8, 220), (MIDLINE + 34, end))])
    return _metal(
        chest,
        [strokes([line], 3.4)],
        [strokes([np.array([(138, 20), (142, 60), (150, 100 if to_stomach else end)])], 2.6)],
    )


def _prosthesis(chest: Chest, side: int) -> list[Region]:
    s, a = sign(side), chest.anatomy
    x, y = float(np.clip(MIDLINE + s * (a.width + 24), 16, 240)), a.apex + 22
    return _metal(
        chest,
        [disc(x, y, 11), polygon([(x - 4, y), (x + 4, y), (x + 5 + s * 6, y + 44), (x - 1 + s * 6, y + 44)])],
        amount=0.5,
    )


def _rods(chest: Chest, *, high: bool) -> list[Region]:
    rows = np.arange(14, 50, 6) if high else np.arange(110, 196, 8)
    middle, z = chest.anatomy.spine_x()[rows], chest.anatomy.spine_z()[rows] + 10
    front = [strokes([np.stack([middle + d, rows], axis=1) for d in (-7, 7)], 2.8)]
    front.append(
        strokes(
            [np.array([(m + d - 3, y), (m + d + 3, y)]) for m, y in zip(middle, rows, strict=True) for d in (-7, 7)],
            2.6,
        )
    )
    screws = [np.array([(q - 16, y - 2), (q, y)]) for q, y in zip(z, rows, strict=True)]
    return _metal(chest, front, [strokes([np.stack([z, rows], axis=1), *screws], 2.4)])
