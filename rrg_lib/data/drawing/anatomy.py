"""A chest: the numbers that differ from person to person, and the outlines that follow from them, in both views.

Outlines are functions of one coordinate (a lung's outer edge is an x for every y), which is why a lung is three
comparisons and no loop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rrg_lib.data.drawing.film import COLUMNS, ROWS
from rrg_lib.data.study import Finding

RIGHT, LEFT = 0, 1  # the patient's; the image's left is the patient's right
MIDLINE = 128.0

#: Heart width over inner chest width, by the severity of an enlarged heart; healthy hearts stay below 0.475.
HEART_RATIOS = {
    "borderline": (0.52, 0.54),
    "mild": (0.55, 0.59),
    None: (0.56, 0.64),
    "moderate": (0.61, 0.66),
    "severe": (0.69, 0.75),
}
#: Pixels by which a scoliotic spine leaves the midline.
BENDS = {"borderline": (11, 13), "mild": (13, 17), None: (15, 21), "moderate": (19, 24), "severe": (26, 32)}


def sign(side: int) -> int:
    """-1 for the patient's right, which is drawn on the image's left, and +1 for the left."""
    return 1 if side == LEFT else -1


@dataclass(frozen=True)
class Anatomy:
    """Film units (256 to a side). Pairs are (patient's right, patient's left)."""

    width: float  # half the inner width of the chest
    apex: float  # top of the lungs
    dome: tuple[float, float]  # top of the diaphragm
    sulcus: tuple[float, float]  # how far the costophrenic angle hangs below the dome
    aeration: tuple[float, float]
    heart_ratio: float
    heart_share: float  # part of the heart's width on the patient's left
    heart_top: float
    knob: float  # how far the aortic knob stands out
    mediastinum: float  # half-width above the heart
    wall: float  # thickness of the chest wall
    breast: float
    rib_spacing: float
    rib_phase: float
    rib_drop: float
    spine_bend: float
    spine_middle: float
    spine_tilt: float
    vertebra: float  # height of a vertebra and its disc
    kyphosis: float
    depth: float  # sternum to spine at the heart's level, lateral view

    # Frontal view
    # ------------------------------------------------------------------------------------------------------------

    def outer(self) -> np.ndarray:
        """(256,): distance of the ribs' inner edge from the midline, for every y."""
        t = np.clip((ROWS - self.apex) / (200 - self.apex), 0, 1)
        return self.width * np.sqrt(1 - (1 - t) ** 2.6) - 6 * np.clip((ROWS - 190) / 60, 0, 1)

    def inner(self, side: int) -> np.ndarray:
        """(256,): distance of the mediastinum's edge from the midline, for every y: great vessels, aortic knob,
        heart."""
        width = np.full_like(ROWS, self.mediastinum) - 3 * np.clip((70 - ROWS) / 40, 0, 1)
        t = (ROWS - self.heart_top) / (self.heart_bottom() - self.heart_top)
        share = self.heart_share if side == LEFT else 1 - self.heart_share
        swell = np.sin(np.pi * np.clip(0.04 + 0.64 * t if side == LEFT else 0.14 + 0.62 * t, 0, 1))
        heart = share * self.heart_ratio * 2 * self.width * swell
        width = np.maximum(width, np.where(t > -0.06, heart, 0))
        if side == LEFT:
            width += self.knob * np.exp(-(((ROWS - 80) / 11) ** 2)) + 0.6 * self.knob * np.exp(
                -(((ROWS - 104) / 9) ** 2)
            )
        kernel = np.hanning(15).astype(np.float32)[1:-1]
        return np.convolve(np.pad(width, 6, mode="edge"), kernel / kernel.sum(), mode="valid")

    def heart_bottom(self) -> float:
        return self.dome[LEFT] + 12

    def diaphragm(self, side: int) -> np.ndarray:
        """(256,): y of the diaphragm for every x; meaningful on that side of the midline."""
        u = sign(side) * (COLUMNS - MIDLINE) / self.width
        lateral, medial = np.clip((u - 0.48) / 0.5, 0, 1.2), np.clip((0.48 - u) / 0.5, 0, 1.2)
        return self.dome[side] + self.sulcus[side] * lateral**2.2 + 8 * medial**2

    def spine_x(self) -> np.ndarray:
        """(256,): x of the spine's middle for every y."""
        return (
            MIDLINE
            + self.spine_bend * np.exp(-(((ROWS - self.spine_middle) / 52) ** 2))
            + self.spine_tilt * (ROWS - 128) / 128
        )

    def rib_y(self, number: float, reach: np.ndarray) -> np.ndarray:
        """y of the middle of posterior rib `number` at `reach` of the way from midline to chest wall."""
        return self.apex + 4 + (number + 0.22 + self.rib_phase) * self.rib_spacing + self.rib_fall(reach)

    def rib_fall(self, reach: np.ndarray) -> np.ndarray:
        """How far a posterior rib has come down at `reach` (0 midline, 1 chest wall)."""
        square = reach * reach
        return self.rib_drop * (0.25 * square + 0.75 * square * square)

    # Lateral view: the patient faces the image's left
    # ---------------------------------------------------------------------------

    def spine_z(self) -> np.ndarray:
        """(256,): x of the vertebral bodies' middle in the lateral view, for every y."""
        return (
            176 + self.kyphosis * np.sin(np.pi * np.clip((ROWS - 20) / 215, 0, 1)) - 8 * np.clip((60 - ROWS) / 60, 0, 1)
        )

    def sternum_z(self) -> np.ndarray:
        """(256,): x of the sternum's back in the lateral view, for every y."""
        t = np.clip((ROWS - 45) / 125, 0, 1)
        return 184 - self.depth * (0.66 + 0.34 * np.sqrt(t))

    def back_z(self) -> np.ndarray:
        """(256,): x of the back edge of the lungs in the lateral view, for every y."""
        return self.spine_z() + 20

    def lateral_diaphragm(self, side: int) -> np.ndarray:
        """(256,): y of the diaphragm for every x of the lateral view: it hangs lowest at the back."""
        front, back = float(self.sternum_z()[180]), float(self.back_z()[200])
        t = np.clip((COLUMNS - front) / (back - front), 0, 1.1)
        return (
            self.dome[side]
            - 3
            + self.sulcus[side] * 1.25 * np.clip((t - 0.42) / 0.58, 0, 1.2) ** 2
            + 9 * np.clip((0.42 - t) / 0.42, 0, 1) ** 2
        )


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """A healthy chest: no two alike."""
    right_dome, flatness = rng.uniform(172, 196), rng.uniform(20, 30)
    return Anatomy(
        width=rng.uniform(80, 97),
        apex=rng.uniform(26, 38),
        dome=(right_dome, right_dome + rng.uniform(1, 10)),
        sulcus=(flatness, flatness + rng.uniform(-3, 2)),
        aeration=(rng.uniform(0.92, 1.0),) * 2,
        heart_ratio=rng.uniform(0.38, 0.475),
        heart_share=rng.uniform(0.60, 0.70),
        heart_top=rng.uniform(108, 120),
        knob=rng.uniform(3, 10),
        mediastinum=rng.uniform(15, 20),
        wall=rng.uniform(16, 34),
        breast=max(0.0, rng.uniform(-0.8, 1.0)),
        rib_spacing=rng.uniform(16.5, 20),
        rib_phase=rng.uniform(0, 1),
        rib_drop=rng.uniform(24, 36),
        spine_bend=rng.uniform(-3, 3),
        spine_middle=rng.uniform(100, 150),
        spine_tilt=rng.uniform(-2, 2),
        vertebra=rng.uniform(15.5, 18.5),
        kyphosis=rng.uniform(8, 20),
        depth=rng.uniform(104, 120),
    )


def with_large_heart(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> Anatomy:
    """The heart widened to the cardiothoracic ratio of the finding's severity."""
    ratio = rng.uniform(*HEART_RATIOS[finding.severity])
    return replace(
        anatomy,
        heart_ratio=ratio,
        heart_share=min(anatomy.heart_share, 0.66),
        heart_top=anatomy.heart_top - 30 * (ratio - 0.45),
    )


def with_scoliosis(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> Anatomy:
    """The spine bent to the finding's side (either when it names none), at the chest or the loins."""
    bend = rng.uniform(*BENDS[finding.severity])
    side = {"right": RIGHT, "left": LEFT}.get(finding.side or "", int(rng.integers(2)))
    middle = rng.uniform(188, 205) if "lumbar vertebrae" in finding.place else rng.uniform(100, 145)
    return replace(anatomy, spine_bend=sign(side) * bend, spine_middle=middle)


def with_hyperinflation(anatomy: Anatomy, finding: Finding, rng: np.random.Generator) -> Anatomy:
    """Large dark lungs over a low flat diaphragm, a narrow heart, a deep chest; of one side when the code names one."""
    amount = {"borderline": 0.7, "mild": 0.8, "severe": 1.3}.get(finding.severity or "", 1.0)
    sides = {"right": (RIGHT,), "left": (LEFT,)}.get(finding.side or "", (RIGHT, LEFT))
    dome, sulcus, aeration = list(anatomy.dome), list(anatomy.sulcus), list(anatomy.aeration)
    for side in sides:
        dome[side] = min(dome[side] + 10, 200) + 16 * amount + rng.uniform(-2, 4)
        sulcus[side] = sulcus[side] * (1 - 0.75 * min(amount, 1.0))
        aeration[side] += 0.12 * amount
    narrow = anatomy.heart_ratio if anatomy.heart_ratio > 0.5 else max(0.33, anatomy.heart_ratio - 0.07 * amount)
    return replace(
        anatomy,
        dome=tuple(dome),
        sulcus=tuple(sulcus),
        aeration=tuple(aeration),
        heart_ratio=narrow,
        depth=anatomy.depth + 10 * amount,
    )
