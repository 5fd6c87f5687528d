"""The figures of chapter 05: how big the classes are, what the gate leaves, what a pair should look like, what test
labels are worth, prototypes on a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure

PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#222222"
#: Fourteen classes: seven colours the colour-blind can tell apart, each as a disc and as a triangle.
CLASS_MARKS = [(colour, marker) for marker in ("o", "^") for colour in (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)]


def class_sizes(counts: pd.DataFrame, groups: int, *, name: str | None = None) -> Figure:
    """Studies that have each label (rows of `counts`), a bar for each split (columns), on a logarithmic axis; the line
    is at the number of groups that k-means makes of a class."""
    figure, axes = new_figure(width=8.0, height=0.28 * len(counts) + 1.0)
    rows = np.arange(len(counts))
    long = counts.rename_axis("label").reset_index().melt("label", var_name="split", value_name="studies")
    palette = (BLUE, ORANGE, GREEN)[: counts.columns.size]
    sns.barplot(long, x="studies", y="label", hue="split", palette=palette, saturation=1, width=0.8, ax=axes)
    empty = [row for row, n in zip(rows, counts.sum(axis=1), strict=True) if n == 0]
    for row in empty:
        axes.text(1.1, row, "no study at all", va="center", color=RED)
    axes.axvline(groups, color=GREY, lw=1, ls="--", label=f"{groups} groups a class")
    axes.set_yticks(rows, counts.index)
    axes.set_xscale("log")
    axes.set(xlabel="studies with the label", ylabel="", xlim=(0.8, None), ylim=(len(counts) - 0.4, -0.6))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)


def gate(
    scores: np.ndarray, opened: np.ndarray, chosen: np.ndarray, classes: Sequence[str], *, name: str | None = None
) -> Figure:
    """One query's scores over all prototypes (C·N_p,), class beside class: grey where the gate is shut, blue where it
    is open, red the gamma asked."""
    figure, axes = new_figure(width=8.0, height=3.4)
    number = len(scores) // len(classes)
    places = np.arange(len(scores))
    for c in range(len(classes)):
        if opened[c * number]:
            axes.axvspan(c * number - 0.5, (c + 1) * number - 0.5, color=SKY, alpha=0.2, lw=0)
        elif c % 2:
            axes.axvspan(c * number - 0.5, (c + 1) * number - 0.5, color="#f3f3f3", lw=0)
    asked = np.isin(places, chosen)
    rest = opened & ~asked
    parts = (
        (~opened, GREY, "shut", 10),
        (rest, BLUE, "open, not among the best", 22),
        (asked, RED, f"the γ = {asked.sum()} it asks", 26),
    )
    for part, colour, label, size in parts:
        axes.scatter(places[part], scores[part], s=size, color=colour, label=label, lw=0)
    axes.set_xticks((np.arange(len(classes)) + 0.5) * number - 0.5, classes, rotation=40, ha="right")
    axes.tick_params(axis="x", length=0)
    axes.set(xlim=(-0.5, len(scores) - 0.5), ylabel="score (Eq. 10)")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return finish(figure, name)


def pair_targets(
    differing: np.ndarray,
    cosines: np.ndarray,
    together: np.ndarray,
    thetas: Sequence[float],
    margin: float,
    *,
    name: str | None = None,
):
    """Every pair of a batch: share h_d / h_t of labels that differ against cosine, all (pairs,). Left those that share
    a label, with XProNet Eq. 18's target for each theta; right the strangers, with the margin."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=3.2, sharey=True, width_ratios=(2.2, 1))
    jitter = np.random.default_rng(0).uniform(-0.012, 0.012, len(differing))
    left.scatter(
        (differing + jitter)[together],
        cosines[together],
        s=12,
        color=BLUE,
        alpha=0.5,
        lw=0,
        label="pairs with a common label",
    )
    share = np.linspace(0, 1, 50)
    for theta, colour in zip(thetas, (GREY, ORANGE, RED), strict=False):
        left.plot(share, theta**-share, color=colour, lw=2, label=f"target, θ = {theta:g}")
    left.set(xlabel="share of labels that differ, h_d / h_t", ylabel="cosine of the two mean responses")
    left.legend(frameon=False, loc="lower left")
    right.hist(cosines[~together], bins=30, orientation="horizontal", color=GREEN)
    right.axhline(margin, color=BLACK, lw=2, label=f"margin {margin:g}")
    right.set(xlabel="pairs without a common label")
    right.legend(frameon=False, loc="upper right")
    return finish(figure, name)


def loss_over_theta(
    curves: Mapping[str, Sequence[float]], thetas: Sequence[float], *, name: str | None = None
) -> Figure:
    """The image loss of one batch over theta: a line for each of `curves`; those whose name says "before" are
    dotted."""
    figure, axes = new_figure(width=5.6, height=3.0)
    for label, values in curves.items():
        axes.plot(
            thetas,
            values,
            color=RED if "printed" in label else BLUE,
            ls=":" if "before" in label else "-",
            lw=2,
            marker="o",
            ms=4,
            label=label,
        )
    axes.axhline(0, color=GREY, lw=1)
    axes.set(xlabel="θ", ylabel="loss of one batch (Eq. 17)")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)


def labels_worth(rows: Mapping[str, Mapping[str, tuple[float, float, float]]], *, name: str | None = None) -> Figure:
    """Scores of the same weights told different labels: a panel for each score, in it a dot with its interval (value,
    low, high) for each way of telling."""
    figure, panels = new_figure(
        1,
        len(rows),
        width=3.3 * len(rows) + 1.4,
        height=0.36 * max(map(len, rows.values())) + 1.1,
        sharey=True,
        squeeze=False,
    )
    for axes, (score, ways) in zip(panels[0], rows.items(), strict=True):
        for y, (way, (value, low, high)) in enumerate(ways.items()):
            colour = RED if "reference" in way else ORANGE if "wrong" in way else BLUE
            axes.plot([low, high], [y, y], color=colour, lw=2)
            axes.plot(value, y, "o", color=colour, ms=7)
        axes.set_yticks(range(len(ways)), list(ways))
        axes.set(xlabel=score, ylim=(len(ways) - 0.5, -0.5))
    return finish(figure, name)


def prototype_map(
    panels: Mapping[str, np.ndarray],
    classes: Sequence[str],
    empty: Sequence[str] = (),
    *,
    name: str | None = None,
    seed: int = 0,
):
    """Prototypes (C·N_p, d) laid out by t-SNE, a panel each; colour and shape are the class. The second half of a
    class, the prototypes of mirror images, is pale; classes of `empty` are hollow: no study made them."""
    from sklearn.manifold import TSNE  # takes a second: only for those who look

    figure, axes = new_figure(1, len(panels), width=3.3 * len(panels) + 1.7, height=3.5, squeeze=False)
    for part, (label, vectors) in zip(axes[0], panels.items(), strict=True):
        vectors = np.asarray(vectors, dtype=np.float32)
        place = TSNE(perplexity=20, init="pca", random_state=seed).fit_transform(vectors)
        number = len(vectors) // len(classes)
        for c, (colour, marker) in zip(range(len(classes)), CLASS_MARKS, strict=False):
            halves = np.split(place[c * number : (c + 1) * number], [(number + 1) // 2])
            for half, strength in zip(halves, (1.0, 0.35), strict=True):
                face = "none" if classes[c] in empty else colour
                part.scatter(*half.T, s=18, color=face, marker=marker, edgecolor=colour, lw=0.7, alpha=strength)
        part.set(xticks=[], yticks=[], title=label)
    marks = [
        Line2D([], [], ls="", marker=marker, mec=colour, mfc="none" if observation in empty else colour)
        for observation, (colour, marker) in zip(classes, CLASS_MARKS, strict=False)
    ]
    axes[0][-1].legend(
        marks, classes, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, labelspacing=0.3
    )
    return finish(figure, name)


def shared_by_chance(table: pd.DataFrame, *, name: str | None = None) -> Figure:
    """Prototypes that a word and a patch both ask: `mean` and middle half (`low`, `high`) of pairs, `other` and
    `chance`, by labels of the study (index)."""
    figure, axes = new_figure(width=6.2, height=3.0)
    places = np.arange(len(table))
    axes.vlines(places, table["low"], table["high"], color=BLUE, lw=3, alpha=0.4, label="middle half of all pairs")
    axes.plot(places, table["mean"], "o", color=BLUE, ms=7, label="mean of all pairs")
    axes.plot(
        places,
        table["other"],
        "o",
        mec=BLUE,
        mfc="none",
        ms=11,
        label="the patches of another study\nwith the same labels",
    )
    axes.plot(places, table["chance"], "_", color=RED, ms=22, mew=2.5, label="two who choose blindly")
    marks = [
        f"{n} label{'s' * (n != 1)},\n{int(count)} open\n(n = {int(studies)})"
        for n, count, studies in zip(table.index, table["open"], table["studies"], strict=True)
    ]
    axes.set_xticks(places, marks)
    axes.set(
        xlabel="labels of the study (n studies)",
        ylabel="prototypes in common",
        xlim=(-0.5, len(table) - 0.5),
        ylim=(0, None),
    )
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)


def sweep(
    panels: Mapping[str, pd.DataFrame], *, released: Mapping[str, float] | None = None, name: str | None = None
) -> Figure:
    """Validation loss and finding-F1 over what each table's index counts; a grey line at the `released` value of
    each."""
    figure, grid = new_figure(
        2, len(panels), width=3.8 * len(panels) + 0.6, height=4.2, squeeze=False, sharey="row", sharex="col"
    )
    scores = ("validation_loss", "finding-F1")
    for row, score in zip(grid, scores, strict=True):
        low, high = (
            min(table[score].min() for table in panels.values()),
            max(table[score].max() for table in panels.values()),
        )
        space = max(0.6 * (high - low), 0.05)  # an axis no finer than a difference worth seeing
        row[0].set_ylim((low + high) / 2 - space, (low + high) / 2 + space)
    for j, (label, table) in enumerate(panels.items()):
        for axes, score in zip(grid[:, j], scores, strict=True):
            axes.plot(table.index, table[score], "o-", color=BLUE)
            axes.set_xticks(list(table.index), [f"{x:g}" for x in table.index])
            if released and label in released:
                axes.axvline(released[label], color=GREY, ls="--", lw=1, label="trained with")
        grid[1, j].set_xlabel(label)
    grid[0, 0].set_ylabel("validation loss (nats a word)")
    grid[1, 0].set_ylabel("finding-F1")
    grid[0, 0].legend(frameon=False)
    return finish(figure, name)
