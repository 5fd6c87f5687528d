"""The figures of chapter 09 about labels and comparisons: scopes in a sentence, a labeler's answers, label sets, seeds,
where systems look."""

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
from rrg_lib.data.text.context import KINDS
from rrg_lib.data.text.rule_labeler import ReportLabeler

Where = Path | str | None
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


def seeds(found: Mapping[str, Mapping[str, Seeds]], name: Where = None) -> Figure:
    """{score: {system: Seeds}}: a panel a score, a row a system; a dot a seed, the mean a bar, the pale band what one
    seed's studies leave open."""
    figure, panels = new_figure(
        1, len(found), width=8.6, height=0.32 * max(map(len, found.values())) + 1.3, sharey=True, squeeze=False
    )
    for panel, (score, systems) in zip(panels[0], found.items(), strict=True):
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
