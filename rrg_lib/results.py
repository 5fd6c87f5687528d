"""Stored results: what `make results` measured and the project ships in `data/results`, one file a run, as the tables of the README and the chapters.

A file holds the evaluation of one trained system beside the baselines, the run's whole provenance, and its training curve.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rrg_lib import shipped
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.report import FINDING_F1, Evaluation, Row
from rrg_lib.presets import Experiment
from rrg_lib.runs import Run, extractor_scores, run_folder
from rrg_lib.study import Split
from rrg_lib.workspace import write_json

#: What a table shows, in order.
SHOWN = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", FINDING_F1)
#: Scores that come with their bootstrap interval.
WITH_INTERVAL = ("BLEU-4", FINDING_F1)


@dataclass(frozen=True)
class StoredResult:
    """One run: its experiment, its scores and the baselines' on the same studies, its curve (a row an epoch), what it was computed with."""

    name: str
    experiment: Experiment
    evaluation: Evaluation
    history: list[dict[str, float]]
    provenance: dict[str, Any]

    @property
    def minutes(self) -> float:
        """Training time, validation after every epoch included."""
        return sum(row["seconds"] for row in self.history) / 60

    @property
    def best_epoch(self) -> int:
        """The epoch kept, chosen on the validation studies; counted from 1."""
        return self.provenance["checkpoint"]["epoch"] + 1


def keep(run: Run, folder: Path, split: Split = "test") -> Path:
    """Write the scores that `run.evaluate(split)` has just kept, with the run's curve, into `folder`, named like a run folder of this experiment: one
    with other settings gets another name. Raises `ConfigurationError` without scores."""
    scores = run.folder / f"scores-{split}.json"
    if not scores.is_file():
        raise ConfigurationError(f"{run.folder} has no scores of {split} yet; run: rrg evaluate {run.experiment.name} --split {split}")
    history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
    looked = _extractor(run)
    name = run_folder(run.experiment).name
    path = Path(folder) / f"{name if split == 'test' else f'{name}-{split}'}.json"
    write_json(path, {**json.loads(scores.read_text(encoding="utf-8")), "history": history, "extractor": looked})
    return path


def _extractor(run: Run) -> dict[str, float] | None:
    """Micro-F1 of the findings that the run's extractor sees, by split; None for one that was not trained on findings."""
    if run.experiment.extractor.weights != "findings":
        return None
    return {split: extractor_scores(run.folder / "extractor.safetensors", run.dataset, split)["micro"] for split in ("val", "test")}


def stored(profile: str | None = None, dataset: str | None = None) -> list[StoredResult]:
    """The shipped results, of one profile or one dataset if named, in the order of their names."""
    found = [_read(name, data) for name, data in sorted(shipped.results().items())]
    return [r for r in found if profile in (None, r.experiment.profile) and dataset in (None, r.experiment.dataset)]


def _read(name: str, data: dict[str, Any]) -> StoredResult:
    run = data["run"]
    return StoredResult(name, Experiment.from_json(run["experiment"]), Evaluation.from_json(data), data["history"], run)


def table(results: list[StoredResult]) -> pd.DataFrame:
    """A row a system, then a row for each baseline of the first result: scores as text with intervals, distinct reports, mean length, minutes.

    Raises `ConfigurationError` for results that were not measured on the same studies with the same labeler: their rows do not belong in one table.
    """
    measured = {json.dumps([r.evaluation.provenance[key] for key in ("protocol", "vocabulary", "studies", "labeler")]) for r in results}
    if len(measured) > 1:
        raise ConfigurationError(f"{', '.join(r.name for r in results)} were not measured alike; make one table for each kind")
    rows = {_label(r): {**_cells(r.evaluation.rows[0]), "minutes": f"{r.minutes:.0f}"} for r in results}
    for baseline in results[0].evaluation.rows[1:] if results else ():
        rows[f"{baseline.name}: {baseline.description}"] = {**_cells(baseline), "minutes": "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def _label(result: StoredResult) -> str:
    e = result.experiment
    return f"{e.name}, {e.profile}, seed {e.training.seed}"


def _cells(row: Row) -> dict[str, str]:
    part = row.parts["all"]
    cells = {}
    for score in SHOWN:
        cells[score] = f"{part.scores[score]:.3f}" if score in part.scores else "–"
        if score in WITH_INTERVAL and score in row.intervals:
            cells[score] += " [{:.3f}, {:.3f}]".format(*row.intervals[score])
    return {**cells, "distinct": f"{part.distinct:.0f}", "length": f"{part.length:.1f}"}
