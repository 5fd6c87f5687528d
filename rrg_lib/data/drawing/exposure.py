"""From layers to a film: scatter, the patient's pose, contrast, grain, and the boxes that move with the pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from rrg_lib.data.drawing.film import SIZE, texture

_MARGIN = 64


@dataclass(frozen=True)
class Pose:
    """A small turn (radians), scale and shift (pixels) of one view about its middle."""

    angle: float
    scale: float
    shift: tuple[float, float]

    def matrix(self) -> np.ndarray:
        """(2, 3): from film units to pixels of the posed image."""
        c, s = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        middle, moved = SIZE / 2, SIZE / 2 + np.array(self.shift)
        turn = np.array([(c, -s), (s, c)])
        return np.concatenate([turn, (moved - turn @ (middle, middle))[:, None]], axis=1)

    def move(self, extent: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """The upright box around a posed one, clipped to the image and at least 2 pixels wide and high."""
        x0, y0, x1, y1 = extent
        corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)]) @ self.matrix().T
        low, high = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        left, top = (int(np.clip(value, 0, SIZE - 2)) for value in low)
        return left, top, int(np.clip(high[0], left + 2, SIZE)), int(np.clip(high[1], top + 2, SIZE))


def sample_pose(rng: np.random.Generator) -> Pose:
    """Patients do not stand straight in the middle, nor equally near: up to 7 degrees, a tenth of the size, and a
    twelfth of the film.

    With half of that a linear model of the pixels could tell much of what is drawn: a pixel was then always the same
    place of the body.
    """
    return Pose(np.deg2rad(rng.uniform(-7, 7)), rng.uniform(0.94, 1.14), (rng.uniform(-22, 22), rng.uniform(-18, 18)))


def expose(density: np.ndarray, pose: Pose, rng: np.random.Generator) -> np.ndarray:
    """(256, 256) uint8 of a view's density. Draws from `rng` do not depend on the density, so a finding does not change
    the noise."""
    gain, gamma, grain = rng.uniform(0.82, 1.12), rng.uniform(0.8, 1.4), rng.uniform(0.01, 0.03)
    turn, moved = pose.matrix()[:, :2], pose.matrix()[:, 2]
    back = np.linalg.inv(turn)  # the image library asks where each pixel comes from
    coefficients = np.concatenate([back, (_MARGIN - back @ moved)[:, None]], axis=1).ravel().tolist()
    wide = Image.fromarray(
        np.pad(density.astype(np.float32), _MARGIN)
    )  # beyond the film the collimator lets nothing through
    film = _scatter(
        np.asarray(wide.transform((SIZE, SIZE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
    )
    film *= gain + 0.05 * texture(rng, (SIZE, SIZE), 64)
    film = np.clip(film / 1.1, 0, 1) ** gamma
    film += grain * (0.25 + film) * rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    return (255 * np.clip(film, 0, 1)).astype(np.uint8)


def _scatter(film: np.ndarray) -> np.ndarray:
    """A blur of one pixel: 1 2 1 down and across."""
    padded = np.pad(film, 1, mode="edge")
    rows = 0.25 * (padded[:-2] + padded[2:]) + 0.5 * padded[1:-1]
    return 0.25 * (rows[:, :-2] + rows[:, 2:]) + 0.5 * rows[:, 1:-1]
