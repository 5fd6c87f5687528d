"""The figures of chapter 09: what BLEU rewards, how sure a score is, systems beside what never looks, findings one by
one, who chose, one study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrg_lib.book.figures.style import BLUE, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box

Where = Path | str | None
VIEWS = ("frontal", "lateral")
#: Of histograms that stand behind what is said.
PALE = "#b8b8b8"


def brevity(marks: Mapping[str, float], name: Where = None) -> Figure:
    """The brevity penalty against the length of the hypotheses, in reference lengths; `marks` are systems and their
    relative lengths."""
    figure, panel = new_figure(width=6.0, height=2.7)
    length = np.linspace(0.2, 1.6, 200)
    panel.plot(length, np.minimum(1, np.exp(1 - 1 / length)), color=GREY)
    for (label, x), marker, colour, size in zip(
        marks.items(), "os^v", (BLUE, RED, ORANGE, "black"), (12, 7, 6, 5), strict=False
    ):
        panel.plot(
            x,
            min(1, np.exp(1 - 1 / x)),
            marker,
            color=colour,
            markersize=size,
            fillstyle="none",
            markeredgewidth=2,
            label=label,
        )
    panel.set(xlabel="words of all hypotheses / words of all references", ylabel="brevity penalty", ylim=(0, 1.08))
    panel.legend(frameon=False, loc="lower right")
    return finish(figure, name)


def sentence_scores(each: Sequence[float], corpus: float, name: Where = None) -> Figure:
    """BLEU-4 of every study by itself, their mean, and the BLEU-4 of the corpus."""
    figure, panel = new_figure(width=6.5, height=2.8)
    sns.histplot(each, bins=np.linspace(0, 1, 41), color=PALE, alpha=1, linewidth=0, ax=panel)
    for value, colour, style, label in (
        (np.mean(each), RED, "--", "mean of the studies' scores"),
        (corpus, BLUE, "-", "score of the corpus"),
    ):
        panel.axvline(value, color=colour, linestyle=style, linewidth=2, label=f"{label}: {value:.3f}")
    panel.set(xlabel="BLEU-4 of one study", ylabel="studies", xlim=(0, 1))
    panel.legend(frameon=False)
    return finish(figure, name)


def paired(scores: Mapping[str, np.ndarray], metric: str, name: Where = None) -> Figure:
    """Two systems' resampled scores (R,), drawn with the same studies: left each, right their difference, first minus
    second, with its middle 95 %."""
    (first, a), (second, b) = scores.items()
    figure, (left, right) = new_figure(1, 2, width=8.4, height=2.9)
    edges = _edges(np.concatenate([a, b]))
    for label, values, colour in ((first, a, BLUE), (second, b, ORANGE)):
        sns.histplot(values, bins=edges, color=colour, alpha=0.6, linewidth=0, label=label, ax=left)
    left.set(xlabel=f"{metric} of a resample", ylabel="resamples")
    difference = a - b
    sns.histplot(difference, bins=_edges(difference), color=PALE, alpha=1, linewidth=0, ax=right)
    low, high = np.quantile(difference, [0.025, 0.975])
    right.axvspan(low, high, color=BLUE, alpha=0.15, label="middle 95 %")
    right.axvline(0, color=RED, linestyle="--", linewidth=1.5, label="no difference")
    right.set(xlabel=f"{first} minus {second}, same studies", ylabel="resamples")
    for panel in (left, right):
        panel.locator_params(axis="x", nbins=5)
        panel.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


def _edges(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high, 36) if high - low > 1e-9 else np.linspace(low - 0.01, high + 0.01, 36)


def beside_published(
    ours: pd.DataFrame,
    published: Mapping[str, float],
    *,
    metric: str,
    blind: Sequence[str],
    where: str,
    note: str,
    name: Where = None,
) -> Figure:
    """Top: our systems (rows of `ours`: value, low, high), those in `blind` never look at an image. Bottom, on grey,
    published values and what they are."""
    figure, (top, bottom) = new_figure(
        2,
        1,
        width=7.6,
        height=0.3 * (len(ours) + len(published)) + 1.6,
        height_ratios=(len(ours), len(published)),
        sharex=True,
    )
    rows = np.arange(len(ours))
    for row, (system, values) in zip(rows, ours.iterrows(), strict=True):
        colour, marker = (ORANGE, "s") if system in blind else (BLUE, "o")
        top.errorbar(
            values["value"],
            row,
            xerr=_arms(values),
            color=colour,
            marker=marker,
            markersize=7,
            capsize=4,
            linewidth=1.6,
        )
        top.annotate(
            f"{values['value']:.3f}",
            (max(values["high"], values["value"]), row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    top.set_yticks(rows, ours.index)
    top.set_ylim(len(ours) - 0.5, -0.5)
    top.set_ylabel(where)
    for colour, marker, label in ((ORANGE, "s", "never looks at an image"), (BLUE, "o", "looks")):
        top.plot([], [], marker, color=colour, label=label)
    top.legend(frameon=False, ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    bottom.set_facecolor("#ececec")
    for row, value in enumerate(published.values()):
        bottom.plot(value, row, "D", color="black", markersize=6, fillstyle="none")
        bottom.annotate(
            f"{value:.3f}", (value, row), xytext=(8, 0), textcoords="offset points", va="center", fontsize=8
        )
    bottom.set_yticks(range(len(published)), list(published))
    bottom.set_ylim(len(published) - 0.5, -0.5)
    bottom.set(
        xlabel=f"{metric}\n{note}", ylabel="published", xlim=(0, 1.12 * max(ours["high"].max(), *published.values()))
    )
    top.tick_params(bottom=False)
    return finish(figure, name)


def _arms(values: pd.Series) -> np.ndarray:
    """How far an interval reaches to both sides, (2, 1)."""
    return np.array([[max(0.0, values["value"] - values["low"])], [max(0.0, values["high"] - values["value"])]])


def parts(normal: pd.DataFrame, abnormal: pd.DataFrame, name: Where = None) -> Figure:
    """Normal and abnormal studies apart, a row a system: BLEU-4 of both, finding-F1 of the abnormal, findings named of
    normal studies (all false)."""
    systems = list(normal.index)
    rows = np.arange(len(systems))
    figure, (bleu, found, false) = new_figure(
        1, 3, width=8.6, height=0.33 * len(systems) + 1.2, sharey=True, width_ratios=(1.4, 1, 1)
    )
    bleu.hlines(rows, normal["BLEU-4"], abnormal["BLEU-4"], color=GREY, linewidth=1)
    bleu.plot(normal["BLEU-4"], rows, "o", color=BLUE, label="normal")
    bleu.plot(abnormal["BLEU-4"], rows, "s", color=RED, label="abnormal")
    bleu.set(xlabel="BLEU-4", xlim=(0, None))
    bleu.legend(frameon=False, ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    _bars(found, abnormal["finding-F1"], RED, "finding-F1, abnormal studies")
    _bars(false, normal["findings said"], BLUE, "false findings in the report\nof a normal study")
    bleu.set_yticks(rows, systems)
    bleu.set_ylim(len(systems) - 0.5, -0.5)
    return finish(figure, name)


def _bars(panel: Axes, values: pd.Series, colour: str, label: str) -> None:
    sns.barplot(
        x=values.to_numpy(), y=np.arange(len(values)), orient="h", color=colour, saturation=1, width=0.6, ax=panel
    )
    panel.bar_label(panel.containers[0], [f"{value:.2f}" for value in values], padding=3, fontsize=8)
    panel.set(xlabel=label, xlim=(0, max(0.1, 1.25 * values.max())))


def findings(
    found: Mapping[str, Mapping[str, float]], ceiling: Mapping[str, float], system: str, name: Where = None
) -> Figure:
    """A row a finding, most frequent first: F1 of a system's reports (dot) and of the references themselves under the
    same labeler (hollow)."""
    order = sorted(found, key=lambda finding: -found[finding]["support"])
    rows = np.arange(len(order))
    figure, panel = new_figure(width=6.6, height=4.0)
    ours = np.array([found[finding]["f1"] for finding in order])
    best = np.array([ceiling[finding] for finding in order])
    panel.hlines(rows, ours, best, color=GREY, linewidth=1)
    panel.plot(best, rows, "D", color="black", fillstyle="none", markersize=6, label="the references themselves")
    panel.plot(ours, rows, "o", color=BLUE, markersize=6, label=system)
    panel.set_yticks(rows, [f"{finding} ({found[finding]['support']:.0f})" for finding in order])
    panel.invert_yaxis()
    panel.set(xlabel="F1", ylabel="finding (studies that have it)", xlim=(-0.03, 1.03))
    panel.legend(frameon=False, ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


def who_chose(
    val: np.ndarray,
    test: np.ndarray,
    pools: Sequence[int],
    by_val: Sequence[float],
    by_test: Sequence[float],
    name: Where = None,
) -> Figure:
    """Left: every candidate's BLEU-4 on both splits (n,), the two choices marked. Right: the chosen one's test score
    against the number of candidates."""
    figure, (left, right) = new_figure(1, 2, width=8.6, height=3.3)
    left.plot(val, test, ".", color="#b8b8b8", markersize=3, rasterized=True)
    for chosen, colour, marker, label in (
        (val.argmax(), BLUE, "o", "best on validation"),
        (test.argmax(), RED, "s", "best on test"),
    ):
        left.plot(
            val[chosen],
            test[chosen],
            marker,
            color=colour,
            markersize=7,
            fillstyle="none",
            markeredgewidth=2,
            label=label,
        )
    left.set(xlabel="BLEU-4 on validation", ylabel="BLEU-4 on test")
    left.legend(frameon=False, fontsize=8, loc="lower right")
    for values, colour, style, label in (
        (by_test, RED, "-s", "chosen on test"),
        (by_val, BLUE, "-o", "chosen on validation"),
    ):
        right.plot(pools, values, style, color=colour, markersize=4, label=label)
    right.set(xscale="log", xlabel="candidates to choose from", ylabel="mean BLEU-4 on test of the chosen")
    right.set_xticks(list(pools), [f"{pool:,}" for pool in pools], minor=False)
    right.set_xticks([], minor=True)
    right.tick_params(axis="x", labelsize=8)
    right.legend(frameon=False, fontsize=8)
    return finish(figure, name)


def one_study(
    views: np.ndarray, boxes: Sequence[Box], named: Sequence[str], *, drawn: bool = True, name: Where = None
) -> Figure:
    """The views (V, H, W) of a study side by side; its findings boxed, with a solid line if they are in `named`, with a
    dashed one if not."""
    figure, panels = new_figure(1, len(views), width=2.2 * len(views), height=2.45, squeeze=False)
    for v, (panel, picture) in enumerate(zip(panels[0], views, strict=True)):
        panel.imshow(picture, cmap="gray", vmin=0, vmax=255)
        boxed(panel, [box for box in boxes if box.view == v], named)
        panel.set(xticks=[], yticks=[], xlabel=f"{VIEWS[v]}{' (drawn)' if drawn else ''}")
        panel.spines[:].set_visible(False)
    return finish(figure, name)


def boxed(panel: Axes, boxes: Sequence[Box], named: Sequence[str]) -> None:
    """Frame each box of a view with its finding's name: solid if the finding is in `named`, dashed if not."""
    for box in boxes:
        colour, style = ("#56B4E9", "-") if box.finding in named else (ORANGE, "--")
        corner, shape = (box.x0 - 0.5, box.y0 - 0.5), (box.x1 - box.x0, box.y1 - box.y0)
        panel.add_patch(Rectangle(corner, *shape, fill=False, edgecolor=colour, linestyle=style, linewidth=1.8))
        behind = {"facecolor": "black", "edgecolor": "none", "pad": 1}
        panel.text(box.x0, box.y0 - 3, box.finding, color=colour, fontsize=7, va="bottom", bbox=behind)
