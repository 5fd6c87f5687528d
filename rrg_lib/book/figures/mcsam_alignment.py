"""The figures of chapter 06: how even topics are, what a Hopfield step recalls, which slots a word and its patches ask,
alignment, tokens, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure

COLOURS = (BLUE, ORANGE, GREEN, RED)


def topic_sizes(masses: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """How much each topic holds, as multiples of an even share, largest first: a line for each way to find topics;
    `masses` (K,) sum to 1."""
    figure, axes = new_figure(width=6.5, height=3.0)
    for (label, mass), colour in zip(masses.items(), COLOURS, strict=False):
        axes.plot(np.arange(1, len(mass) + 1), np.sort(mass)[::-1] * len(mass), color=colour, lw=2, label=label)
    axes.axhline(1, color=GREY, lw=1, ls=":", label="even share")
    axes.set_yscale("log")
    axes.set_yticks([0.1, 1, 10], ["1/10", "1", "10"])
    axes.set(xlabel="topic, largest first", ylabel="size / even share")
    axes.legend(frameon=False)
    return finish(figure, name)


def recall_curves(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """Cosine with the slot that was meant, over how noisy the question was (the index: noise length / slot length); the
    first column is the question."""
    figure, axes = new_figure(width=6.5, height=3.2)
    for label, colour, style, width in zip(
        table.columns, (GREY, *COLOURS), ("--", "-", "-", "-", "-"), (2, 4, 2.5, 1.5, 1.5), strict=False
    ):
        axes.plot(table.index, table[label], style, color=colour, lw=width, label=label)
    axes.set(xlabel="length of the noise / length of the slot", ylabel="cosine with the slot", ylim=(0, 1.03))
    axes.legend(frameon=False, loc="lower left")
    return finish(figure, name)


def asked_slots(weights: pd.DataFrame, even: float, *, split: int, name: str | None = None) -> Figure:
    """Rows who asks (the first `split` are words, then patches), columns slots by their topic words; colour how many
    times an even share it gets."""
    values = weights.to_numpy() / even
    figure, axes = new_figure(width=8.0, height=0.27 * len(weights) + 2.1)
    image = axes.imshow(values, cmap="cividis", aspect="auto", vmin=0)
    axes.axhline(split - 0.5, color="white", lw=3)
    axes.set_yticks(range(len(weights)), weights.index)
    axes.set_xticks(range(weights.shape[1]), weights.columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.9, label="weight / even share")
    return finish(figure, name)


def losses_side_by_side(curves: Mapping[str, pd.DataFrame], *, name: str | None = None) -> Figure:
    """Mean cosine of matching and of other pairs (columns `matching`, `other`) over steps: a panel a loss."""
    figure, grid = new_figure(1, len(curves), width=7.5, height=2.9, sharey=True, squeeze=False)
    for axes, (label, curve) in zip(grid[0], curves.items(), strict=True):
        axes.plot(curve.index, curve["matching"], color=BLUE, lw=2.5, label="image and its own report")
        axes.plot(curve.index, curve["other"], color=ORANGE, lw=2.5, ls="--", label="image and another's report")
        axes.set(xlabel="step", title=label, ylim=(-0.1, 1.05))
        axes.axhline(0, color=GREY, lw=0.8)
    grid[0, 0].set_ylabel("mean cosine, validation")
    grid[0, -1].legend(frameon=False, loc="upper left")
    return finish(figure, name)


def pair_cosines(panels: Mapping[str, tuple[np.ndarray, np.ndarray]], *, name: str | None = None) -> Figure:
    """Cosines of matching pairs (n,) and of other pairs (m,), as densities on one axis: a panel each."""
    figure, grid = new_figure(1, len(panels), width=8.5, height=2.8, squeeze=False, sharex=True)
    low = min(values.min() for pair in panels.values() for values in pair)
    bins = np.linspace(low, 1, 50)
    for axes, (label, (matching, other)) in zip(grid[0], panels.items(), strict=True):
        axes.hist(other, bins, density=True, color=ORANGE, alpha=0.55, label="image and another's report")
        axes.hist(matching, bins, density=True, histtype="step", color=BLUE, lw=2, label="image and its own report")
        axes.set(xlabel="cosine", title=label, yticks=[])
    grid[0, 0].set_ylabel("share of pairs")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return finish(figure, name)


def recall_bars(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """Recall@k (rows k) of several systems (columns), beside chance (column `chance`)."""
    figure, axes = new_figure(width=6.0, height=2.8)
    systems = [column for column in table.columns if column != "chance"]
    width = 0.8 / len(systems)
    at = np.arange(len(table))
    for j, (system, colour) in enumerate(zip(systems, (GREY, BLUE, GREEN, ORANGE), strict=False)):
        axes.bar(at + (j - (len(systems) - 1) / 2) * width, table[system], width * 0.92, color=colour, label=system)
    for x, chance in zip(at, table["chance"], strict=True):
        axes.plot([x - 0.45, x + 0.45], [chance, chance], color=RED, lw=2, label="chance" if x == 0 else None)
    axes.set_xticks(at, [f"among the {k} nearest" if k > 1 else "the nearest" for k in table.index])
    axes.set(ylabel="share of test studies")
    axes.legend(frameon=False)
    return finish(figure, name)


def prefix_attention(weights: np.ndarray, words: Sequence[str], tokens: int, *, name: str | None = None) -> Figure:
    """One layer's self-attention (L, P + L), mean over heads, of one report: columns are the P memory tokens, then the
    words; rows the words that ask."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=4.3, width_ratios=[3, 1.1])
    image = left.imshow(weights, cmap="cividis", vmin=0, vmax=np.quantile(weights, 0.99), aspect="auto")
    left.axvline(tokens - 0.5, color="white", lw=2)
    left.set_yticks(range(len(words)), words)
    left.set_xticks([(tokens - 1) / 2, tokens + (len(words) - 1) / 2], [f"{tokens} memory tokens", "words so far"])
    left.set_ylabel("who asks, from the first word to the last")
    left.tick_params(length=0)
    figure.colorbar(image, ax=left, shrink=0.8, label="attention weight")
    share = weights[:, :tokens].sum(1)
    seen = (weights[:, tokens:] > 0).sum(1)
    right.barh(range(len(words)), share, color=BLUE, label="measured")
    right.plot(tokens / (tokens + seen), range(len(words)), color=ORANGE, lw=2, label="all alike")
    right.set(ylim=(len(words) - 0.5, -0.5), yticks=[], xlim=(0, 1), xlabel="weight on the\nmemory tokens")
    right.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=1)
    return finish(figure, name)


def token_changes(before: np.ndarray, after: np.ndarray, attention: np.ndarray, *, name: str | None = None) -> Figure:
    """Memory tokens (P, d) before and after training: their lengths, their cosines with each other, and how much
    attention each gets (P,), even = 1."""
    figure, (left, middle, right) = new_figure(1, 3, width=8.5, height=2.8)
    places = np.arange(1, len(before) + 1)
    lengths = [np.linalg.norm(tokens, axis=1) for tokens in (before, after)]
    left.vlines(places, *lengths, color=GREY, lw=1)
    for values, colour, label in zip(lengths, (GREY, BLUE), ("at the start", "trained"), strict=True):
        left.plot(places, values, "o", color=colour, ms=5, label=label)
    left.set(xlabel="memory token", ylabel="length", ylim=(0, 1.3 * max(map(np.max, lengths))))
    left.legend(frameon=False, ncols=2, loc="upper center", handletextpad=0.2, columnspacing=0.8)
    units = [tokens / np.linalg.norm(tokens, axis=1, keepdims=True) for tokens in (before, after)]
    pairs = np.triu_indices(len(before), 1)
    for unit, colour, label in zip(units, (GREY, BLUE), ("at the start", "trained"), strict=True):
        middle.hist((unit @ unit.T)[pairs], np.linspace(-1, 1, 41), color=colour, alpha=0.55, label=label)
    middle.set(xlabel="cosine of two tokens", ylabel="pairs")
    right.bar(places, attention, color=BLUE)
    right.axhline(1, color=GREY, ls="--", lw=1)
    right.set(xlabel="memory token", ylabel="attention / even share")
    return finish(figure, name)


def cost(table: pd.DataFrame, bytes_of: pd.DataFrame, *, name: str | None = None) -> Figure:
    """Left, time over the number of slots (index) as multiples of the encoder's: a line a column. Right, MiB of
    tensors, a line a column."""
    figure, panels = new_figure(1, 2, width=8.0, height=3.6)
    for axes, frame, label in zip(panels, (table, bytes_of), ("time / time of the encoder", "MiB"), strict=True):
        for column, colour, marker in zip(frame.columns, COLOURS, "os^D", strict=False):
            axes.plot(frame.index, frame[column], marker=marker, ms=5, color=colour, lw=2, label=column)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(list(frame.index), [f"{n:,}" for n in frame.index], rotation=30)
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="slots in the bank, N", ylabel=label)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    panels[0].axhline(1, color=GREY, lw=1, ls="--")
    return finish(figure, name)
