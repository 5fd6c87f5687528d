"""The figures of chapter 01: drawn studies, the severity ladder, what is in the reports, and what real films are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.drawing.anatomy import LEFT, MIDLINE, RIGHT, Anatomy, sign
from rrg_lib.data.drawing.film import COLUMNS, ROWS
from rrg_lib.data.drawing.frontal import clavicle, vertebra_half_width
from rrg_lib.data.iu_xray import FilmHeader
from rrg_lib.data.phantom import Drawing

Where = Path | str | None

#: One colour a box, from Okabe and Ito's palette; the number in its corner says the same without colour.
BOX_COLOURS = (ORANGE, "#56B4E9", "#F0E442", "#CC79A7", GREEN, RED, "#FFFFFF")
VIEWS = ("frontal", "lateral")
COPY_COLUMNS = ("split", "group", "share")


def drawn_studies(drawings: Mapping[str, Drawing], name: Where = None) -> Figure:
    """A column a study, frontal above lateral; each drawn finding in a numbered box, the numbers explained below its
    column."""
    figure, axes = new_figure(2, len(drawings), width=2.05 * len(drawings), height=5.0, squeeze=False)
    for column, (title, drawing) in zip(axes.T, drawings.items(), strict=True):
        codes = list(dict.fromkeys(box.code for box in drawing.boxes))
        for view, panel in enumerate(column):
            radiograph(panel, drawing.views[view])
            for box in drawing.boxes:
                if box.view == view:
                    _boxed(panel, (box.x0, box.y0, box.x1, box.y1), codes.index(box.code))
        column[0].set_title(title)
        lines = (
            fill(f"{number}  {code.replace('/', ' / ')}", width=26, subsequent_indent="    ")
            for number, code in enumerate(codes, start=1)
        )
        key = "\n".join(lines) or "no finding to box"  # a column is not wider than that
        column[1].set_xlabel(key, fontsize=8, ha="left", x=0.0)
    for row, view in zip(axes, VIEWS, strict=True):
        row[0].set_ylabel(view)
    return finish(figure, name)


def radiograph(panel: Axes, view: np.ndarray, *, small: bool = False) -> None:
    """A view (H, W) uint8 as it is, or `small`, for a small file: half its pixels, and 64 grays, which the eye does not
    miss; without axes."""
    shown = np.rint(view.reshape(view.shape[0] // 2, 2, view.shape[1] // 2, 2).mean((1, 3)) / 4) * 4 if small else view
    panel.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if small else None)
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
    figure, axes = new_figure(len(rows), steps, width=1.15 * steps + 0.3, height=1.35 * len(rows), squeeze=False)
    for panels, (finding, grades) in zip(axes, rows.items(), strict=True):
        panels[0].set_ylabel(finding)
        for panel, (grade, view) in zip(panels, grades.items(), strict=True):
            radiograph(panel, view, small=True)
            panel.set_title(grade, fontsize=8, pad=2)
    return finish(figure, name)


def gallery(views: Mapping[str, np.ndarray], name: Where = None) -> Figure:
    """Frontal views in a row, each with its title."""
    figure, axes = new_figure(1, len(views), width=1.7 * len(views), height=2.0, squeeze=False)
    for panel, (title, view) in zip(axes[0], views.items(), strict=True):
        radiograph(panel, view, small=True)
        panel.set_title(title, fontsize=7)
    return finish(figure, name)


def measurements(written: Sequence[float], cleaned: Sequence[float], film: float, name: Where = None) -> Figure:
    """Sizes in centimetres as the radiologist wrote them and as the cleaned report says them; `film` is the length of a
    chest film."""
    order = np.argsort(written)
    before, after, rows = np.asarray(written)[order], np.asarray(cleaned)[order], np.arange(len(order))
    figure, axes = new_figure(width=7.0, height=3.4)
    axes.hlines(rows, before, after, color=GREY, linewidth=0.8)
    axes.plot(before, rows, "o", color=BLUE, markersize=4, label="as written")
    axes.plot(after, rows, "s", color=RED, markersize=4, label="after r2gen cleaning")
    axes.axvline(film, color="black", linestyle="--", linewidth=1)
    axes.text(film * 1.03, 0, "length of\na chest film", fontsize=8, va="bottom")
    axes.set(
        xscale="log", xlabel="size (cm, logarithmic)", ylabel="measurement, by size", yticks=[], xlim=(None, film * 3)
    )
    axes.set_xticks([0.3, 1, 3, 10, 30, 100], ["0.3", "1", "3", "10", "30", "100"])
    axes.legend(frameon=False, loc="upper left")
    return finish(figure, name)


def code_heads(counts: Mapping[str, tuple[int, int]], name: Where = None) -> Figure:
    """Studies with each head of the expert codes: {head: (with a code of it that is drawn, with none that is)}."""
    figure, axes = new_figure(width=7.0, height=0.165 * len(counts) + 0.7)
    rows = np.arange(len(counts))
    drawn, not_drawn = np.array(list(counts.values())).T
    axes.barh(rows, drawn, color=BLUE, height=0.75, label="drawn")
    axes.barh(
        rows,
        not_drawn,
        left=drawn,
        color="white",
        edgecolor=ORANGE,
        hatch="////",
        height=0.75,
        linewidth=0.8,
        label="not drawn",
    )
    axes.set_yticks(rows, list(counts), fontsize=8)
    axes.set(xlabel="studies with the head", ylim=(len(counts) - 0.4, -0.6))
    axes.legend(frameon=False, loc="lower right")
    return finish(figure, name)


def vocabulary_growth(
    seen: Sequence[int],
    kept: Sequence[int],
    thresholds: Sequence[int],
    sizes: Sequence[int],
    unknown: Sequence[float],
    chosen: int,
    law: Sequence[float],
    fitted: int,
    name: Where = None,
) -> Figure:
    """Left: distinct words after n training reports, all and those said often enough, and Heaps' `law`, fitted to the
    first `fitted` reports. Right: what a threshold costs on the test reports."""
    figure, (growth, price) = new_figure(1, 2, width=8.0, height=3.1)
    reports = np.arange(1, len(seen) + 1)
    growth.plot(reports, seen, color=GREY, label="every word seen")
    growth.plot(reports, kept, color=BLUE, label=f"seen at least {chosen} times")
    growth.plot(reports, law, "--", color=RED, linewidth=1.2, label=f"$k\\,n^\\beta$, fitted left of {fitted:,}")
    growth.axvline(fitted, color=RED, linewidth=0.8, alpha=0.5)
    growth.set(xlabel="training reports read", ylabel="distinct words", ylim=(0, None))
    growth.legend(frameon=False, loc="lower right", fontsize=8)
    price.plot(sizes, 100 * np.asarray(unknown), "-o", color=BLUE, markersize=4)
    for threshold, size, rate in zip(thresholds, sizes, unknown, strict=True):
        marked = threshold == chosen
        colour = RED if marked else "black"
        price.annotate(
            str(threshold),
            (size, 100 * rate),
            xytext=(3, 4),
            textcoords="offset points",
            fontsize=9 if marked else 7,
            color=colour,
        )
        if marked:
            price.plot(size, 100 * rate, "o", color=RED, markersize=6)
    price.set(xlabel="entries in the vocabulary", ylabel="unknown words in test reports (%)", ylim=(0, None))
    return finish(figure, name)


def report_lengths(lengths: Mapping[str, Sequence[int]], fits: int, name: Where = None) -> Figure:
    """How long the reports of each split are, in tokens; beyond the line they are cut."""
    figure, axes = new_figure(width=7.0, height=3.0)
    bins = np.arange(0, max(max(tokens) for tokens in lengths.values()) + 5, 4)
    for (split, tokens), colour in zip(lengths.items(), (GREY, ORANGE, BLUE), strict=True):
        drawn = {
            "color": colour,
            "fill": split == "train",
            "alpha": 0.8,
            "linewidth": 1.6,
            "label": f"{split} (mean {np.mean(tokens):.1f})",
        }
        sns.histplot(tokens, bins=bins, stat="percent", element="step", ax=axes, **drawn)
    axes.axvline(fits, color=RED, linestyle="--", linewidth=1.2)
    axes.text(
        fits + 1.5, axes.get_ylim()[1] * 0.45, f"{fits} tokens:\nlonger reports\nlose their end", color=RED, fontsize=8
    )
    axes.set(xlabel="tokens in the cleaned report", ylabel="reports of the split (%)", xlim=(0, None))
    axes.legend(frameon=False)
    return finish(figure, name)


def copies(shares: Mapping[str, Mapping[str, float]], name: Where = None) -> Figure:
    """{split: {group: share}}: reports whose whole text also stands in train."""
    figure, axes = new_figure(width=6.0, height=2.6)
    rows = pd.DataFrame(
        [(split, group, 100 * share) for split, by_group in shares.items() for group, share in by_group.items()],
        columns=COPY_COLUMNS,
    )
    sns.barplot(rows, x="share", y="group", hue="split", palette=(ORANGE, BLUE), saturation=1, width=0.72, ax=axes)
    for bars in axes.containers:
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set(xlabel="reports whose exact text is also a training report (%)", ylabel="", xlim=(0, 100))
    axes.tick_params(axis="y", length=0)
    axes.legend(frameon=False, loc="lower right")
    return finish(figure, name)


def frequent_sentences(sentences: Sequence[tuple[str, int]], covered: Sequence[float], name: Where = None) -> Figure:
    """Left: the sentences said most often in train. Right: the share of all test sentences that the n most frequent
    training sentences are."""
    figure, (bars, curve) = new_figure(1, 2, width=8.6, height=3.3, width_ratios=(1, 1.1))
    sns.barplot(
        x=[count for _, count in sentences],
        y=[text for text, _ in sentences],
        color=BLUE,
        saturation=1,
        width=0.7,
        ax=bars,
    )
    bars.set(xlabel="times said in training reports")
    bars.tick_params(axis="y", labelsize=8, length=0)
    curve.plot(np.arange(1, len(covered) + 1), 100 * np.asarray(covered), color=BLUE)
    curve.set(
        xscale="log", xlabel="n most frequent training sentences", ylabel="test sentences among them (%)", ylim=(0, 100)
    )
    curve.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    for n in (10, 100):
        curve.plot(n, 100 * covered[n - 1], "o", color=RED, markersize=5)
        curve.annotate(
            f"{n}: {100 * covered[n - 1]:.0f} %",
            (n, 100 * covered[n - 1]),
            xytext=(5, -10),
            textcoords="offset points",
            fontsize=8,
        )
    return finish(figure, name)


def film_headers(headers: Sequence[FilmHeader], side: int, name: Where = None) -> Figure:
    """Left: films by columns and rows, beside the square of `side` that is kept of them. Right: by what their headers
    ask for."""
    figure, (sizes, asked) = new_figure(1, 2, width=8.4, height=3.2, width_ratios=(1, 1.25))
    sizes.plot(
        [h.columns for h in headers],
        [h.rows for h in headers],
        ".",
        color=BLUE,
        markersize=2.5,
        alpha=0.3,
        rasterized=True,
    )
    sizes.add_patch(Rectangle((0, 0), side, side, color=RED))
    sizes.annotate(
        f"kept: {side} × {side}", (side, side), xytext=(8, 8), textcoords="offset points", color=RED, fontsize=8
    )
    sizes.set(xlabel="columns (pixels)", ylabel="rows (pixels)", xlim=(0, None), ylim=(0, None), aspect="equal")
    kinds = {"a table": lambda h: h.has_table, "a window": lambda h: h.window is not None and not h.has_table}
    kinds["neither"] = lambda h: h.window is None and not h.has_table
    rows = np.arange(len(kinds))
    left = np.zeros(len(kinds))
    for low, colour, label in (
        (False, BLUE, "high values bright (MONOCHROME2)"),
        (True, ORANGE, "low values bright (MONOCHROME1)"),
    ):
        counts = np.array([sum(kind(h) and h.low_is_bright == low for h in headers) for kind in kinds.values()])
        bars = asked.barh(rows, counts, left=left, color=colour, height=0.6, label=label)
        asked.bar_label(
            bars,
            [f"{n:,}" if n > 200 else "" for n in counts],
            label_type="center",
            fontsize=8,
            color="white" if not low else "black",
        )
        left += counts
    asked.set_yticks(rows, kinds)
    asked.invert_yaxis()
    asked.set(xlabel="films", ylabel="shown through")
    asked.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return finish(figure, name)


#: Where on the outline of a chest the label of something stands (x, y), and the point it is about.
PLACES = {
    "shallow breath": ((246, 150), (196, 150)),
    "winding or hardened aorta": ((246, 70), (150, 80)),
    "scar": ((10, 52), (74, 66)),
    "hardened lymph node": ((10, 112), (100, 110)),
    "thick pleura": ((10, 150), (42, 140)),
    "diaphragm raised or flat": ((10, 200), (75, 184)),
    "hernia behind the heart": ((246, 190), (146, 182)),
    "bent or worn bone": ((246, 30), (196, 38)),
}


def schematic(view: np.ndarray, anatomy: Anatomy, left_out: Mapping[str, int], name: Where = None) -> Figure:
    """A drawn film beside the outline of a chest on which stands what the experts coded and the drawing leaves out,
    with the number of studies.

    `left_out` has the keys of `PLACES`.
    """
    figure, (film, outline) = new_figure(1, 2, width=7.8, height=2.9, width_ratios=(1, 2.3))
    radiograph(film, view, small=True)
    film.set_title("the default: drawn")
    _outline(outline, anatomy)
    for label, count in left_out.items():
        (x, y), point = PLACES[label]
        outline.annotate(
            f"{label}\n{count} studies",
            point,
            (x, y),
            fontsize=7,
            color="black",
            ha="right" if x < MIDLINE else "left",
            va="center",
            arrowprops={"arrowstyle": "-", "color": ORANGE, "linewidth": 1.2},
        )
        outline.plot(*point, "o", color=ORANGE, markersize=4)
    outline.set(xlim=(-75, 340), ylim=(252, 8), aspect="equal", xticks=[], yticks=[])
    outline.set_title("a real chest, schematic: coded, and not drawn")
    outline.spines[:].set_visible(False)
    return finish(figure, name)


def _outline(panel: Axes, anatomy: Anatomy) -> None:
    """Lungs, mediastinum and heart, diaphragm, spine, ribs and clavicles of a frontal view, as lines."""
    outer, spine, style = anatomy.outer(), anatomy.spine_x(), {"color": BLUE, "linewidth": 1.3}
    for side in (RIGHT, LEFT):
        s, dome, inner = sign(side), anatomy.diaphragm(side), anatomy.inner(side)
        beside = [(MIDLINE + s * edge).clip(0, 255).astype(int) for edge in (outer, inner)]
        walls, middle = ((anatomy.apex < ROWS) & (dome[x] > ROWS) for x in beside)
        panel.plot(MIDLINE + s * outer[walls], ROWS[walls], **style)
        panel.plot(MIDLINE + s * inner[middle], ROWS[middle], **style)
        under = (s * (COLUMNS - MIDLINE) > 12) & (s * (COLUMNS - MIDLINE) < outer[200])
        panel.plot(COLUMNS[under], dome[under], **style)
        panel.plot(*clavicle(anatomy, side).T, color=GREY, linewidth=1.5)
        reach = np.linspace(0.2, 1, 24)
        for rib in range(1, 8):
            y = anatomy.rib_y(rib, reach)
            x = MIDLINE + s * reach * outer[y.clip(0, 255).astype(int)]
            seen = y < dome[x.clip(0, 255).astype(int)]
            panel.plot(x[seen], y[seen], color=GREY, linewidth=0.6)
        panel.plot(spine + s * vertebra_half_width(ROWS), ROWS, color=GREY, linewidth=0.8)
