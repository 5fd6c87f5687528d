"""The figures of the folder `figures/` that belong to no chapter alone: a study and its reports, two scores, decoding,
findings by system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from rrg_lib.book.figures.evaluation import VIEWS, boxed, small_film
from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box

Where = Path | str | None
#: Width of the column of text, in characters.
TEXT = 58


def study_and_reports(
    views: np.ndarray, boxes: Sequence[Box], named: Sequence[str], texts: Mapping[str, str], name: Where = None
) -> Figure:
    """The views (V, H, W) of a drawn study, its findings boxed, solid if they are in `named`, dashed if not; beside
    them `texts`, heading -> text."""
    figure, panels = new_figure(1, len(views) + 1, width=10.0, height=3.1, width_ratios=(*([1] * len(views)), 1.55))
    for v, (panel, picture) in enumerate(zip(panels, views, strict=False)):
        small_film(panel, picture)
        boxed(panel, [box for box in boxes if box.view == v], named)
        panel.set(xticks=[], yticks=[], xlabel=f"{VIEWS[v]} (drawn)")
        panel.spines[:].set_visible(False)
    panels[-1].axis("off")
    height = 0.99
    for heading, text in texts.items():
        panels[-1].text(0, height, heading, transform=panels[-1].transAxes, fontsize=9, weight="bold", va="top")
        body = fill(text, TEXT)
        panels[-1].text(0, height - 0.075, body, transform=panels[-1].transAxes, fontsize=8.5, va="top")
        height -= 0.12 + 0.052 * (body.count("\n") + 1)
    return finish(figure, name)


def bleu_against_findings(table: pd.DataFrame, name: Where = None) -> Figure:
    """A mark a row of `table`: `label`, `kind`, `bleu` and `f1`, their intervals `bleu_low`, `bleu_high`, `f1_low`,
    `f1_high` (NaN where none is stored)."""
    figure, panel = new_figure(width=7.4, height=4.6)
    kinds = dict.fromkeys(table["kind"])
    styles = dict(zip(kinds, ((BLUE, "o"), (ORANGE, "s"), (RED, "D"), (GREEN, "^")), strict=False))
    for kind, (colour, marker) in styles.items():
        rows = table[table["kind"] == kind]
        panel.hlines(rows["f1"], rows["bleu_low"], rows["bleu_high"], color=colour, alpha=0.45, linewidth=1.4)
        panel.vlines(rows["bleu"], rows["f1_low"], rows["f1_high"], color=colour, alpha=0.45, linewidth=1.4)
        panel.plot(rows["bleu"], rows["f1"], marker, color=colour, markersize=6, label=kind)
    _labels_apart(panel, table)
    reach = 1.05 * float(table[["bleu", "bleu_high"]].max().max())
    panel.set(xlabel="BLEU-4", ylabel="finding-F1 (expert codes)", xlim=(0, reach), ylim=(-0.04, 1.0))
    panel.grid(color="#eeeeee")
    panel.set_axisbelow(True)
    panel.legend(
        frameon=False, ncols=min(len(kinds), 3), fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0
    )
    return finish(figure, name)


def _labels_apart(panel, table: pd.DataFrame, gap: float = 0.042) -> None:
    """Write each row's label in a column right of its neighbours' marks, at least `gap` apart, with a thin line to its
    mark."""
    for _, group in table.groupby(table["kind"].str.startswith("looks"), sort=False):
        at, edge = -np.inf, float(group["bleu_high"].fillna(group["bleu"]).max()) + 0.008
        for row in group.sort_values(["f1", "bleu"]).itertuples():
            at = max(at + gap, row.f1)
            line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
            panel.annotate(row.label, (row.bleu, row.f1), xytext=(edge, at), fontsize=8, va="center", arrowprops=line)


def protocols(
    table: pd.DataFrame, scores: Sequence[str], bands: Mapping[str, tuple[float, float]], name: Where = None
) -> Figure:
    """A panel for each of `scores`, a row a system, a dot a seed, coloured by how the reports were searched. Columns of
    `table`: system, protocol, and the scores. A grey band marks `bands` of a score."""
    figure, panels = new_figure(
        1, len(scores), width=8.6, height=0.42 * table["system"].nunique() + 1.3, sharey=True, squeeze=False
    )
    for panel, score in zip(panels[0], scores, strict=True):
        if score in bands:
            panel.axvspan(*bands[score], color="#eeeeee", lw=0)
        hue = {"hue": "protocol", "palette": [BLUE, GREEN, ORANGE][: table["protocol"].nunique()], "dodge": True}
        sns.stripplot(
            table, x=score, y="system", size=6, alpha=0.85, jitter=False, legend=panel is panels[0, 0], ax=panel, **hue
        )
        panel.set_ylabel("")
        panel.grid(axis="y", color="#eeeeee")
        panel.set_axisbelow(True)
        panel.locator_params(axis="x", nbins=5)
    panels[0, 0].legend(
        frameon=False,
        fontsize=8,
        ncols=3,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        borderaxespad=0,
        handletextpad=0.2,
    )
    return finish(figure, name)


def findings_by_system(f1: pd.DataFrame, support: Mapping[str, float], name: Where = None) -> Figure:
    """A heat map of F1: a row a finding with the studies that have it, most frequent first; a column a system."""
    order = sorted(f1.index, key=lambda finding: -support[finding])
    shown = f1.loc[order].rename(index=lambda finding: f"{finding} ({support[finding]:.0f})")
    figure, panel = new_figure(width=1.0 * len(f1.columns) + 2.6, height=0.3 * len(order) + 1.0)
    sns.heatmap(
        shown,
        annot=True,
        fmt=".2f",
        cmap="cividis",
        vmin=0,
        vmax=1,
        linewidths=0.5,
        annot_kws={"size": 8},
        cbar_kws={"label": "F1"},
        ax=panel,
    )
    panel.set(xlabel="", ylabel="finding (test studies that have it)")
    panel.tick_params(length=0, labelsize=8)
    panel.tick_params(axis="x", labelrotation=0)
    panel.xaxis.tick_top()
    return finish(figure, name)
