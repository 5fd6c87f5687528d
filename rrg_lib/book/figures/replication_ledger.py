"""The figures of the four papers, drawn again: what is printed on grey, ours on white, and "not run" written where
there is nothing of ours.

A number is drawn as printed only if its paper prints it. What a paper shows as a curve without numbers is not read off
its picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.replication.verdicts import Verdict

if TYPE_CHECKING:
    from rrg_lib.replication.decision_rule import Order
    from rrg_lib.replication.seed_scores import Measured

Where = Path | str | None
PRINTED = "#ececec"
#: Right, wrong, open, not looked at.
VERDICT_COLOURS = {
    Verdict.REPRODUCED: BLUE,
    Verdict.NOT_REPRODUCED: RED,
    Verdict.OPEN: "#F0E442",
    Verdict.HOLDS: "#56B4E9",
    Verdict.FAILS: ORANGE,
    Verdict.NO_DIFFERENCE: "#CC6677",
    Verdict.UNDECIDED: "#F0E442",
    Verdict.CONSISTENT: GREEN,
    Verdict.CONTRADICTED: "#CC79A7",
    Verdict.NOT_RUN: "#cccccc",
}


def not_run(title: str, why: str, *, printed: str = "", name: Where = None) -> Figure:
    """A figure that could not be drawn, as a page that says so: its title, what is printed of it, and why ours is
    missing."""
    figure, axes = new_figure(width=7.0, height=1.9)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left")
    lines = [*([f"Printed: {printed}"] if printed else []), f"Ours: not run. {why}"]
    axes.text(0, 0.85, "\n".join(_wrapped(line) for line in lines), va="top", transform=axes.transAxes, fontsize=9)
    return finish(figure, name)


def _wrapped(text: str, width: int = 98) -> str:
    lines = [""]
    for word in text.split():
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [*lines, word]
    return "\n".join(lines)


def sweep(
    title: str,
    setting: str,
    metric: str,
    *,
    printed: Mapping[float, float] | None = None,
    marks: Mapping[float, str] | None = None,
    ours: Mapping[float, Measured] | None = None,
    why: str = "",
    name: Where = None,
) -> Figure:
    """A score over a setting. Left, on grey, the values that are `printed` (diamonds) and what the text says of a place
    (`marks`); right ours, the mean of the seeds with their interval, or "not run" and `why`."""
    figure, (left, right) = new_figure(1, 2, width=8.2, height=2.9)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    left.set_facecolor(PRINTED)
    if printed:
        left.plot(list(printed), list(printed.values()), "D", color="black", fillstyle="none")
        for x, y in printed.items():
            left.annotate(f"{y:.3f}", (x, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=8)
        left.margins(0.35)
        _ticks(left, printed)
    else:
        _message(left, "no value is printed:\na curve without numbers", y=0.35)
        left.set_yticks([])
    for x, text in (marks or {}).items():
        left.axvline(x, color=RED, ls="--", lw=1)
        left.text(x, 0.97, f" {text}", transform=left.get_xaxis_transform(), color=RED, fontsize=8, va="top")
        if not printed:
            left.set_xlim(0, 2.6 * x)
    left.set(xlabel=setting, ylabel=f"{metric}, printed")
    _sweep_of_ours(right, setting, metric, ours, why)
    return finish(figure, name)


def _sweep_of_ours(axes: Axes, setting: str, metric: str, ours: Mapping[float, Measured] | None, why: str) -> None:
    axes.set(xlabel=setting, ylabel=f"{metric}, ours")
    if not ours:
        _message(axes, f"not run\n\n{_wrapped(why, 44)}")
        axes.set(xticks=[], yticks=[])
        return
    values = list(ours.values())
    means = np.array([m.spread.mean for m in values])
    reach = np.nan_to_num(np.array([[m.spread.mean - m.low for m in values], [m.high - m.spread.mean for m in values]]))
    axes.errorbar(list(ours), means, yerr=reach, fmt="o-", color=BLUE, capsize=3)
    _ticks(axes, ours)
    axes.set_title(
        _wrapped(f"{values[0].where}, {min(m.spread.n for m in values)} seeds; drawn radiographs", 50), fontsize=8
    )


def _ticks(axes: Axes, values: Mapping[float, object]) -> None:
    """A tick at every value of a setting, on the axis, linear or logarithmic, that keeps neighbours further apart: no
    two labels overlap."""
    places = np.array(sorted(values), dtype=float)
    if places[0] > 0 and _closest(np.log(places)) > _closest(places):
        axes.set_xscale("log")
        axes.set_xticks([], minor=True)
    axes.set_xticks(list(values), [f"{x:g}" for x in values])
    if len(values) > 7:
        axes.tick_params(axis="x", labelsize=7)


def _closest(places: np.ndarray) -> float:
    """The smallest gap between neighbours, as a share of the whole; 1 for a single place."""
    return float(np.diff(places).min() / np.ptp(places)) if len(places) > 1 else 1.0


def _message(axes: Axes, text: str, y: float = 0.5) -> None:
    box = {"fc": axes.get_facecolor(), "ec": "none"}
    axes.text(0.5, y, text, transform=axes.transAxes, ha="center", va="center", fontsize=8, color="#444444", bbox=box)


def memory_size(
    cost: pd.DataFrame,
    printed: tuple[int, float],
    *,
    ours: Mapping[float, Measured],
    why: str,
    marks: Mapping[float, str],
    name: Where = None,
):
    """CMN Figure 3. Left the parameters that N slots add, in per cent, counted from the code (a column of `cost` each,
    its index N), with the one value that is `printed`; right our BLEU-4 over N. `marks` are what the text says of an
    N."""
    figure, (left, right) = new_figure(1, 2, width=8.6, height=3.2)
    figure.suptitle("CMN, Figure 3: the size of the memory", fontsize=10, x=0.01, ha="left")
    for (label, values), colour, style in zip(cost.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
        left.plot(cost.index, values, style, marker=".", color=colour, label=label)
    left.plot(*printed, "D", color="black", fillstyle="none", ms=8, label=f"printed: {printed[1]:g} %")
    left.set(xlabel="N, memory slots", ylabel="parameters added, %", xlim=(0, None), ylim=(0, None))
    left.legend(frameon=False, fontsize=8, loc="upper left")
    _sweep_of_ours(right, "N, memory slots", "BLEU-4", ours, why)
    for x, text in marks.items():
        right.text(0.02, 0.02, f"printed of N = {x:g}: {text}", transform=right.transAxes, color=RED, fontsize=8)
    return finish(figure, name)


def scores(title: str, table: pd.DataFrame, note: str, *, name: Where = None) -> Figure:
    """A printed table as a figure: a panel for each metric, a row for each system; hollow diamonds printed, dots ours
    with their interval, "not run" where there is none. Columns of `table`: system, metric, printed, ours, low, high;
    NaN for what is not there."""
    metrics, systems = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["system"]))
    figure, grid = new_figure(
        1, len(metrics), width=1.75 * len(metrics) + 2.0, height=0.36 * len(systems) + 1.7, sharey=True, squeeze=False
    )
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    rows = {system: y for y, system in enumerate(systems)}
    for axes, metric in zip(grid[0], metrics, strict=True):
        of = table[table["metric"] == metric]
        for line in of.itertuples():
            y = rows[line.system]
            axes.plot(line.printed, y - 0.13, "D", color="black", fillstyle="none", ms=5)
            if np.isnan(line.ours):
                axes.text(
                    0.03, y + 0.2, "not run", transform=axes.get_yaxis_transform(), color=GREY, fontsize=7, va="center"
                )
            else:
                axes.plot([line.low, line.high], [y + 0.2, y + 0.2], color=BLUE, lw=1.5)
                axes.plot(line.ours, y + 0.2, "o", color=BLUE, ms=5)
        shown = of[["printed", "ours", "low", "high"]].to_numpy(dtype=float)
        low, high = np.nanmin(shown), np.nanmax(shown)
        pad = 0.12 * max(high - low, 0.02)
        axes.set(xlabel=metric, xlim=(low - pad, high + pad))
        axes.locator_params(axis="x", nbins=3)
        axes.grid(axis="y", color="#eeeeee")
    grid[0, 0].set_yticks(range(len(systems)), systems)
    grid[0, 0].set_ylim(len(systems) - 0.4, -0.6)
    grid[0, 0].plot([], [], "D", color="black", fillstyle="none", label="printed")
    grid[0, 0].plot([], [], "o-", color=BLUE, label=note)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside lower left")
    return finish(figure, name)


def order_differences(orders: Mapping[str, Order], score: str, *, name: Where = None) -> Figure:
    """For each of `orders`, the first system's `score` minus the second's, with the margin that a difference must
    exceed; the grey band is what would not matter. Blue is above, red below, grey neither."""
    figure, axes = new_figure(width=7.0, height=(0.4 if len(orders) < 16 else 0.28) * len(orders) + 1.0)
    for y, one in enumerate(orders.values()):
        colour = {"above": BLUE, "below": RED}.get(one.answer, GREY)
        axes.plot([one.difference - one.margin, one.difference + one.margin], [y, y], color=colour, lw=1.5)
        axes.plot(one.difference, y, "o", color=colour, ms=6)
    known = [one.delta for one in orders.values() if one.delta == one.delta]
    if known:
        axes.axvspan(-known[0], known[0], color=GREY, alpha=0.2, lw=0)
    axes.axvline(0, color=GREY, lw=1)
    axes.set_yticks(range(len(orders)), list(orders))
    axes.set(xlabel=f"difference in {score}, with its margin", ylim=(len(orders) - 0.5, -0.5))
    return finish(figure, name)


def verdict_counts(counts: Mapping[str, Mapping[Verdict, int]], *, name: Where = None) -> Figure:
    """How many printed values and how many claims got which verdict: a panel for each kind, a bar for each verdict,
    with its number."""
    figure, panels = new_figure(1, len(counts), width=8.2, height=2.9, sharey=True, squeeze=False)
    for axes, (kind, by_verdict) in zip(panels[0], counts.items(), strict=True):
        verdicts = list(by_verdict)
        colours = [VERDICT_COLOURS[verdict] for verdict in verdicts]
        bars = axes.barh(
            range(len(verdicts)), list(by_verdict.values()), color=colours, edgecolor="black", linewidth=0.4
        )
        axes.bar_label(bars, [str(n) for n in by_verdict.values()], padding=3, fontsize=8)
        axes.set(
            xlabel={"value": "printed values", "claim": "claims"}.get(kind, kind),
            xlim=(0, 1.15 * max(1, *by_verdict.values())),
        )
    panels[0, 0].set_yticks(
        range(len(verdicts)),
        [verdict.replace(" (not a replication)", " *") for verdict in verdicts],
        fontsize=8,
    )
    panels[0, 0].invert_yaxis()
    if any("not a replication" in verdict for verdict in verdicts):
        figure.supxlabel("* drawn radiographs: not a replication", fontsize=8, x=0.02, ha="left")
    return finish(figure, name)


def constant_beside_print(
    rows: Sequence[tuple[str, float, float, float]],
    printed: Sequence[tuple[str, float]],
    *,
    metric: str,
    name: Where = None,
):
    """Reports that never look at an image, (label, value, low, high), beside printed values (label, value) of the same
    split."""
    figure, axes = new_figure(width=7.6, height=0.34 * (len(rows) + len(printed)) + 0.9)
    every = [*printed, *((label, value) for label, value, _, _ in rows)]
    for y, (_, value) in enumerate(printed):
        axes.plot(value, y, "D", color="black", fillstyle="none")
    for y, (_, value, low, high) in enumerate(rows, start=len(printed)):
        axes.axvspan(low, high, color=ORANGE, alpha=0.18 if y == len(printed) else 0, lw=0)
        axes.plot([low, high], [y, y], color=ORANGE, lw=2)
        axes.plot(value, y, "s", color=ORANGE)
    axes.set_yticks(range(len(every)), [_wrapped(label, 44) for label, _ in every], fontsize=8)
    for y, (_, value) in enumerate(every):
        axes.annotate(f"{value:.3f}", (value, y), xytext=(8, 6), textcoords="offset points", va="center", fontsize=7)
    axes.axhspan(-0.5, len(printed) - 0.5, color=PRINTED, zorder=-1)
    axes.set(xlabel=metric, ylim=(len(every) - 0.5, -0.5))
    return finish(figure, name)
