"""The figures of chapter 01: drawn studies, the severity ladder, and what is in the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrg_lib.data.phantom import Drawing
from rrg_lib.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure

Where = Path | str | None

#: One colour a box, from Okabe and Ito's palette; the number in its corner says the same without colour.
BOX_COLOURS = (ORANGE, "#56B4E9", "#F0E442", "#CC79A7", GREEN, RED, "#FFFFFF")
VIEWS = ("frontal", "lateral")


def drawn_studies(drawings: Mapping[str, Drawing], name: Where = None) -> Figure:
    """A column a study, frontal above lateral; each drawn finding in a numbered box, the numbers explained below its column."""
    figure, axes = new_figure(2, len(drawings), width=2.6 * len(drawings), height=6.1, squeeze=False)
    for column, (title, drawing) in zip(axes.T, drawings.items(), strict=True):
        codes = list(dict.fromkeys(box.code for box in drawing.boxes))
        for view, panel in enumerate(column):
            radiograph(panel, drawing.views[view])
            for box in drawing.boxes:
                if box.view == view:
                    _boxed(panel, (box.x0, box.y0, box.x1, box.y1), codes.index(box.code))
        column[0].set_title(title)
        key = "\n".join(f"{number}  {code}" for number, code in enumerate(codes, start=1)) or "no finding to box"
        column[1].set_xlabel(key, fontsize=8, ha="left", x=0.0)
    for row, view in zip(axes, VIEWS, strict=True):
        row[0].set_ylabel(view)
    return finish(figure, name)


def radiograph(panel: Axes, view: np.ndarray) -> None:
    """A view (H, W) uint8 as it is, without axes."""
    panel.imshow(view, cmap="gray", vmin=0, vmax=255)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _boxed(panel: Axes, corners: tuple[int, int, int, int], number: int) -> None:
    x0, y0, x1, y1 = corners
    colour = BOX_COLOURS[number % len(BOX_COLOURS)]
    panel.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.4))
    label = {"boxstyle": "square,pad=0.15", "facecolor": colour, "edgecolor": "none"}
    panel.text(x0, y0 - 1, str(number + 1), fontsize=7, ha="left", va="bottom", color="black", bbox=label)


def ladder(rows: Mapping[str, Mapping[str, np.ndarray]], name: Where = None) -> Figure:
    """A row a finding, a column a grade: {finding: {grade: frontal view}}. The same patient throughout."""
    steps = max(len(row) for row in rows.values())
    figure, axes = new_figure(len(rows), steps, width=1.3 * steps + 0.3, height=1.5 * len(rows), squeeze=False)
    for panels, (finding, grades) in zip(axes, rows.items(), strict=True):
        panels[0].set_ylabel(finding)
        for panel, (grade, view) in zip(panels, grades.items(), strict=True):
            radiograph(panel, view)
            panel.set_title(grade, fontsize=8, pad=2)
    return finish(figure, name)


def gallery(views: Mapping[str, np.ndarray], name: Where = None) -> Figure:
    """Frontal views in a row, each with its title."""
    figure, axes = new_figure(1, len(views), width=1.7 * len(views), height=2.0, squeeze=False)
    for panel, (title, view) in zip(axes[0], views.items(), strict=True):
        radiograph(panel, view)
        panel.set_title(title, fontsize=7)
    return finish(figure, name)


def measurements(written: Sequence[float], cleaned: Sequence[float], film: float, name: Where = None) -> Figure:
    """Sizes in centimetres as the radiologist wrote them and as the cleaned report says them; `film` is the length of a chest film."""
    order = np.argsort(written)
    before, after, rows = np.asarray(written)[order], np.asarray(cleaned)[order], np.arange(len(order))
    figure, axes = new_figure(width=7.0, height=3.4)
    axes.hlines(rows, before, after, color=GREY, linewidth=0.8)
    axes.plot(before, rows, "o", color=BLUE, markersize=4, label="as written")
    axes.plot(after, rows, "s", color=RED, markersize=4, label="after r2gen cleaning")
    axes.axvline(film, color="black", linestyle="--", linewidth=1)
    axes.text(film * 1.03, 0, "length of\na chest film", fontsize=8, va="bottom")
    axes.set(xscale="log", xlabel="size (cm, logarithmic)", ylabel="measurement, by size", yticks=[], xlim=(None, film * 3))
    axes.set_xticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
    axes.legend(frameon=False, loc="upper left")
    return finish(figure, name)


def vocabulary_growth(
    seen: Sequence[int],
    kept: Sequence[int],
    thresholds: Sequence[int],
    sizes: Sequence[int],
    unknown: Sequence[float],
    chosen: int,
    name: Where = None,
) -> Figure:
    """Left: distinct words after n training reports, all and those said often enough. Right: what a threshold costs on the test reports."""
    figure, (growth, price) = new_figure(1, 2, width=8.0, height=3.1)
    reports = np.arange(1, len(seen) + 1)
    growth.plot(reports, seen, color=GREY, label="every word seen")
    growth.plot(reports, kept, color=BLUE, label=f"seen at least {chosen} times")
    growth.set(xlabel="training reports read", ylabel="distinct words", ylim=(0, None))
    growth.legend(frameon=False, loc="upper left")
    price.plot(sizes, 100 * np.asarray(unknown), "-o", color=BLUE, markersize=4)
    for threshold, size, rate in zip(thresholds, sizes, unknown, strict=True):
        marked = threshold == chosen
        colour = RED if marked else "black"
        price.annotate(str(threshold), (size, 100 * rate), xytext=(3, 4), textcoords="offset points", fontsize=9 if marked else 7, color=colour)
        if marked:
            price.plot(size, 100 * rate, "o", color=RED, markersize=6)
    price.set(xlabel="entries in the vocabulary", ylabel="unknown words in test reports (%)", ylim=(0, None))
    return finish(figure, name)


def report_lengths(lengths: Mapping[str, Sequence[int]], fits: int, name: Where = None) -> Figure:
    """How long the reports of each split are, in tokens; beyond the line they are cut."""
    figure, axes = new_figure(width=7.0, height=3.0)
    bins = np.arange(0, max(max(found) for found in lengths.values()) + 5, 4)
    for (split, found), colour in zip(lengths.items(), (GREY, ORANGE, BLUE), strict=True):
        share = 100 * np.histogram(found, bins)[0] / len(found)
        axes.stairs(share, bins, color=colour, linewidth=1.6, label=f"{split} (mean {np.mean(found):.1f})", fill=split == "train", alpha=0.8)
    axes.axvline(fits, color=RED, linestyle="--", linewidth=1.2)
    axes.text(fits + 1.5, axes.get_ylim()[1] * 0.62, f"{fits} tokens:\nlonger reports\nlose their end", color=RED, fontsize=8)
    axes.set(xlabel="tokens in the cleaned report", ylabel="reports of the split (%)", xlim=(0, None))
    axes.legend(frameon=False)
    return finish(figure, name)


def copies(shares: Mapping[str, Mapping[str, float]], name: Where = None) -> Figure:
    """{split: {group: share}}: reports whose whole text also stands in train."""
    figure, axes = new_figure(width=6.0, height=2.6)
    groups = list(next(iter(shares.values())))
    for number, ((split, found), colour) in enumerate(zip(shares.items(), (ORANGE, BLUE), strict=True)):
        bars = axes.barh(np.arange(len(groups)) + 0.36 * number, [100 * found[group] for group in groups], height=0.34, color=colour, label=split)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(groups)) + 0.18, groups)
    axes.invert_yaxis()
    axes.set(xlabel="reports whose exact text is also a training report (%)", xlim=(0, 100))
    axes.legend(frameon=False, loc="lower right")
    return finish(figure, name)


def frequent_sentences(sentences: Sequence[tuple[str, int]], covered: Sequence[float], name: Where = None) -> Figure:
    """Left: the sentences said most often in train. Right: the share of all test sentences that the n most frequent training sentences are."""
    figure, (bars, curve) = new_figure(1, 2, width=8.6, height=3.3, width_ratios=(1, 1.1))
    rows = np.arange(len(sentences))
    bars.barh(rows, [count for _, count in sentences], color=BLUE, height=0.7)
    bars.set_yticks(rows, [text for text, _ in sentences], fontsize=8)
    bars.invert_yaxis()
    bars.set(xlabel="times said in training reports")
    curve.plot(np.arange(1, len(covered) + 1), 100 * np.asarray(covered), color=BLUE)
    curve.set(xscale="log", xlabel="n most frequent training sentences", ylabel="test sentences among them (%)", ylim=(0, 100))
    curve.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    for n in (10, 100):
        curve.plot(n, 100 * covered[n - 1], "o", color=RED, markersize=5)
        curve.annotate(f"{n}: {100 * covered[n - 1]:.0f} %", (n, 100 * covered[n - 1]), xytext=(5, -10), textcoords="offset points", fontsize=8)
    return finish(figure, name)
