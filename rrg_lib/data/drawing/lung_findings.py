"""Findings of the lungs and pleura. Each painter changes the layers of both views and returns what it covered."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, sign
from rrg_lib.data.drawing.film import COLUMNS, ROWS, Layers, Patch, add, bend, cloud, disc, edge, fade, strokes, texture
from rrg_lib.data.drawing.frontal import vessels
from rrg_lib.data.drawing.places import FRONTAL, LATERAL, Chest, Region, amount, lung_point, sides, spot
from rrg_lib.data.study import Finding

Y = ROWS[:, None]
_BASE = ((0.8, 0.94), (0.25, 0.75), (0.45, 0.8))


def opacity(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Less air: a patchy cloud, streaks, a rounded density or, for interstitial markings, a net over the whole lung."""
    words = {*finding.place, finding.head}
    if words & {"interstitial", "bronchovascular", "reticular", "diffuse"} or (
        finding.head == "Markings" and not finding.place
    ):
        return _interstitial(chest, finding, rng)
    regions = []
    for side in sides(finding, rng):
        for _ in range(int(rng.integers(2, 4)) if words & {"multiple", "scattered"} else 1):
            size = amount(finding, rng.uniform(13, 19), spread=0.15, rng=rng) * (
                0.75 if words & {"round", "focal"} else 1.0
            )
            at = spot(chest.anatomy, finding, side, rng, radius=size)
            thin = amount(finding, 0.62) if finding.severity else 0.62
            shape = (size * rng.uniform(1.0, 1.4), size * rng.uniform(0.75, 1.0), rng.uniform(-0.5, 0.5))
            for view, layers, x in ((FRONTAL, chest.frontal, at.x), (LATERAL, chest.lateral, at.z)):
                patch = cloud(
                    x, at.y, shape[0], shape[1], rng, angle=shape[2], ragged=0.35 if "round" in words else 0.75
                )
                add(layers.tissue, patch, 0.22 * thin if view == FRONTAL else 0.17 * thin)
                fade(layers.air, patch, 0.45 * thin)
                if "streaky" in words:
                    fan = [
                        np.array([(x + d * 0.4, at.y - 0.8 * size), (x + d, at.y + 0.8 * size)])
                        for d in np.linspace(-size, size, 6) + rng.normal(0, 2, 6)
                    ]
                    add(layers.tissue, strokes(fan, 2.0), 0.10)
                regions.append(Region(view, patch.extent(0.35)))
    return regions


def _interstitial(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Coarse markings: a net of bright lines over one lung or both; `bronchovascular` ones follow the vessels."""
    regions = []
    strength = amount(finding, 1.0)
    both = finding.side or "bilateral"
    for side in (RIGHT, LEFT):
        if both not in ("bilateral", ("right", "left")[side]):
            continue
        at = lung_point(chest.anatomy, side, 0.74 if {"base", "lower lobe"} & {*finding.place} else 0.55, 0.4, 0.5)
        tall = 34 if {"base", "lower lobe", "upper lobe", "hilum"} & {*finding.place} else 58
        if "upper lobe" in finding.place:
            at = lung_point(chest.anatomy, side, 0.3, 0.45, 0.5)
        for view, layers, x, wide in ((FRONTAL, chest.frontal, at.x, 34), (LATERAL, chest.lateral, at.z, 44)):
            window = disc(x, at.y, wide, tall, soft=18)
            net = texture(rng, window.mask.shape, 6.5)
            lines = np.clip(1 - np.abs(net) / 0.16, 0, 1) * window.mask
            add(layers.markings, window._replace(mask=lines), 1.0 * strength if view == FRONTAL else 0.6 * strength)
            fade(layers.air, window, 0.10)
            if side == RIGHT or view == FRONTAL or finding.side == "left":
                regions.append(Region(view, window.extent(0.5)))
    return regions


def atelectasis(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Plates of collapsed lung: one to three long bands, nearly level, at the base unless the code says otherwise."""
    regions = []
    for side in sides(finding, rng, both=0.3):
        length = amount(finding, rng.uniform(20, 27))
        at = spot(chest.anatomy, finding, side, rng, radius=8, default=_BASE)
        tilt, bands = rng.uniform(-0.3, 0.35), int(rng.integers(1, 4))
        spread, shorter = rng.uniform(-5, 5, bands), rng.uniform(0.65, 1.0, bands)
        for view, layers, x, s in ((FRONTAL, chest.frontal, at.x, sign(side)), (LATERAL, chest.lateral, at.z, 1)):
            lines, widths = [], []
            for number in range(bands):
                middle = np.array([x + spread[number], at.y - 9 * number])
                half = length * shorter[number] * np.array([np.cos(tilt), s * np.sin(tilt)])
                lines.append(bend(middle - half, np.add(middle, (0, 0.5 * spread[number])), middle + half, 8))
                widths.append(4.6 - 1.2 * number)
            patch = strokes(lines, widths)
            add(layers.tissue, patch, 0.22 if view == FRONTAL else 0.19)
            fade(layers.air, disc(x, at.y, length * 0.9, 9, angle=s * tilt, soft=8), 0.18)
            regions.append(Region(view, patch.extent()))
    return regions


def effusion(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Fluid in the pleural space: the costophrenic angle is filled up to a level that climbs along the chest wall (the
    meniscus)."""
    anatomy, regions = chest.anatomy, []
    blunted = finding.head == "Costophrenic Angle"
    usual = rng.uniform(15, 20) if blunted else rng.uniform(22, 30) if "small" in finding.place else rng.uniform(28, 46)
    height = (
        usual
        * ({"borderline": 0.75, "moderate": 1.5, "severe": 2.0}.get(finding.severity or "", 1.0))
        * (2.2 if "large" in finding.place else 1.0)
    )
    for side in sides(finding, rng, both=0.35):
        bottom = anatomy.dome[side] + anatomy.sulcus[side] * 0.9
        u, outer = sign(side) * (COLUMNS[None, :] - MIDLINE), anatomy.outer()[:, None]
        surface = (
            bottom
            - 0.62 * height
            - 0.75 * height * np.exp(-np.clip(outer - u, 0, None) / (4 + 0.15 * height))
            + 0.12 * np.clip(outer - u - 30, 0, None)
        )
        fluid = edge(Y - surface, 3) * (u > 12) * edge(outer + 1 - u, 2)
        regions.append(Region(FRONTAL, _drown(chest.frontal, fluid, 0.97, 0.10)))
        back = anatomy.back_z()[:, None] - COLUMNS[None, :]
        low = anatomy.dome[side] + anatomy.sulcus[side] * 1.1
        surface = (
            low
            - 0.62 * height
            - 0.75 * height * np.exp(-np.clip(back, 0, None) / (4 + 0.15 * height))
            + 0.10 * np.clip(back - 40, 0, None)
        )
        regions.append(Region(LATERAL, _drown(chest.lateral, edge(Y - surface, 3) * edge(back, 3), 0.8, 0.07)))
    return regions


def _drown(layers: Layers, fluid: np.ndarray, part: float, amount: float) -> tuple[int, int, int, int]:
    lung = layers.air > 0.02  # also where another code has put fluid before
    layers.tissue += amount * fluid * np.clip(layers.air, 0, 1)
    layers.air *= 1 - part * fluid
    return Patch((fluid * lung).astype(np.float32), 0, 0).extent(0.5)


def pneumothorax(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Air outside the lung: a thin bright pleural line away from the chest wall, and no markings beyond it."""
    anatomy, regions = chest.anatomy, []
    depth = amount(finding, rng.uniform(19, 26))
    apical = "apex" in finding.place or "small" in finding.place
    for side in sides(finding, rng):
        fall = 1.3 * depth + (0 if apical else 12)  # how far the lung's top has come down
        t = np.clip((ROWS - anatomy.apex - fall) / (200 - anatomy.apex - fall), 0, 1)
        reach = np.clip((125 - ROWS) / 70, 0, 1) if apical else np.clip((215 - ROWS) / 80, 0.25, 1)
        pleura = (np.sqrt(1 - (1 - t) ** 2.6) * anatomy.width - depth * reach * 0.9)[:, None]
        u, outer, inner = (
            sign(side) * (COLUMNS[None, :] - MIDLINE),
            anatomy.outer()[:, None],
            anatomy.inner(side)[:, None],
        )
        free = (
            edge(u - np.maximum(pleura, inner), 2) * edge(outer - u, 3) * edge(anatomy.diaphragm(side)[None, :] - Y, 3)
        )
        free *= (outer - pleura) > 2.5
        chest.frontal.markings *= 1 - free
        chest.frontal.air += 0.22 * free
        line = (
            np.exp(-(((u - pleura) / 1.3) ** 2))
            * ((outer - pleura) > 3)
            * edge(u - inner, 2)
            * (anatomy.apex + fall < Y)
        )
        chest.frontal.tissue += 0.24 * line
        regions.append(Region(FRONTAL, Patch(free.astype(np.float32), 0, 0).extent(0.5)))
    return regions


def nodule(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Round soft shadows, several when the code says so; a mass is a large one."""
    regions = []
    count = int(rng.integers(3, 6)) if {"multiple", "scattered"} & {*finding.place} else 1
    lungs = sides(finding, rng, both=0.7 if count > 1 else 0.0)
    for number in range(max(count, len(lungs))):
        radius = (
            rng.uniform(13, 17)
            if finding.head == "Mass"
            else amount(finding, rng.uniform(7, 9.5) if count == 1 else rng.uniform(5.5, 7.5))
        )
        radius = float(np.clip(radius, 5, 24))
        at = spot(chest.anatomy, finding, lungs[number % len(lungs)], rng, radius=radius)
        regions += _ball(chest, at, radius, 0.28, soft=2.5)
    return regions


def granuloma(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Small dense calcified points, sharper and brighter than a nodule."""
    regions = []
    several = {"multiple", "scattered"} & {*finding.place}
    count = (
        int(rng.integers(3, 6))
        if several
        else int(rng.integers(2, 4))
        if finding.head == "Granulomatous Disease"
        else 1
    )
    lungs = sides(finding, rng, both=0.6 if count > 1 else 0.0)
    for number in range(max(count, len(lungs))):
        radius = float(np.clip(amount(finding, rng.uniform(3.4, 4.6)), 3.1, 5.5))
        at = spot(chest.anatomy, finding, lungs[number % len(lungs)], rng, radius=radius)
        regions += _ball(chest, at, radius, 0.46, soft=1.2)
    return regions


def _ball(chest: Chest, at, radius: float, density: float, *, soft: float) -> list[Region]:
    front, side = disc(at.x, at.y, radius, soft=soft), disc(at.z, at.y, radius, soft=soft)
    add(chest.frontal.tissue, front, density)
    add(chest.lateral.tissue, side, 0.85 * density)
    return [Region(FRONTAL, front.extent(0.4)), Region(LATERAL, side.extent(0.4))]


def edema(chest: Chest, finding: Finding, rng: np.random.Generator) -> list[Region]:
    """Haze like wings about both hila, wide fuzzy vessels, and Kerley lines: short level strokes at the chest wall."""
    strength = amount(finding, 1.0)
    regions, anatomy = [], chest.anatomy
    chest.frontal.markings += 0.8 * strength * vessels(anatomy, rng, count=13, width=4.2)
    for side in (RIGHT, LEFT):
        at = lung_point(anatomy, side, 0.55, 0.30, 0.5)
        haze = cloud(at.x, at.y, 30, 44, rng, ragged=0.35)
        add(chest.frontal.tissue, haze, 0.13 * strength)
        fade(chest.frontal.air, haze, 0.22 * strength)
        wall = [lung_point(anatomy, side, down, 0.98, 0.5) for down in np.linspace(0.66, 0.92, 6)]
        kerley = strokes([np.array([(p.x, p.y), (p.x - sign(side) * rng.uniform(9, 14), p.y + 1)]) for p in wall], 1.5)
        add(chest.frontal.tissue, kerley, 0.16 * strength)
        regions.append(Region(FRONTAL, haze.extent(0.3)))
    at = lung_point(anatomy, LEFT, 0.55, 0.0, 0.48)
    haze = cloud(at.z, at.y, 40, 44, rng, ragged=0.35)
    add(chest.lateral.tissue, haze, 0.12 * strength)
    fade(chest.lateral.air, haze, 0.2 * strength)
    return [*regions, Region(LATERAL, haze.extent(0.3))]
