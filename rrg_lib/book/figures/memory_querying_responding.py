"""The figures of chapter 04: what a query scores, how the weights concentrate, what a word and a region share, where
the slots lie, the sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from rrg_lib.book.figures.style import BLUE, GREEN, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box

#: From transparent to opaque, so that the radiograph stays visible under the map.
HEAT = LinearSegmentedColormap.from_list("heat", [(0.9, 0.62, 0, 0.0), (0.9, 0.5, 0, 0.45), (0.85, 0.25, 0, 0.8)])
#: Text, nobody in particular, image.
ASKERS = LinearSegmentedColormap.from_list("askers", [ORANGE, "#dddddd", BLUE])
FINDING_COLOURS = (BLUE, GREEN, ORANGE, RED)


def slot_scores(scores: np.ndarray, chosen: np.ndarray, *, name: str | None = None) -> Figure:
    """One query's scores over all slots (N,), best first, those of the `chosen` slots in red; right, the softmax
    weights of the K and of all N."""
    figure, (left, right) = new_figure(1, 2, width=8.0, height=2.8)
    scores, k = np.sort(np.asarray(scores, dtype=float))[::-1], len(chosen)
    ranks = np.arange(1, len(scores) + 1)
    left.plot(ranks, scores, color=GREY, lw=1.5, label="all slots")
    left.plot(ranks[:k], scores[:k], color=RED, lw=3, label=f"the K = {k} it keeps")
    left.set(xlabel="slot, best first", ylabel="score (Eq. 7)")
    left.legend(frameon=False)
    for part, colour, label in ((scores, GREY, "softmax over all slots"), (scores[:k], RED, "softmax over the K")):
        weights = np.exp(part - part.max())
        right.plot(ranks[: len(part)], weights / weights.sum(), color=colour, lw=2, label=label)
    right.axhline(1 / k, color=BLUE, lw=1, ls=":", label="1/K")
    right.set(xlabel="slot, best first", ylabel="weight (Eq. 9)", ylim=(0, None))
    right.legend(frameon=False)
    return finish(figure, name)


def weight_curves(curves: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """Mean weight of the best slot, the second, …, times K: a line for each of `curves`, (K,), beside 1. The axis fits
    the curves: read its numbers."""
    figure, axes = new_figure(width=6.0, height=3.0)
    for (label, curve), (colour, style) in zip(
        curves.items(), ((BLUE, ":"), (ORANGE, ":"), (BLUE, "-"), (ORANGE, "-")), strict=False
    ):
        axes.plot(np.arange(1, len(curve) + 1), curve * len(curve), color=colour, ls=style, lw=2, label=label)
    axes.axhline(1, color=GREY, lw=1, label="all alike")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set(xlabel="slot, best first", ylabel="mean weight × K")
    axes.legend(frameon=False)
    return finish(figure, name)


def map_sizes(curves: Mapping[str, np.ndarray], *, name: str | None = None) -> Figure:
    """Root mean square of a map's weights before each step and after the last, as a share of the first: a line for each
    of `curves`, (steps + 1,)."""
    figure, axes = new_figure(width=6.0, height=3.4)
    for (label, curve), (colour, style) in zip(
        curves.items(), ((ORANGE, "-"), (ORANGE, "--"), (BLUE, "-")), strict=False
    ):
        axes.plot(np.arange(len(curve)), curve / curve[0], color=colour, ls=style, lw=2, label=label)
    axes.set(xlabel="training step", ylabel="size of the query map (start = 1)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return finish(figure, name)


@dataclass(frozen=True)
class WordMaps:
    """One row of `word_regions`: the words, their finding's boxes, and maps over the patches (V·P,) by the name of the
    look; `whose` system's they are."""

    words: str
    boxes: Sequence[Box]
    maps: Mapping[str, np.ndarray]
    whose: str = ""


def word_regions(views: np.ndarray, rows: Sequence[WordMaps], *, name: str | None = None) -> Figure:
    """Words of one study's report over its views (V, H, W): a row a word, a pair of panels (frontal, lateral) a look.
    Blue: the finding's boxes.

    A map is shown as multiples of its mean, so that an even map stays invisible; each look has one scale for all its
    rows.
    """
    looks = list(rows[0].maps)
    count = len(views)
    columns = count * len(looks)
    figure, grid = new_figure(len(rows), columns, width=1.8 * columns, height=1.75 * len(rows) + 0.9, squeeze=False)
    for j, look in enumerate(looks):
        maps = [row.maps[look] / row.maps[look].mean() for row in rows]
        top = max(1.5, *(m.max() for m in maps))
        for i, (row, m) in enumerate(zip(rows, maps, strict=True)):
            side = int((m.size // count) ** 0.5)
            for v, patches in enumerate(m.reshape(count, side, side)):
                axes = grid[i, j * count + v]
                image = _heat(axes, views[v], patches, top)
                _frames(axes, [box for box in row.boxes if box.view == v])
                if i == 0:
                    axes.set_title(
                        f"{look}, {('frontal', 'lateral')[v] if count == 2 else f'view {v + 1}'}", fontsize=9
                    )
                if j == v == 0:
                    axes.set_ylabel("\n".join(filter(None, (row.whose, f"“{row.words}”"))), fontsize=10)
        bar = figure.colorbar(
            image, ax=list(grid[:, j * count : (j + 1) * count].ravel()), location="bottom", shrink=0.6, aspect=40
        )
        bar.set_label("times the map's mean")
    figure.get_layout_engine().set(rect=(0, 0, 1, 0.97))  # else the titles over pictures of a fixed shape are cut
    return finish(figure, name)


def _heat(axes: Axes, view: np.ndarray, patches: np.ndarray, top: float) -> AxesImage:
    height, width = view.shape
    half = (
        view[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    )  # half the pixels: a small file
    axes.imshow(half, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    image = axes.imshow(patches, cmap=HEAT, vmin=1, vmax=top, extent=(0, width, height, 0), interpolation="nearest")
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    return image


def _frames(axes: Axes, boxes: Sequence[Box]) -> None:
    for box in boxes:
        axes.add_patch(Rectangle((box.x0, box.y0), box.x1 - box.x0, box.y1 - box.y0, fill=False, ec="#56B4E9", lw=2))


def box_ratios(summaries: Mapping[str, pd.DataFrame], *, name: str | None = None) -> Figure:
    """Attention in the box against chance: a row a finding, a colour for each of `summaries`, whose rows are findings
    as `box_summary` gives them (`ratio`, `low`, `high`, `studies`, and `others` for the hollow mark: what the mean map
    of other studies gets)."""
    findings = list(dict.fromkeys(finding for table in summaries.values() for finding in table.index))
    figure, axes = new_figure(width=7.5, height=0.36 * len(findings) + 1.3)
    for j, (label, table) in enumerate(summaries.items()):
        shift = 0.22 * (j - (len(summaries) - 1) / 2)
        colour = FINDING_COLOURS[j]
        for finding, row in table.iterrows():
            y = findings.index(finding) + shift
            axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.5)
            axes.plot(row["ratio"], y, "o", color=colour, ms=6)
            axes.plot(row["others"] / row["chance"], y, "o", mec=colour, mfc="white", ms=5)
        axes.plot([], [], "o-", color=colour, label=label)
    axes.plot([], [], "o", mec=GREY, mfc="white", label="mean map of the other studies")
    axes.axvline(1, color=GREY, lw=1)
    counts = {
        finding: max(int(t.at[finding, "studies"]) for t in summaries.values() if finding in t.index)
        for finding in findings
    }
    axes.set_yticks(range(len(findings)), [f"{finding} ({counts[finding]})" for finding in findings])
    axes.set(xlabel="attention in the box / area of the box (1 = chance)", ylim=(len(findings) - 0.4, -0.6))
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure, name)


def slot_map(
    matrix: np.ndarray,
    image: np.ndarray,
    text: np.ndarray,
    words: Mapping[str, int],
    *,
    name: str | None = None,
    seed: int = 0,
) -> Figure:
    """The slots (N, d) laid out by t-SNE: colour says who asks, blue patches, orange words; size how often; `words`
    names the slot a word weighs most.

    `image` and `text` (N,) are each modality's share of its asking that goes to a slot, each summing to 1.
    """
    from sklearn.manifold import TSNE  # takes a second: only for those who look

    place = TSNE(perplexity=min(30, (len(matrix) - 1) / 3), init="pca", random_state=seed).fit_transform(
        np.asarray(matrix, dtype=np.float32)
    )
    figure, axes = new_figure(width=6.5, height=4.6)
    both = image + text
    asked = both > 0
    axes.scatter(*place[~asked].T, s=12, marker="x", color=GREY, lw=1)
    balance = image[asked] / both[asked]
    size = 15 + 150 * both[asked] / both.max()
    dots = axes.scatter(*place[asked].T, s=size, c=balance, cmap=ASKERS, vmin=0, vmax=1, edgecolor="black", lw=0.3)
    spots: dict[int, list[str]] = {}
    for word, slot in words.items():
        spots.setdefault(slot, []).append(word)
    for slot, names in spots.items():
        halo = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
        axes.annotate(", ".join(names), place[slot], xytext=(7, 7), textcoords="offset points", fontsize=9, bbox=halo)
    bar = figure.colorbar(dots, ax=axes, ticks=[0, 0.5, 1], shrink=0.7)
    bar.ax.set_yticklabels(["words ask it", "both", "patches ask it"])
    axes.set(xticks=[], yticks=[], xlabel="t-SNE (only neighbourhoods mean something)")
    if (~asked).any():
        axes.legend([Line2D([], [], marker="x", color=GREY, ls="")], ["never asked"], frameon=False, loc="best")
    return finish(figure, name)


def sweep(
    tables: Mapping[str, pd.DataFrame], *, reference: Mapping[str, float] | None = None, name: str | None = None
) -> Figure:
    """Validation loss and finding-F1 (columns `validation_loss`, `finding-F1`) over what each table's index counts;
    dashed lines for `reference`."""
    figure, grid = new_figure(
        2, len(tables), width=3.6 * len(tables), height=4.4, squeeze=False, sharey="row", sharex="col"
    )
    for j, (label, table) in enumerate(tables.items()):
        for axes, score in zip(grid[:, j], ("validation_loss", "finding-F1"), strict=True):
            axes.plot(table.index, table[score], "o-", color=BLUE, label="CMN")
            axes.set_xscale("log", base=2)
            axes.set_xticks(list(table.index), [str(x) for x in table.index])
            if reference is not None:
                axes.axhline(reference[score], color=GREY, ls="--", lw=1, label="BASE")
        grid[1, j].set_xlabel(label)
    grid[0, 0].set_ylabel("validation loss (nats a word)")
    grid[1, 0].set_ylabel("finding-F1")
    grid[1, 0].set_ylim(0, 1.15 * grid[1, 0].get_ylim()[1])
    grid[0, 0].legend(frameon=False)
    return finish(figure, name)
