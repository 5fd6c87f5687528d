"""The figures of chapter 03: patches as a sequence, why attention is scaled, positions, the causal mask, parameters,
the curves of a training, a search tree, reports."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from rrg_lib.book.figures.style import BLUE, GREY, ORANGE, RED, finish, new_figure
from rrg_lib.data.study import Box
from rrg_lib.experiments.tuned_decoding import Trial

VIEW_NAMES = ("frontal", "lateral")
_PALE_GREY = "#e4e4e4"
#: Of two words, how likely the second is after the first: prefix -> next word -> probability. 0 ends a report.
Tree = Mapping[tuple[int, ...], Mapping[int, float]]


def patch_sequence(views: np.ndarray, *, side: int = 7, drawn: bool = True, name: str | Path | None = None) -> Figure:
    """Views (V, H, W) with their side × side patches, each at its place in the sequence, view after view, row by
    row."""
    figure, axes = new_figure(1, len(views), width=2.9 * len(views), height=3.1, squeeze=False)
    height, width = views.shape[1:]
    for v, (view, panel) in enumerate(zip(views, axes[0], strict=True)):
        panel.imshow(view, cmap="gray", vmin=0, vmax=255)
        for cut in range(1, side):
            panel.axhline(cut * height / side - 0.5, color=ORANGE, linewidth=0.6)
            panel.axvline(cut * width / side - 0.5, color=ORANGE, linewidth=0.6)
        for place in range(side * side):
            row, column = divmod(place, side)
            x, y = (column + 0.5) * width / side, (row + 0.5) * height / side
            label = panel.text(x, y, v * side * side + place, ha="center", va="center", fontsize=8, color="white")
            label.set_bbox({"boxstyle": "round,pad=0.1", "facecolor": "black", "edgecolor": "none", "alpha": 0.5})
        panel.set(xticks=[], yticks=[], xlabel=f"{VIEW_NAMES[v]} view{' (drawn)' if drawn else ''}")
    return finish(figure, name)


def attention_scale(
    d_k: Sequence[int], largest: Mapping[str, Sequence[float]], *, keys: int, name: str | Path | None = None
) -> Figure:
    """The mean largest attention weight of a random query over `keys` random keys, against the width of a head."""
    figure, panel = new_figure(width=5.5, height=2.8)
    for (label, values), colour, marker in zip(largest.items(), (RED, BLUE), ("s", "o"), strict=True):
        panel.plot(d_k, values, color=colour, marker=marker, label=label)
    panel.axhline(1 / keys, color=GREY, linestyle=":", label=f"all {keys} keys alike")
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(d_k), [str(d) for d in d_k])
    panel.set(xlabel="numbers in a query, $d_k$", ylabel="largest of the weights", ylim=(0, 1))
    panel.legend(frameon=False)
    return finish(figure, name)


def positions(code: Tensor, *, marks: Sequence[int], name: str | Path | None = None) -> Figure:
    """Left: the code (positions, d). Right: how alike (cosine) the marked positions are to all others."""
    figure, (left, right) = new_figure(1, 2, width=9.0, height=3.2)
    drawn = left.imshow(code.T, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    left.set(xlabel="position in the sequence", ylabel="component of the code")
    figure.colorbar(drawn, ax=left, label="value")
    unit = code / code.norm(dim=-1, keepdim=True)
    for mark, colour, style in zip(marks, (BLUE, ORANGE, RED), ("-", "--", "-."), strict=True):
        right.plot(unit @ unit[mark], color=colour, linestyle=style, label=f"position {mark}")
    right.set(xlabel="position in the sequence", ylabel="cosine similarity", ylim=(None, 1.13))
    right.legend(frameon=False, loc="upper center", ncols=3, fontsize=8)
    return finish(figure, name)


def causal_masks(mask: Tensor, words: Sequence[Sequence[str]], *, name: str | Path | None = None) -> Figure:
    """Masks (B, 1, L, L), a panel a report: which word (row) may look at which (column). `words` are the L decoder
    inputs of each report."""
    figure, axes = new_figure(1, len(words), width=4.2 * len(words), height=3.9, squeeze=False)
    for allowed, labels, panel in zip(mask[:, 0], words, axes[0], strict=True):
        panel.imshow(allowed, cmap=ListedColormap([_PALE_GREY, BLUE]), vmin=0, vmax=1)
        ticks = range(len(labels))
        panel.set_xticks(ticks, labels, rotation=60, ha="right", rotation_mode="anchor")
        panel.set_yticks(ticks, labels)
        panel.set_xticks(np.arange(0.5, len(labels) - 1), minor=True)
        panel.set_yticks(np.arange(0.5, len(labels) - 1), minor=True)
        panel.grid(which="minor", color="white", linewidth=1)
        panel.tick_params(which="minor", length=0)
        panel.set(xlabel="is looked at", ylabel="looks")
        for i, row in enumerate(allowed.tolist()):
            for j, on in enumerate(row):
                if on:
                    panel.text(j, i, "•", ha="center", va="center", color="white", fontsize=8)
    return finish(figure, name)


def parameter_bars(counts: Mapping[str, int], *, name: str | Path | None = None) -> Figure:
    """Parameters of each part, in millions, in the order given from top to bottom."""
    figure, panel = new_figure(width=7.0, height=0.32 * len(counts) + 0.7)
    bars = panel.barh(list(counts), [count / 1e6 for count in counts.values()], color=BLUE)
    panel.bar_label(bars, [f"{count / 1e6:.2f}" for count in counts.values()], padding=3)
    panel.invert_yaxis()
    panel.set(xlabel="parameters (millions)")
    panel.margins(x=0.1)
    return finish(figure, name)


def _places(tree: Tree) -> dict[tuple[int, ...], tuple[float, float]]:
    """Where each prefix stands: x its length, y so that leaves are evenly spaced from the top and parents in the middle
    of their children."""
    places: dict[tuple[int, ...], tuple[float, float]] = {}
    leaves = 0

    def place(prefix: tuple[int, ...]) -> float:
        nonlocal leaves
        below = [place((*prefix, word)) for word in tree.get(prefix, {})]
        if below:
            y = (below[0] + below[-1]) / 2
        else:
            y, leaves = -float(leaves), leaves + 1
        places[prefix] = (float(len(prefix)), y)
        return y

    place(())
    return places


def search_tree(
    tree: Tree, words: Sequence[str], *, paths: Mapping[str, Sequence[int]], name: str | Path | None = None
) -> Figure:
    """A tree of all reports of a tiny language. An edge says how likely the word is, a leaf how likely the report;
    `paths` are drawn in colour."""
    figure, panel = new_figure(width=8.0, height=3.6)
    places = _places(tree)
    prefixes = {label: {tuple(path[:n]) for n in range(1, len(path) + 1)} for label, path in paths.items()}
    styles = dict(zip(paths, ((ORANGE, "--"), (BLUE, "-")), strict=True))
    likely = {(): 1.0}
    for prefix in sorted(places, key=len):
        for word, probability in tree.get(prefix, {}).items():
            child = (*prefix, word)
            likely[child] = likely[prefix] * probability
            on = [label for label, members in prefixes.items() if child in members]
            (x0, y0), (x1, y1) = places[prefix], places[child]
            colour, style = styles[on[0]] if on else (GREY, ":")
            panel.plot([x0 + 0.17, x1 - 0.17], [y0, y1], color=colour, linestyle=style, linewidth=2.2 if on else 1.0)
            edge = panel.text((x0 + x1) / 2, (y0 + y1) / 2, f"{probability:.2f}", ha="center", va="center", fontsize=9)
            edge.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
    for prefix, (x, y) in places.items():
        panel.text(x, y, words[prefix[-1]] if prefix else "(begin)", ha="center", va="center", fontsize=10)
        if prefix not in tree:
            panel.text(x + 0.3, y, f"{likely[prefix]:.3f}", va="center", fontsize=9, color=GREY)
    for label, (colour, style) in styles.items():
        panel.plot([], [], color=colour, linestyle=style, linewidth=2.2, label=label)
    panel.legend(frameon=False, loc="lower left")
    panel.set(xlim=(-0.3, max(x for x, _ in places.values()) + 0.7), xlabel="words said", yticks=[])
    panel.set_xticks(range(1 + int(max(x for x, _ in places.values()))))
    panel.spines["left"].set_visible(False)
    return finish(figure, name)


def report_lengths(lengths: Mapping[str, Sequence[int]], *, name: str | Path | None = None) -> Figure:
    """How many words the reports of each origin have: cumulative shares, so that a report said many times shows as a
    step."""
    figure, panel = new_figure(width=6.5, height=3.0)
    for (label, values), colour, style in zip(lengths.items(), (GREY, ORANGE, BLUE), ("-", "--", "-"), strict=True):
        panel.ecdf(values, color=colour, linestyle=style, label=label, linewidth=1.8)
    panel.set(
        xlabel="words in a report, full stops included",
        ylabel="share of reports up to this length",
        xlim=(0, None),
        ylim=(0, 1.02),
    )
    panel.legend(frameon=False, loc="lower right")
    return finish(figure, name)


def studies(
    views: Sequence[np.ndarray],
    labels: Sequence[str],
    boxes: Sequence[Sequence[Box]],
    *,
    drawn: bool = True,
    name: str | Path | None = None,
) -> Figure:
    """A column a study: its views (V, H, W) one below the other, its label, and boxes where its findings were drawn."""
    rows = max(map(len, views))
    figure, axes = new_figure(rows, len(views), width=2.0 * len(views), height=2.1 * rows + 0.2, squeeze=False)
    for column, (pictures, label, study_boxes) in enumerate(zip(views, labels, boxes, strict=True)):
        for v, picture in enumerate(pictures):
            panel = axes[v, column]
            panel.imshow(picture, cmap="gray", vmin=0, vmax=255)
            for box in study_boxes:
                if box.view == v:
                    shape = (box.x1 - box.x0, box.y1 - box.y0)
                    panel.add_patch(
                        Rectangle((box.x0 - 0.5, box.y0 - 0.5), *shape, fill=False, edgecolor=ORANGE, linewidth=1.5)
                    )
            if v == 0:
                panel.set_title("\n".join(textwrap.wrap(label, 26)), fontsize=9)
            panel.set(xticks=[], yticks=[], xlabel=f"{VIEW_NAMES[v]}{' (drawn)' if drawn else ''}")
    return finish(figure, name)


def ways_to_search(
    tried: Sequence[Trial], band: tuple[float, float], chosen: Trial, *, name: str | Path | None = None
) -> Figure:
    """Scores over the length of the reports (words over the references' words), a dot a way of searching; `band` the
    lengths that may be chosen."""
    scores = ("finding-F1", "BLEU-4")
    figure, panels = new_figure(1, 2, width=9.0, height=3.2)
    kinds = {"greedy": (BLUE, "o", lambda d: d.beam_size == 1), "beam 3": (ORANGE, "s", lambda d: d.beam_size > 1)}
    for panel, score in zip(panels, scores, strict=True):
        panel.axvspan(*band, color=_PALE_GREY, zorder=0, label="may be chosen")
        for label, (colour, marker, of) in kinds.items():
            some = [one for one in tried if of(one.decoding)]
            panel.scatter(
                [one.length_ratio for one in some],
                [one.scores[score] for one in some],
                c=colour,
                marker=marker,
                s=22,
                label=label,
            )
        panel.scatter(
            chosen.length_ratio,
            chosen.scores[score],
            facecolors="none",
            edgecolors=RED,
            s=120,
            linewidths=1.8,
            label="chosen",
        )
        panel.set(xlabel="words of the reports / words of the references", ylabel=f"{score}, validation studies")
    panels[1].legend(frameon=False, fontsize=8)
    return finish(figure, name)


def training_curves(history: Sequence[Mapping[str, float]], path: Path | None = None) -> Figure:
    """Left: training and validation loss (nats a word). Right: BLEU-4 and finding-F1 on the validation studies. The x
    axis counts epochs from 1."""
    figure, (loss, score) = new_figure(1, 2, width=8.0, height=3.0)
    epochs = [row["epoch"] + 1 for row in history]
    for name, label in (("train_loss", "training"), ("validation_loss", "validation")):
        loss.plot(epochs, [row[name] for row in history], marker="o", markersize=3, label=label)
    loss.set(xlabel="epoch", ylabel="loss (nats a word)", title="Loss")
    for name in ("BLEU-4", "finding-F1"):
        if all(name in row for row in history):
            score.plot(epochs, [row[name] for row in history], marker="o", markersize=3, label=name)
    score.set(xlabel="epoch", ylabel="score", title="Validation studies, greedy", ylim=(0, None))
    for axes in (loss, score):
        axes.legend(frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return finish(figure, path)
