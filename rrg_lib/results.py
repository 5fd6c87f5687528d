"""Stored results: what `make results` measured and the project ships in `data/results`, one file a run, as the tables of the README and the chapters.

A file holds the evaluation of one trained system, the run's whole provenance, and its training curve. The baselines beside it are the same for all runs
on one data set: `baselines-DATASET.json` has them once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from rrg_lib import shipped
from rrg_lib.decoding import DecodingConfig
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.report import FINDING_F1, Evaluation, Row
from rrg_lib.presets import Experiment, experiment
from rrg_lib.runs import Run, extractor_scores, run_folder
from rrg_lib.study import Split
from rrg_lib.workspace import write_json

#: What a table shows, in order.
SHOWN = ("BLEU-1", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr", FINDING_F1)
#: What the file of the baselines on a data set is called, with the data set's name.
_BASELINES = "baselines-"
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
    def device(self) -> str:
        """`CPU`, or the GPU's name in short (H100)."""
        return short_device(self.provenance["machine"].get("device", "cpu"))

    @property
    def labels_at_test(self) -> str | None:
        """What a memory that is gated by labels was told of the studies; None for any other."""
        gated = self.experiment.memory is not None and self.experiment.memory.gated
        return self.provenance["decoding"]["labels_at_test"] if gated else None

    @property
    def is_preset(self) -> bool:
        """Whether its settings are the preset's own, the seed apart."""
        e = self.experiment
        return _unseeded(e) == experiment(e.name, e.profile, seed=0)

    @property
    def system(self) -> str:
        """The name of its row: dataset and preset, profile, labels if it was told any; the hash of settings that are not the preset's."""
        e = self.experiment
        others = "" if self.is_preset else f", settings {_unseeded(e).hash[:6]}"
        return f"{e.name}, {e.profile}{others}" + (f", labels: {self.labels_at_test}" if self.labels_at_test else "")

    @property
    def best_epoch(self) -> int:
        """The epoch kept, chosen on the validation studies; counted from 1."""
        return self.provenance["checkpoint"]["epoch"] + 1


def short_device(name: str) -> str:
    """`CPU`, or of a GPU's name the word that tells it from others ("NVIDIA H100 80GB HBM3": H100)."""
    return "CPU" if name == "cpu" else next((word for word in name.split() if word[-1].isdigit()), name)


def _unseeded(what: Experiment) -> Experiment:
    return replace(what, training=replace(what.training, seed=0))


def keep(run: Run, folder: Path, split: Split = "test", decoding: DecodingConfig | None = None) -> Path:
    """Write the scores that `run.evaluate(split, decoding=decoding)` has just kept, with the run's curve, into `folder`, named like a run folder of this
    experiment: one with other settings gets another name. The baselines of its evaluation go to a file of their own, for test alone. Raises
    `ConfigurationError` without scores."""
    part = run.named(split, decoding or run.experiment.decoding)
    scores = run.folder / f"scores-{part}.json"
    if not scores.is_file():
        raise ConfigurationError(f"{run.folder} has no scores of {part} yet; run: rrg evaluate {run.experiment.name} --split {split}")
    history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
    path = Path(folder) / f"{run_folder(run.experiment).name}{part.removeprefix('test') if split == 'test' else f'-{part}'}.json"
    found = json.loads(scores.read_text(encoding="utf-8"))
    own, *baselines = found["rows"]
    if baselines and split == "test":
        beside, like = Path(folder) / f"{_BASELINES}{run.experiment.dataset}.json", _measured(found["provenance"], run.identity)
        before = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {"measured": None}
        if before["measured"] != like or len(before["rows"]) < len(baselines):
            write_json(beside, {"measured": like, "rows": baselines})
    write_json(path, {**found, "rows": [own], "history": history, "extractor": _extractor(run)})
    return path


def _measured(evaluated: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """What two evaluations must have in common to stand in one table."""
    return {**{key: evaluated[key] for key in ("protocol", "vocabulary", "studies", "labeler")}, "dataset": identity["dataset"]}


def _extractor(run: Run) -> dict[str, float] | None:
    """Micro-F1 of the findings that the run's extractor sees, by split; None for one that was not trained on findings."""
    if run.experiment.extractor.weights != "findings":
        return None
    return {split: extractor_scores(run.folder / "extractor.safetensors", run.dataset, split)["micro"] for split in ("val", "test")}


def stored(profile: str | None = None, dataset: str | None = None) -> list[StoredResult]:
    """The shipped results, of one profile or one dataset if named, in the order of their names."""
    files = shipped.results()
    baselines = {name: data for name, data in files.items() if name.startswith(_BASELINES)}
    found = [_read(name, data, baselines) for name, data in sorted(files.items()) if name not in baselines]
    return [r for r in found if profile in (None, r.experiment.profile) and dataset in (None, r.experiment.dataset)]


def twins() -> list[StoredResult]:
    """Runs of a stored result's very settings and seed, made again: `NAME-DEVICE` or `NAME-DEVICE-again`, NAME the stored result's. They belong in no table of
    systems; beside their twin they say what a seed does not decide."""
    return [_read(name, data, {}) for name, data in sorted(shipped.twins().items())]


def _read(name: str, data: dict[str, Any], baselines: dict[str, Any]) -> StoredResult:
    run = data["run"]
    beside = baselines.get(_BASELINES + run["experiment"]["dataset"], {"measured": None})
    if beside["measured"] == _measured(data["provenance"], run["identity"]):
        data = {**data, "rows": [*data["rows"], *beside["rows"]]}
    return StoredResult(name, Experiment.from_json(run["experiment"]), Evaluation.from_json(data), data["history"], run)


def differences(a: Evaluation, b: Evaluation, *, tolerance: float = 1e-12) -> list[str]:
    """What differs between two evaluations of one system, each as "part score": its scores, counts and intervals, and the hash of its reports."""
    x, y = a.rows[0], b.rows[0]
    numbers = [
        {f"{part} {name}": value for part, p in row.parts.items() for name, value in {**p.scores, **vars(p)}.items() if name != "scores"}
        | {f"{end} {score}": value for score, ends in row.intervals.items() for end, value in ends._asdict().items()}
        for row in (x, y)
    ]
    found = [
        name
        for name in dict.fromkeys([*numbers[0], *numbers[1]])
        if not math.isclose(*(n.get(name, math.inf) for n in numbers), abs_tol=tolerance, rel_tol=0)
        and not all(math.isnan(n.get(name, 0.0)) for n in numbers)
    ]
    return found + ["reports"] * (a.provenance["hypotheses"] != b.provenance["hypotheses"])


def table(results: Sequence[StoredResult], *, baselines: bool = True) -> pd.DataFrame:
    """A row a system, the mean over its seeds, then a row for each baseline: scores as text, distinct reports, mean length, minutes, number of seeds.

    In brackets, from the lowest to the highest bound of the seeds' 95 % bootstrap intervals over studies. Raises `ConfigurationError` for results that
    were not measured on the same studies with the same labeler: their rows do not belong in one table.
    """
    if len({json.dumps(_measured(r.evaluation.provenance, r.provenance["identity"])) for r in results}) > 1:
        raise ConfigurationError(f"{', '.join(r.name for r in results)} were not measured alike; make one table for each kind")
    systems: dict[str, list[StoredResult]] = {}
    for result in results:
        systems.setdefault(result.system, []).append(result)
    rows = {}
    for system, runs in systems.items():
        devices = sorted({run.device for run in runs})
        minutes = [f"{fmean(run.minutes for run in runs if run.device == device):.0f} {device}" for device in devices]
        rows[system] = {**_cells([run.evaluation.rows[0] for run in runs]), "minutes": ", ".join(minutes), "seeds": f"{len(runs)}"}
    for baseline in results[0].evaluation.rows[1:] if results and baselines else ():
        rows[f"{baseline.name}: {baseline.description}"] = {**_cells([baseline]), "minutes": "–", "seeds": "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def summary(presets: Sequence[str], profile: str = "laptop", dataset: str = "iu_phantom") -> pd.DataFrame:
    """The stored results of these presets in this order, as `table` gives them, without baselines; presets that nothing is stored of are absent, and the
    frame is empty when that is all of them. Only runs with the preset's own settings count."""
    found = [r for r in stored(profile, dataset) if r.experiment.preset in presets and r.is_preset]
    return table(sorted(found, key=lambda r: presets.index(r.experiment.preset)), baselines=False)


def _cells(rows: Sequence[Row]) -> dict[str, str]:
    """One system's cells: the mean of these rows, one a seed."""
    parts = [row.parts["all"] for row in rows]
    cells = {}
    for score in SHOWN:
        known = all(score in part.scores for part in parts)
        cells[score] = f"{fmean(part.scores[score] for part in parts):.3f}" if known else "–"
        if known and score in WITH_INTERVAL and all(score in row.intervals for row in rows):
            low, high = zip(*(row.intervals[score] for row in rows), strict=True)
            cells[score] += f" [{min(low):.3f}, {max(high):.3f}]"
    distinct, length = (fmean(getattr(part, name) for part in parts) for name in ("distinct", "length"))
    return {**cells, "distinct": f"{distinct:.0f}", "length": f"{length:.1f}"}
