"""The figures of chapter 11: the sentinel's share word by word, what the rows of R2Gen's memory become, how the
families write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rrg_lib.book.figures.style import BLUE, GREY, ORANGE, finish, new_figure

#: Words in a line of `sentinel_shares`.
LINE = 28


def sentinel_shares(
    words: Sequence[str], shares: np.ndarray, marked: Sequence[bool], *, name: str | None = None
) -> Figure:
    """One report word by word: the height is the sentinel's share (0 to 1) of the attention while the word was written;
    orange bars are words that assert a finding. The dashed line is the mean of the report."""
    lines = max(1, -(-len(words) // LINE))
    figure, grid = new_figure(lines, 1, width=8.4, height=1.75 * lines + 0.2, squeeze=False, sharey=True)
    mean = float(np.mean(shares))
    for axes, start in zip(grid[:, 0], range(0, len(words), LINE), strict=True):
        part = slice(start, start + LINE)
        places = np.arange(len(words[part]))
        axes.bar(places, shares[part], color=[ORANGE if mark else BLUE for mark in marked[part]], width=0.8)
        axes.axhline(mean, color=GREY, lw=1, ls="--", label="mean of the report")
        axes.set_xticks(places, words[part], rotation=60, ha="right", fontsize=8)
        axes.set(xlim=(-0.6, min(LINE, len(words)) - 0.4), ylim=(0, None))
    grid[0, 0].set_ylabel("share")
    grid[0, 0].legend(frameon=False, fontsize=8, loc="upper right")
    return finish(figure, name)


def rows_alike(curves: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """The mean cosine between two rows of a relational memory after each word, a line for each of `curves`, (words,):
    at 1 all rows are one vector, whatever their number."""
    figure, axes = new_figure(width=6.0, height=2.8)
    for (label, curve), style in zip(curves.items(), (":", "-", "--"), strict=False):
        axes.plot(np.arange(1, len(curve) + 1), curve, color=BLUE, ls=style, lw=2, label=label)
    axes.axhline(1, color=GREY, lw=1)
    axes.set(xlabel="words read", ylabel="cosine of two rows")
    axes.legend(frameon=False)
    return finish(figure, name)


def habits(table: pd.DataFrame, lstm: Sequence[str], *, name: str | None = None) -> Figure:
    """How systems write, a row each: left, the share of their reports that are distinct; middle, how many different
    words they use at all; right, their length over the references'. Orange rows are LSTMs, blue ones Transformers."""
    columns = ("distinct reports", "words used", "length ratio")
    figure, grid = new_figure(1, 3, width=8.4, height=0.34 * len(table) + 0.9, sharey=True)
    colours = [ORANGE if system in lstm else BLUE for system in table.index]
    for axes, column in zip(grid, columns, strict=True):
        axes.barh(range(len(table)), table[column].astype(float), color=colours, height=0.7)
        axes.set_xlabel(column)
    grid[2].axvline(1, color=GREY, lw=1)
    grid[0].set_yticks(range(len(table)), list(table.index))
    grid[0].invert_yaxis()
    return finish(figure, name)
