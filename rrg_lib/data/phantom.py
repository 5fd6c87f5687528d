"""IU-Phantom: frontal and lateral radiographs drawn from the expert codes of a study, with a box around each finding
that is drawn.

The report is real and the image is ours: side, place and severity of each code are in the picture, and nothing else is
wrong with it. The scores of models that look at drawn radiographs are not comparable with published ones.
`sample_studies` makes whole studies, reports included, of any number.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from rrg_lib.data.drawing import anatomy as bodies
from rrg_lib.data.drawing import lung_findings, skeleton_findings
from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, Anatomy
from rrg_lib.data.drawing.devices import device
from rrg_lib.data.drawing.distractors import add_distractors
from rrg_lib.data.drawing.exposure import expose, sample_pose
from rrg_lib.data.drawing.film import SIZE
from rrg_lib.data.drawing.frontal import draw_frontal
from rrg_lib.data.drawing.lateral import draw_lateral, heart
from rrg_lib.data.drawing.places import FRONTAL, LATERAL, Chest, Region
from rrg_lib.data.drawing.sentences import sample_studies
from rrg_lib.data.study import Box, Finding, Study

__all__ = ["Drawing", "draw", "sample_studies"]


@dataclass(frozen=True, slots=True)
class Drawing:
    """`views`: (2, size, size) uint8, frontal and lateral, film-like (bone is bright). `boxes`: every drawn finding, in
    pixels of its view."""

    views: np.ndarray
    boxes: tuple[Box, ...]


#: Findings that are another anatomy ...
RESHAPE = {
    "Scoliosis": bodies.with_scoliosis,
    "Cardiomegaly": bodies.with_large_heart,
    "Hyperinflation": bodies.with_hyperinflation,
}
#: ... and findings that are painted over it, in this order.
PAINT = {
    "Spine": skeleton_findings.worn_spine,
    "Fracture": skeleton_findings.fracture,
    "Edema": lung_findings.edema,
    "Opacity": lung_findings.opacity,
    "Atelectasis": lung_findings.atelectasis,
    "Nodule": lung_findings.nodule,
    "Granuloma": lung_findings.granuloma,
    "Effusion": lung_findings.effusion,
    "Pneumothorax": lung_findings.pneumothorax,
    "Device": device,
}


def draw(study: Study, *, seed: int = 0, size: int = 256) -> Drawing:
    """The two views of a study and the boxes of its drawn findings, a function of the study's id, its codes and `seed`
    alone.

    The chest, its pose and the film's noise follow from id and seed; each finding has its own stream of random numbers.
    So the same study without a finding is the same patient without it. `size` is the side of the images in pixels;
    boxes are in the same pixels.
    """
    findings = [finding for finding in study.findings if finding.drawn is not None]
    anatomy = bodies.sample_anatomy(_random(study, seed, "anatomy"))
    for finding in findings:
        if change := RESHAPE.get(finding.drawn):
            anatomy = change(anatomy, finding, _random(study, seed, finding.code))
    chest = Chest(
        anatomy,
        draw_frontal(anatomy, _random(study, seed, "frontal")),
        draw_lateral(anatomy, _random(study, seed, "lateral")),
    )
    add_distractors(chest, _random(study, seed, "distractors"))
    regions: list[tuple[Finding, Region]] = []
    for finding in findings:
        regions += [(finding, region) for region in _reshaped_regions(anatomy, finding)]
    for name, paint in PAINT.items():
        for finding in findings:
            if finding.drawn == name:
                regions += [(finding, region) for region in paint(chest, finding, _random(study, seed, finding.code))]
    film = _random(study, seed, "film")
    poses = sample_pose(film), sample_pose(film)
    views = np.stack(
        [
            expose(layers.density(), pose, film)
            for layers, pose in zip((chest.frontal, chest.lateral), poses, strict=True)
        ]
    )
    boxes = tuple(
        Box(finding.drawn, region.view, *poses[region.view].move(region.extent), finding.code)
        for finding, region in regions
    )
    return Drawing(views, boxes) if size == SIZE else _resized(views, boxes, size)


def _random(study: Study, seed: int, purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{study.id}|{seed}|{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _reshaped_regions(anatomy: Anatomy, finding: Finding) -> list[Region]:
    """The extent of an enlarged heart, of a bent spine, of hyperinflated lungs."""
    if finding.drawn == "Cardiomegaly":
        rows = slice(int(anatomy.heart_top), int(anatomy.heart_bottom()))
        right, left = (float(anatomy.inner(side)[rows].max()) for side in (RIGHT, LEFT))
        cx, cy, rx, ry = heart(anatomy)
        return [
            Region(FRONTAL, (int(MIDLINE - right), rows.start, int(MIDLINE + left), rows.stop)),
            Region(LATERAL, (int(cx - rx), int(cy - ry), int(cx + rx), int(cy + ry))),
        ]
    if finding.drawn == "Scoliosis":
        line = anatomy.spine_x()
        rows = np.flatnonzero(np.abs(line - MIDLINE) > 0.3 * np.abs(line - MIDLINE).max())
        return [
            Region(FRONTAL, (int(line[rows].min()) - 14, int(rows[0]), int(line[rows].max()) + 14, int(rows[-1]) + 1))
        ]
    if finding.drawn == "Hyperinflation":
        top, bottom, reach = int(anatomy.apex), int(max(anatomy.dome)) + 12, int(anatomy.width)
        x0 = int(MIDLINE) - (reach if finding.side != "left" else 0)
        x1 = int(MIDLINE) + (reach if finding.side != "right" else 0)
        back, front = int(anatomy.back_z().max()), int(anatomy.sternum_z().min())
        return [Region(FRONTAL, (x0, top, x1, bottom)), Region(LATERAL, (front, top, back, bottom))]
    return []


def _resized(views: np.ndarray, boxes: tuple[Box, ...], size: int) -> Drawing:
    pictures = [np.asarray(Image.fromarray(view).resize((size, size), Image.Resampling.BILINEAR)) for view in views]
    scale = size / SIZE
    scaled = []
    for box in boxes:
        x0, y0 = min(int(box.x0 * scale), size - 1), min(int(box.y0 * scale), size - 1)
        x1, y1 = max(x0 + 1, round(box.x1 * scale)), max(y0 + 1, round(box.y1 * scale))
        scaled.append(Box(box.finding, box.view, x0, y0, min(x1, size), min(y1, size), box.code))
    return Drawing(np.stack(pictures), tuple(scaled))
