"""The figures of chapter 08: parts of a step, memory by batch size, gradients in half precision, operations, how a step
and a memory read grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure

COLOURS = (GREY, ORANGE, BLUE, GREEN, RED)
#: Told apart without colour too.
HATCHES = ("", "//", "", "..", "")


def step_parts(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """A bar a row of `table` (milliseconds, a column a part of the step), its parts as shares of the whole; the whole
    stands at the right end."""
    figure, axes = new_figure(width=7.5, height=0.5 * len(table) + 1.1)
    share, left = 100 * table.div(table.sum(axis=1), axis=0), np.zeros(len(table))
    for part, colour, hatch in zip(table, COLOURS, HATCHES, strict=True):
        axes.barh(
            table.index,
            share[part],
            left=left,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0.5,
            height=0.6,
            label=part,
        )
        left += share[part].to_numpy()
    for place, whole in enumerate(table.sum(axis=1)):
        axes.text(101, place, f"{whole:,.0f} ms", va="center")
    axes.invert_yaxis()
    axes.set(xlabel="share of the step's time (%)", xlim=(0, 112), xticks=range(0, 101, 20))
    axes.legend(frameon=False, ncols=table.shape[1], loc="lower center", bbox_to_anchor=(0.45, 1.0))
    return finish(figure, name)


def memory_stack(table: pd.DataFrame, limits: Mapping[str, float], *, name: str | None = None) -> Figure:
    """A bar a row of `table` (GiB, a column a kind of memory, at most four; the index is the batch size), stacked; a
    dashed line at each of `limits`."""
    figure, axes = new_figure(width=7.5, height=3.3)
    places, bottom = np.arange(len(table)), np.zeros(len(table))
    for part, colour, hatch in zip(table, (ORANGE, BLUE, GREEN, GREY), ("//", "", "..", ""), strict=False):
        axes.bar(
            places,
            table[part],
            bottom=bottom,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0.5,
            width=0.6,
            label=part,
        )
        bottom += table[part].to_numpy()
    for label, limit in limits.items():
        axes.axhline(limit, color="black", lw=1, ls="--")
        axes.text(-0.45, limit * 1.03, label, va="bottom", fontsize=8)
    axes.set_yscale("log")
    axes.set_xticks(places, [f"{batch:,}" for batch in table.index])
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set(
        xlabel="studies in a batch", ylabel="GiB (logarithmic)", ylim=(0.5, 1.7 * max(bottom.max(), *limits.values()))
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    return finish(figure, name)


def gradient_sizes(
    sizes: Mapping[str, np.ndarray], ranges: Mapping[str, tuple[float, float]], *, name: str | None = None
) -> Figure:
    """Histograms of log2 |gradient| (a panel for each of `sizes`, zeros left out) above bars of what each format can
    hold (`ranges`, log2)."""
    figure, grid = new_figure(len(sizes), 1, width=7.5, height=1.7 * len(sizes) + 0.5, sharex=True, squeeze=False)
    for axes, (label, values) in zip(grid[:, 0], sizes.items(), strict=True):
        counts, _, _ = axes.hist(
            values, bins=np.arange(-60, 20), color=GREY, weights=np.full(len(values), 100 / len(values))
        )
        top = counts.max()
        for place, ((format_name, (low, high)), colour) in enumerate(
            zip(ranges.items(), (RED, BLUE, GREEN), strict=False)
        ):
            height = top * (1.12 + 0.22 * place)
            axes.plot([max(low, -60), min(high, 20)], [height, height], color=colour, lw=5, solid_capstyle="butt")
            axes.text(20.5, height, format_name, va="center", fontsize=8, color=colour)
            if low > -60:
                axes.axvline(low, color=colour, lw=1, ls=":")
        axes.set(ylabel="% of gradients", xlim=(-60, 20), ylim=(0, top * (1.3 + 0.22 * len(ranges))))
        axes.set_title(label, loc="left")
    grid[-1, 0].set_xlabel("log₂ of the gradient's size")
    return finish(figure, name)


def operations(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """A bar a row of `table`: `ms` of the operation itself; how often it was launched (`calls`) stands behind it."""
    table = table.iloc[::-1]
    figure, axes = new_figure(width=7.0, height=0.27 * len(table) + 0.9)
    axes.barh(table.index, table["ms"], color=BLUE)
    for place, (ms, calls) in enumerate(zip(table["ms"], table["calls"], strict=True)):
        axes.text(ms, place, f"  {calls:,.0f} ×", va="center", fontsize=8, color=GREY)
    axes.margins(x=0.12, y=0.02)
    axes.set(xlabel="milliseconds in one step (grey: times launched)")
    return finish(figure, name)


def growth(
    batches: Sequence[int], seconds: Sequence[float], floors: Mapping[str, Sequence[float]], *, name: str | None = None
) -> Figure:
    """Left: seconds a step over the batch (blue), and what each of `floors` says it takes at least (dashed), both axes
    logarithmic. Right: studies a second."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=3.0)
    left.plot(batches, seconds, "o-", color=BLUE, lw=2, label="measured")
    for (label, values), colour, dashes in zip(floors.items(), (ORANGE, GREEN), ("--", ":"), strict=False):
        left.plot(batches, values, dashes, color=colour, lw=2, label=label)
    left.set(xscale="log", yscale="log", xlabel="studies in a batch", ylabel="seconds a step")
    left.legend(frameon=False, fontsize=8)
    right.plot(batches, np.asarray(batches) / np.asarray(seconds), "o-", color=BLUE, lw=2)
    right.set(xscale="log", xlabel="studies in a batch", ylabel="studies a second", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(batches, [f"{batch:,}" for batch in batches])
        axes.minorticks_off()
    return finish(figure, name)


def read_growth(table: pd.DataFrame, over: str, machine: str, *, name: str | None = None) -> Figure:
    """A memory read over the slots or the batch (the index): seconds left, MiB right where measured, ours solid, the
    two products dashed; all axes logarithmic."""
    measured = [("s", "seconds"), ("MiB", "MiB at the peak")][: 1 if table["ours, MiB"].isna().any() else 2]
    figure, panels = (
        new_figure(1, 2, width=8.0, height=3.0) if len(measured) == 2 else new_figure(width=4.4, height=3.0)
    )
    panels = np.atleast_1d(panels)
    for axes, (unit, label) in zip(panels, measured, strict=True):
        axes.plot(table.index, table[f"ours, {unit}"], "o-", color=BLUE, lw=2, label="our read")
        axes.plot(table.index, table[f"products, {unit}"], "s--", color=ORANGE, lw=2, label="two matrix products")
        axes.set(
            xscale="log", yscale="log", xlabel={"slots": "slots N", "batch": "studies in a batch"}[over], ylabel=label
        )
        axes.set_xticks(table.index, [f"{value:,}" for value in table.index])
        axes.minorticks_off()
    figure.suptitle(machine, fontsize=10, x=0.01, ha="left")
    panels[0].legend(frameon=False)
    return finish(figure, name)
