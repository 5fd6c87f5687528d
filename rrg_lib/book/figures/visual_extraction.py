"""The figures of chapter 02: what the network is given, what a patch sees, what the features tell, and where a finding
is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rrg_lib.book.figures.memory_querying_responding import HEAT
from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box

VIEW_NAMES = ("frontal", "lateral")
#: One for each way of making features, in the order in which they are given.
MARKS = ((GREY, "s"), (RED, "v"), (ORANGE, "D"), (BLUE, "o"), (GREEN, "^"))
_BOX = "#56B4E9"


def what_it_is_given(film: np.ndarray, pictures: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """A film (H, W) beside what becomes of it, (S, S) each, every one with its size."""
    panels = {f"film, {film.shape[0]} × {film.shape[1]}": film} | {
        f"{label}, {p.shape[0]} × {p.shape[1]}": p for label, p in pictures.items()
    }
    figure, axes = new_figure(1, len(panels), width=1.5 * len(panels), height=1.8)
    for panel, (label, picture) in zip(axes, panels.items(), strict=True):
        _film(panel, picture)
        panel.set(xticks=[], yticks=[])
        panel.set_title(label, fontsize=8)
    return finish(figure, name)


def fields(
    film: np.ndarray,
    seen: Mapping[str, tuple[np.ndarray, int, float | None]],
    *,
    grid: int = 7,
    name: str | None = None,
) -> Figure:
    """What the middle patch sees of a film (H, W): for each network its effective field (H, W), the side of the square
    that holds 90 % of it, and the side of its receptive field, both in film pixels (None: everything)."""
    figure, axes = new_figure(1, len(seen), width=2.3 * len(seen), height=2.9, squeeze=False)
    height, width = film.shape
    for panel, (label, (field, side, reach)) in zip(axes[0], seen.items(), strict=True):
        _film(panel, film)
        coarse = field.reshape(height // 8, 8, width // 8, 8).mean((1, 3))
        smooth = np.sqrt(coarse / coarse.max())  # the square root: the faint outside stays visible
        panel.imshow(smooth, cmap=HEAT, vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest")
        y, x = float(field.sum(1) @ np.arange(height)), float(field.sum(0) @ np.arange(width))
        _square(panel, x, y, side, color=_BOX, lw=2)
        _square(panel, width / 2, height / 2, width / grid, color="white", lw=1.2, ls=":")
        if reach is not None and reach < width:
            _square(panel, width / 2, height / 2, reach, color=GREEN, lw=1.5)
        panel.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        panel.set_title(label, fontsize=9)
        panel.set_xlabel(
            f"could see {'everything' if reach is None else f'{reach:.0f} px'}, 90 % in {side} px", fontsize=8
        )
    return finish(figure, name)


def _film(panel: Axes, film: np.ndarray) -> None:
    """A film at half its pixels: a small file."""
    height, width = film.shape
    half = film[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    panel.imshow(half, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0), interpolation="nearest")


def _square(panel: Axes, x: float, y: float, side: float, **style) -> None:
    panel.add_patch(Rectangle((x - side / 2, y - side / 2), side, side, fill=False, **style))


def auroc_dots(aurocs: Mapping[str, pd.Series], positives: Mapping[str, int], *, name: str | None = None) -> Figure:
    """AUROC of each finding (rows, with the number of test studies that have it) for each way of making features; the
    line is a coin toss."""
    rows = sorted(
        next(iter(aurocs.values())).index,
        key=lambda finding: max(by_finding[finding] for by_finding in aurocs.values()),
    )
    figure, panel = new_figure(width=7.0, height=0.34 * len(rows) + 1.5)
    for (label, by_finding), (colour, marker) in zip(aurocs.items(), MARKS, strict=False):
        panel.plot(
            [by_finding[row] for row in rows], range(len(rows)), marker, color=colour, ms=6, label=label, alpha=0.85
        )
    panel.axvline(0.5, color=GREY, lw=1)
    panel.set_yticks(range(len(rows)), [f"{row} ({positives[row]})" for row in rows])
    panel.set(xlabel="AUROC on test studies", xlim=(min(0.4, panel.get_xlim()[0]), 1.01))
    panel.grid(axis="y", color="#eeeeee")
    panel.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return finish(figure, name)


def grad_cams(
    views: np.ndarray, boxes: Sequence[Box], maps: Mapping[str, np.ndarray], *, finding: str, name: str | None = None
) -> Figure:
    """One study's views (V, H, W), a column each, with a row for each extractor's map (V, g, g) of one finding. Blue:
    the finding's boxes.

    A map is shown as multiples of its mean over both views, all on one scale.
    """
    figure, grid = new_figure(
        len(views), len(maps), width=1.7 * len(maps), height=1.7 * len(views) + 0.9, squeeze=False
    )
    shown = {label: m / m.mean() if m.mean() > 0 else np.ones_like(m) for label, m in maps.items()}
    top = max(2.0, *(float(m.max()) for m in shown.values()))
    for j, (label, m) in enumerate(shown.items()):
        for v, view in enumerate(views):
            panel, (height, width) = grid[v, j], view.shape
            _film(panel, view)
            image = panel.imshow(
                m[v], cmap=HEAT, vmin=0, vmax=top, extent=(0, width, height, 0), interpolation="nearest"
            )
            for box in boxes:
                if box.view == v:
                    panel.add_patch(
                        Rectangle((box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0, fill=False, ec=_BOX, lw=2)
                    )
            panel.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
            if v == 0:
                panel.set_title(label, fontsize=9)
            if j == 0:
                panel.set_ylabel(f"{finding}, {VIEW_NAMES[v]}", fontsize=9)
    figure.colorbar(image, ax=list(grid.ravel()), location="bottom", shrink=0.5, aspect=40).set_label(
        "times the map's mean"
    )
    return finish(figure, name)


def box_ratios(summaries: Mapping[str, pd.Series], *, name: str | None = None) -> Figure:
    """How many times chance a map's share in the boxes is, a row an extractor, with its interval (`ratio`, `low`,
    `high`); hollow: the mean map of the other studies in the same boxes (`others` / `chance`)."""
    figure, panel = new_figure(width=6.5, height=0.45 * len(summaries) + 1.2)
    for row, (summary, (colour, marker)) in enumerate(zip(summaries.values(), MARKS[1:], strict=False)):
        panel.plot([summary["low"], summary["high"]], [row, row], color=colour, lw=2)
        panel.plot(summary["ratio"], row, marker, color=colour, ms=8)
        panel.plot(summary["others"] / summary["chance"], row, marker, mfc="white", mec=colour, ms=8)
    panel.axvline(1, color=GREY, lw=1)
    panel.set_yticks(range(len(summaries)), list(summaries))
    panel.set(xlabel="share of the map in the boxes, times chance", ylim=(len(summaries) - 0.5, -0.5))
    handles = [
        Line2D([], [], marker="o", color=GREY, ls="", label="this study's map"),
        Line2D([], [], marker="o", mfc="white", mec=GREY, ls="", label="mean map of the other studies"),
    ]
    panel.legend(handles=handles, frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return finish(figure, name)
