"""The figures of chapter 07: what the pooling weighs, how a loss collapses, the leak, retrieval, the focal loss,
classes and inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.experiments.disease_classification import SeedScores

COLOURS = (BLUE, ORANGE, GREEN, RED)


def word_weights(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """Mean pooling weight of words, as multiples of an even weight: a bar a row of `table` (index the words, column
    `weight`), heaviest on top."""
    table = table.sort_values("weight")
    figure, axes = new_figure(width=6.5, height=0.21 * len(table) + 0.9)
    axes.barh(table.index, table["weight"], color=[BLUE if weight > 1 else ORANGE for weight in table["weight"]])
    axes.axvline(1, color=GREY, lw=1)
    axes.margins(y=0.02)
    axes.set(xlabel="pooling weight × length of the report (1: an even mean)")
    return finish(figure, name)


def collapse(curves: Mapping[str, pd.DataFrame], *, name: str | None = None) -> Figure:
    """Training of each form: its loss over its first value, and the mean cosine of two different studies. Columns
    `loss`, `images`, index the step."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=2.9)
    for (label, curve), colour in zip(curves.items(), COLOURS, strict=False):
        left.plot(curve.index, curve["loss"] / curve["loss"].iloc[0], color=colour, lw=2, label=label)
        right.plot(curve.index, curve["images"], color=colour, lw=2, label=label)
    left.set(xlabel="training step", ylabel="loss / loss at the start", ylim=(0, None))
    right.axhline(1, color=GREY, lw=1, ls=":")
    right.set(xlabel="training step", ylabel="mean cosine of two images", ylim=(-0.1, 1.05))
    left.legend(frameon=False)
    return finish(figure, name)


def cosines(panels: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """For each of `panels`, cosines (n, n) of reports with images: the share of pairs up to a cosine, matching ones
    (the diagonal) and all others."""
    figure, grid = new_figure(
        1, len(panels), width=4.0 * len(panels), height=2.9, squeeze=False, sharex=True, sharey=True
    )
    for axes, (label, values) in zip(grid[0], panels.items(), strict=True):
        others = values[~np.eye(len(values), dtype=bool)]
        for part, colour, who in ((others, GREY, "other pairs"), (values.diagonal(), BLUE, "matching pairs")):
            levels = np.linspace(0, 1, 401)
            axes.plot(np.quantile(part, levels), levels, color=colour, lw=2.5, label=who)
        axes.set_title(label)
        axes.set(xlabel="cosine of a report and an image", xlim=(-1.02, 1.02), xticks=[-1, -0.5, 0, 0.5, 1])
    grid[0, 0].set_ylabel("share of pairs up to it")
    grid[0, 0].legend(frameon=False, loc="upper left")
    return finish(figure, name)


def recalls(table: pd.DataFrame, guess: tuple[float, float], ceiling: float, *, name: str | None = None) -> Figure:
    """Recall at 10 both ways, a row a system: columns `image → report`, `report → image`. Grey band: what guessing
    gets; red: the most possible."""
    figure, axes = new_figure(width=7.5, height=0.38 * len(table) + 1.2)
    places = np.arange(len(table))
    axes.axvspan(*guess, color=GREY, alpha=0.35, lw=0, label="guessing, 95 of 100 times")
    for column, colour, marker, shift in (("image → report", BLUE, "o", -0.12), ("report → image", ORANGE, "s", 0.12)):
        axes.plot(table[column], places + shift, marker, color=colour, ms=6, label=column)
    axes.axvline(ceiling, color=RED, lw=1, ls="--", label="a perfect reader")
    axes.set_yticks(places, table.index)
    axes.set(xlabel="recall at 10", ylim=(len(table) - 0.5, -0.5), xlim=(0, 1.02))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)


def focal_curves(p: np.ndarray, curves: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """The loss of a study over the probability `p` (n,) given to its true class, and its share of the cross-entropy.
    The first curve is γ = 0."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=2.9)
    whole = next(iter(curves.values()))
    for (label, values), colour in zip(curves.items(), (GREY, *COLOURS), strict=False):
        left.plot(p, values, color=colour, lw=2, label=label)
        right.plot(p, values / whole, color=colour, lw=2)
    left.set(xlabel="$p_t$, probability given to the truth", ylabel="loss (nats)", ylim=(0, 5), xlim=(0, 1))
    right.set(
        xlabel="$p_t$, probability given to the truth",
        ylabel="part of the cross-entropy that is left",
        xlim=(0, 1),
        ylim=(0, 1.05),
    )
    left.legend(frameon=False)
    return finish(figure, name)


def score_dots(results: Mapping[str, SeedScores], metrics: Sequence[str], *, name: str | None = None) -> Figure:
    """A row a result, a panel a metric: mean over seeds, its bootstrap interval over studies (line), each seed (small
    dots)."""
    figure, grid = new_figure(
        1, len(metrics), width=4.0 * len(metrics) + 1.0, height=0.34 * len(results) + 1.0, squeeze=False, sharey=True
    )
    for axes, metric in zip(grid[0], metrics, strict=True):
        for place, result in enumerate(results.values()):
            axes.plot(100 * np.array(result.interval(metric)), [place, place], color=BLUE, lw=1.5)
            axes.plot(100 * result.mean(metric), place, "o", color=BLUE, ms=6)
            if len(result.seeds) > 1:
                axes.plot(
                    [100 * seed.scores[metric] for seed in result.seeds],
                    [place + 0.25] * len(result.seeds),
                    ".",
                    color=ORANGE,
                    ms=5,
                )
        axes.set(xlabel=f"{metric} (%)", xlim=(0, 100))
    grid[0, 0].set_yticks(range(len(results)), list(results))
    grid[0, 0].set_ylim(len(results) - 0.4, -0.5)
    return finish(figure, name)


def class_dots(tables: Mapping[str, pd.DataFrame], *, name: str | None = None) -> Figure:
    """F1 of each class, a colour and a mark for each of `tables` (columns `f1`, `support`); the number of test studies
    stands behind the class."""
    first = next(iter(tables.values())).sort_values("support", ascending=False)
    figure, axes = new_figure(width=7.5, height=0.27 * len(first) + 1.0)
    for (label, table), colour, marker in zip(tables.items(), COLOURS, "os^D", strict=False):
        axes.plot(
            100 * table.loc[first.index, "f1"], range(len(first)), marker, color=colour, ms=6, alpha=0.85, label=label
        )
    axes.set_yticks(range(len(first)), [f"{who} ({n})" for who, n in first["support"].items()])
    axes.grid(axis="y", color=GREY, alpha=0.25)
    axes.set(xlabel="F1 (%)", xlim=(-2, 102), ylim=(len(first) - 0.4, -0.6))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)
