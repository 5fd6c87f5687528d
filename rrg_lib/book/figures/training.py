"""The figure of a run: how loss and scores went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from rrg_lib.book.figures.style import finish, new_figure


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
