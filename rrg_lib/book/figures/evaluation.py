"""The figures of chapter 09: what BLEU rewards, how sure a score is, systems beside what never looks, findings one by
one, labels and what they count, conventions, seeds, where systems look, who chose, one study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box
from rrg_lib.data.text.context import KINDS
from rrg_lib.data.text.rule_labeler import ReportLabeler

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
    figure, (bleu, f1, false) = new_figure(
        1, 3, width=8.6, height=0.33 * len(systems) + 1.2, sharey=True, width_ratios=(1.4, 1, 1)
    )
    bleu.hlines(rows, normal["BLEU-4"], abnormal["BLEU-4"], color=GREY, linewidth=1)
    bleu.plot(normal["BLEU-4"], rows, "o", color=BLUE, label="normal")
    bleu.plot(abnormal["BLEU-4"], rows, "s", color=RED, label="abnormal")
    bleu.set(xlabel="BLEU-4", xlim=(0, None))
    bleu.legend(frameon=False, ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    _bars(f1, abnormal["finding-F1"], RED, "finding-F1, abnormal studies")
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
    scores: Mapping[str, Mapping[str, float]], ceiling: Mapping[str, float], system: str, name: Where = None
) -> Figure:
    """A row a finding, most frequent first: F1 of a system's reports (dot) and of the references themselves under the
    same labeler (hollow)."""
    order = sorted(scores, key=lambda finding: -scores[finding]["support"])
    rows = np.arange(len(order))
    figure, panel = new_figure(width=6.6, height=4.0)
    ours = np.array([scores[finding]["f1"] for finding in order])
    best = np.array([ceiling[finding] for finding in order])
    panel.hlines(rows, ours, best, color=GREY, linewidth=1)
    panel.plot(best, rows, "D", color="black", fillstyle="none", markersize=6, label="the references themselves")
    panel.plot(ours, rows, "o", color=BLUE, markersize=6, label=system)
    panel.set_yticks(rows, [f"{finding} ({scores[finding]['support']:.0f})" for finding in order])
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
        small_film(panel, picture)
        boxed(panel, [box for box in boxes if box.view == v], named)
        panel.set(xticks=[], yticks=[], xlabel=f"{VIEWS[v]}{' (drawn)' if drawn else ''}")
        panel.spines[:].set_visible(False)
    return finish(figure, name)


def small_film(panel: Axes, picture: np.ndarray) -> None:
    """A view (H, W) in its own coordinates with half its pixels and 64 grays: enough for the eye, a third of the
    bytes."""
    height, width = picture.shape
    half = picture.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    panel.imshow(np.rint(half / 4) * 4, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")


def boxed(panel: Axes, boxes: Sequence[Box], named: Sequence[str]) -> None:
    """Frame each box of a view with its finding's name: solid if the finding is in `named`, dashed if not."""
    for box in boxes:
        colour, style = ("#56B4E9", "-") if box.finding in named else (ORANGE, "--")
        corner, shape = (box.x0 - 0.5, box.y0 - 0.5), (box.x1 - box.x0, box.y1 - box.y0)
        panel.add_patch(Rectangle(corner, *shape, fill=False, edgecolor=colour, linestyle=style, linewidth=1.8))
        behind = {"facecolor": "black", "edgecolor": "none", "pad": 1}
        panel.text(box.x0, box.y0 - 3, box.finding, color=colour, fontsize=7, va="bottom", bbox=behind)


# --- labels and comparisons -------------------------------------------------------------------------------------------


#: What a labeler may answer, and its colour.
COLOURS = {"positive": BLUE, "uncertain": ORANGE, "negative": RED, "historical": GREY, "blank": "#d8d8d8"}
#: Width of a character of the monospaced font, in inches at 1 pt.
_CHARACTER = 0.602 / 72


def scopes(sentences: Sequence[str], labeler: ReportLabeler, name: Where = None) -> Figure:
    """Sentences (lower case, no final point) as the labeler reads them: findings in the colour of their status, cues
    underlined, an arrow over what each cue reaches, dotted boxes around stops and around words that only look like a
    cue."""
    size, longest = 9.785, max(map(len, sentences))  # a character is then 9 whole pixels wide where a notebook shows it
    characters = longest + 26  # a margin of one, and the statuses behind the sentences
    figure, panel = new_figure(width=characters * size * _CHARACTER, height=0.55 * len(sentences) + 0.4)
    figure.set_layout_engine("none")  # one unit of the panel is one character
    panel.set_position((0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    for row, sentence in enumerate(sentences):
        statuses, left = [], 0
        for mention in labeler.mentions(sentence):
            start, colour = sentence.index(mention.words, left), COLOURS[mention.status]
            _typed(panel, left, row, sentence[left:start], size, "#404040")
            _typed(panel, start, row, mention.words, size, colour, weight="bold")
            left = start + len(mention.words)
            statuses.append(mention.status)
        _typed(panel, left, row, sentence[left:], size, "#404040")
        for k, status in enumerate(statuses):
            panel.text(longest + 2 + 11 * k, row, status, size=size, va="center", color=COLOURS[status])
        for cue, reached in labeler.cues(sentence):
            if cue.kind not in KINDS:
                panel.add_patch(
                    Rectangle(
                        (cue.start - 0.2, row - 0.2),
                        cue.end - cue.start + 0.4,
                        0.4,
                        fill=False,
                        edgecolor=GREY,
                        linestyle=":",
                    )
                )
                continue
            colour = COLOURS[KINDS[cue.kind]]
            panel.plot([cue.start, cue.end], [row + 0.24] * 2, color=colour, linewidth=1.6)
            for low, high in reached:
                tail, head = (low, high) if low >= cue.end else (high, low)
                panel.annotate(
                    "",
                    (head, row - 0.3),
                    (tail, row - 0.3),
                    arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.2},
                )
    panel.set(xlim=(-1, characters - 1), ylim=(len(sentences) - 0.4, -0.6), xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
    for status in ("positive", "uncertain", "negative", "historical"):
        panel.plot([], [], "s", color=COLOURS[status], label=status)
    panel.legend(frameon=False, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0.01, 1.0), borderaxespad=0)
    return finish(figure, name)


def _typed(panel: Axes, at: int, row: int, text: str, size: float, colour: str, weight: str = "normal") -> None:
    panel.text(at, row, text, family="monospace", size=size, va="center", color=colour, weight=weight)


def answers(confusion: pd.DataFrame, name: Where = None) -> Figure:
    """`rrg_lib.evaluation.clinical.confusion`, a row a finding: what the labeler answers where the finding is coded
    (left) and where it is not (right)."""
    order = confusion["there"].sum(axis=1).sort_values(ascending=False, kind="stable").index
    rows = np.arange(len(order))
    figure, panels = new_figure(1, 2, width=8.6, height=0.28 * len(order) + 1.2, sharey=True)
    for panel, truth, label in zip(
        panels,
        ("there", "not there"),
        ("share of the studies coded with it", "share of the studies not coded with it"),
        strict=True,
    ):
        counts = confusion.loc[order, truth]
        share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
        left = np.zeros(len(order))
        for answer in ("positive", "uncertain", "negative", "blank"):
            panel.barh(rows, share[answer], left=left, color=COLOURS[answer], label=answer, height=0.72)
            left += share[answer].to_numpy()
        panel.set(xlabel=label, xlim=(0, 1))
    panels[0].set_yticks(rows, [f"{finding} ({confusion.loc[finding, 'there'].sum()})" for finding in order])
    panels[0].invert_yaxis()
    panels[0].legend(frameon=False, ncols=4, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


def label_sets(negative: pd.DataFrame, positive: pd.DataFrame, name: Where = None) -> Figure:
    """F1 of the same reports, a row a label set and truth (index), a column a system: filled where an uncertain label
    counts as `negative`, hollow where it counts as `positive`."""
    rows = np.arange(len(negative))
    figure, panel = new_figure(width=7.6, height=0.38 * len(negative) + 1.1)
    both = pd.concat([negative, positive], axis=1)
    panel.hlines(rows, both.min(axis=1), both.max(axis=1), color="#d8d8d8", linewidth=1)
    for system, marker, colour in zip(negative, "o^svDX", (BLUE, GREEN, ORANGE, RED, "black", GREY), strict=False):
        panel.plot(negative[system], rows - 0.1, marker, color=colour, markersize=6, label=system)
        panel.plot(
            positive[system], rows + 0.1, marker, color=colour, markersize=6, fillstyle="none", markeredgewidth=1.5
        )
    panel.set_yticks(rows, negative.index)
    panel.set_ylim(len(negative) - 0.5, -0.5)
    panel.set(xlabel="micro-F1; uncertain counts as negative (filled), as positive (hollow)", xlim=(-0.03, 1.03))
    panel.legend(frameon=False, ncols=6, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


def conventions(tables: Mapping[str, pd.DataFrame], name: Where = None) -> Figure:
    """Heat maps of clinical F1, a panel a set of reports, a cell a convention: rows are label set, labeler and what
    uncertain counts as, columns the average and the rule for empty rows. Pale cells are small, dark ones large."""
    figure, panels = new_figure(1, len(tables), width=5.4 * len(tables), height=5.6, sharey=True, squeeze=False)
    for panel, (reports, table) in zip(panels[0], tables.items(), strict=True):
        row = table["labeler"] + ", " + table["uncertain"]
        row = row.where(table["labeler"] != "keywords-0", "keywords-0")
        column = table["average"] + "\n" + table["empty_rows"].where(table["average"] != "micro", "")
        f1 = table.assign(row=table["label_set"] + "  " + row, column=column).pivot_table(
            index="row", columns="column", values="f1", sort=False, dropna=False
        )
        sns.heatmap(
            f1,
            vmin=0,
            vmax=1,
            cmap="Blues",
            linewidths=0.5,
            cbar=panel is panels[0, -1],
            cbar_kws={"label": "F1"},
            ax=panel,
        )
        block = len(f1) // table["label_set"].nunique()
        panel.hlines(np.arange(block, len(f1), block), 0, f1.shape[1], color="black", linewidth=1)
        panel.set(xlabel="", ylabel="", title=f"F1 of {reports}: {f1.min().min():.2f} to {f1.max().max():.2f}")
        panel.tick_params(axis="x", rotation=0, labelsize=7.5, length=0)
        panel.tick_params(axis="y", labelsize=7.5, length=0)
    return finish(figure, name)


def randomised(trials: np.ndarray, real: float, metric: str, name: Where = None) -> Figure:
    """Differences (trials,) when chance decides which system wrote which report, and the real one to both sides."""
    figure, panel = new_figure(width=6.0, height=2.6)
    reach = 1.08 * max(float(np.abs(trials).max()), abs(real), 1e-9)
    sns.histplot(trials, bins=np.linspace(-reach, reach, 61), color="#b8b8b8", alpha=1, linewidth=0, ax=panel)
    panel.axvline(real, color=BLUE, linewidth=2, label=f"the real difference, {real:+.4f}")
    panel.axvline(-real, color=BLUE, linewidth=1.5, linestyle="--", label="as large, the other way")
    panel.set(xlabel=f"difference in {metric} when authors are exchanged by lot", ylabel="trials")
    panel.legend(frameon=False, fontsize=8, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


@dataclass(frozen=True)
class Seeds:
    """One system and score: the values of its seeds, and half the width of one seed's interval over studies (NaN where
    there is none)."""

    values: Sequence[float]
    half: float


def seeds(by_score: Mapping[str, Mapping[str, Seeds]], name: Where = None) -> Figure:
    """{score: {system: Seeds}}: a panel a score, a row a system; a dot a seed, the mean a bar, the pale band what one
    seed's studies leave open."""
    figure, panels = new_figure(
        1, len(by_score), width=8.6, height=0.32 * max(map(len, by_score.values())) + 1.3, sharey=True, squeeze=False
    )
    for panel, (score, systems) in zip(panels[0], by_score.items(), strict=True):
        for row, each in enumerate(systems.values()):
            mean = float(np.mean(each.values))
            if not np.isnan(each.half):
                panel.barh(
                    row,
                    2 * each.half,
                    left=mean - each.half,
                    height=0.62,
                    color=BLUE,
                    alpha=0.15,
                    label="95 % over studies" if row == 0 else None,
                )
            panel.plot(
                [mean, mean], [row - 0.3, row + 0.3], color=BLUE, linewidth=2, label="mean" if row == 0 else None
            )
            panel.plot(
                each.values,
                [row] * len(each.values),
                "o",
                color=ORANGE,
                markersize=5,
                fillstyle="none",
                label="a seed" if row == 0 else None,
            )
        panel.set_yticks(range(len(systems)), [f"{label} ({len(each.values)})" for label, each in systems.items()])
        panel.use_sticky_edges = False  # the bands begin where they do, not at the edge of the panel
        panel.margins(x=0.06)
        panel.set(xlabel=score)
        panel.locator_params(axis="x", nbins=5)
    panels[0, 0].invert_yaxis()
    panels[0, 0].legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)
    return finish(figure, name)


def looks(values: pd.DataFrame, name: Where = None) -> Figure:
    """A row a system and way of looking (index: two levels), columns of
    `rrg_lib.experiments.attention_results.attention_table`: times chance with its interval, and what the mean map of
    the other studies gets."""
    rows = np.arange(len(values))
    figure, panel = new_figure(width=8.2, height=0.3 * len(values) + 1.1)
    others = values["others"] / values["chance"]
    kinds = values.index.get_level_values(1)
    for kind, colour, marker in zip(dict.fromkeys(kinds), (BLUE, GREEN, GREY), "os^", strict=False):
        at = np.flatnonzero(kinds == kind)
        part = values.iloc[at]
        arms = np.clip([part["ratio"] - part["low"], part["high"] - part["ratio"]], 0, None)
        panel.errorbar(
            part["ratio"], at, xerr=arms, fmt=marker, color=colour, markersize=6, capsize=3, linewidth=1.4, label=kind
        )
    panel.plot(others, rows, "|", color="black", markersize=11, markeredgewidth=1.8, label="mean map of other studies")
    panel.axvline(1, color=RED, linestyle="--", linewidth=1, label="chance")
    systems = values.index.get_level_values(0)
    panel.set_yticks(rows, ["" if row and systems[row] == systems[row - 1] else systems[row] for row in rows])
    panel.set_ylim(len(values) - 0.5, -0.5)
    panel.set(xlabel="attention in the finding's boxes, times chance")
    figure.legend(frameon=False, fontsize=8, ncols=3, loc="outside upper left")
    return finish(figure, name)
