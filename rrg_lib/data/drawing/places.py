"""Where a finding lies: from a code's side and place to points of both views. What the code does not say is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, Anatomy, sign
from rrg_lib.data.drawing.film import Layers
from rrg_lib.data.study import Finding

FRONTAL, LATERAL = 0, 1


class Region(NamedTuple):
    """What a finding covers in a view, before the pose: `(x0, y0, x1, y1)`, half open."""

    view: int
    extent: tuple[int, int, int, int]


@dataclass
class Chest:
    """An anatomy and its two views, which findings change."""

    anatomy: Anatomy
    frontal: Layers
    lateral: Layers


class Spot(NamedTuple):
    """A point of the lungs: `(x, y)` in the frontal view, `(z, y)` in the lateral one."""

    side: int
    x: float
    y: float
    z: float


#: place -> how far down the lung, how far out from the mediastinum, how far back: ranges of fractions.
PLACES = {
    "apex": ((0.08, 0.16), (0.3, 0.6), (0.4, 0.6)),
    "upper lobe": ((0.2, 0.42), (0.25, 0.8), (0.3, 0.65)),
    "middle lobe": ((0.6, 0.78), (0.15, 0.6), (0.15, 0.4)),
    "lingula": ((0.62, 0.8), (0.15, 0.6), (0.15, 0.4)),
    "lower lobe": ((0.68, 0.9), (0.25, 0.8), (0.62, 0.85)),
    "base": ((0.82, 0.94), (0.2, 0.8), (0.45, 0.8)),
    "hilum": ((0.42, 0.52), (0.08, 0.25), (0.42, 0.55)),
    "costophrenic angle": ((0.92, 0.98), (0.75, 0.9), (0.6, 0.85)),
    "sulcus": ((0.92, 0.98), (0.75, 0.9), (0.6, 0.85)),
    "retrocardiac": ((0.72, 0.88), (-0.5, -0.15), (0.6, 0.75)),
    "paratracheal": ((0.18, 0.3), (0.05, 0.2), (0.4, 0.55)),
    "mediastinum": ((0.35, 0.55), (0.02, 0.15), (0.4, 0.55)),
    "supracardiac": ((0.4, 0.5), (0.05, 0.2), (0.4, 0.5)),
}
ANYWHERE = ((0.2, 0.85), (0.2, 0.8), (0.25, 0.8))
_SIDED = {"middle lobe": RIGHT, "lingula": LEFT, "retrocardiac": LEFT}


def sides(finding: Finding, rng: np.random.Generator, *, both: float = 0.0) -> tuple[int, ...]:
    """The sides a finding lies on; where the code is silent, the lobe decides, else chance (`both` is the chance of
    both sides)."""
    if finding.side == "bilateral":
        return RIGHT, LEFT
    if finding.side is not None:
        return (RIGHT if finding.side == "right" else LEFT,)
    for place in finding.place:
        if place in _SIDED:
            return (_SIDED[place],)
    return (RIGHT, LEFT) if rng.random() < both else (int(rng.integers(2)),)


def spot(
    anatomy: Anatomy, finding: Finding, side: int, rng: np.random.Generator, *, radius: float = 0.0, default=ANYWHERE
) -> Spot:
    """A point for a finding of that radius, inside the lung with all of it where there is room."""
    down, out, back = next((PLACES[place] for place in finding.place if place in PLACES), default)
    if "posterior" in finding.place:
        back = (0.75, 0.9)
    elif "anterior" in finding.place:
        back = (0.1, 0.25)
    return lung_point(anatomy, side, rng.uniform(*down), rng.uniform(*out), rng.uniform(*back), radius)


def lung_point(anatomy: Anatomy, side: int, down: float, out: float, back: float, radius: float = 0.0) -> Spot:
    """The point at those fractions of the lung: `down` from apex to diaphragm, `out` from mediastinum to chest wall,
    `back` from sternum to back."""
    floor = anatomy.dome[side] - 2
    y = anatomy.apex + down * (floor - anatomy.apex)
    y = float(np.clip(y, anatomy.apex + 8 + 0.6 * radius, floor - 0.5 * radius))
    inner, outer = float(anatomy.inner(side)[int(y)]), float(anatomy.outer()[int(y)])
    u = inner + out * (outer - inner)
    if out > 0:
        u = float(
            np.clip(
                u, min(inner + 0.5 * radius, (inner + outer) / 2), max(outer - 1.1 * radius - 2, (inner + outer) / 2)
            )
        )
    front, rear = float(anatomy.sternum_z()[int(y)]) + 3, float(anatomy.back_z()[int(y)]) - 3
    z = float(np.clip(front + back * (rear - front), front + 0.7 * radius, rear - 0.7 * radius))
    return Spot(side, MIDLINE + sign(side) * u, y, z)


def amount(finding: Finding, usual: float, *, spread: float = 0.0, rng: np.random.Generator | None = None) -> float:
    """`usual` scaled by the code's severity or size words."""
    words = {finding.severity, *finding.place}
    scale = (
        0.65
        if "small" in words
        else 1.7
        if "large" in words or "severe" in words
        else 1.25
        if "moderate" in words
        else 0.8
        if "mild" in words
        else 1.0
    )
    return usual * scale * (1 + (rng.uniform(-spread, spread) if rng is not None else 0.0))


def around(*extents: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The smallest extent that holds all of them."""
    x0, y0, x1, y1 = zip(*extents, strict=True)
    return min(x0), min(y0), max(x1), max(y1)
