"""Stored results: what `make results` measured and the project ships in `data/results`, one file for each way in which
a trained run wrote its reports.

A file holds the evaluation of one trained system in one protocol of decoding, the run's whole provenance, its training
curve, the terms of its scores study by study, and its reports as the numbers of their words: with the vocabulary they
are text again, so that another metric needs no training. The baselines beside it are the same for all runs on one data
set: `baselines-DATASET.json` has them once.

Results of edition 0.1 hold neither terms nor reports; their protocol is `EDITION_0_1`. Ablations and sweeps are still
theirs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rrg_lib.data.study import Split
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import CheckpointError, ConfigurationError, JavaError
from rrg_lib.evaluation.metrics import metrics_shown
from rrg_lib.evaluation.resampling import Additive, interval
from rrg_lib.evaluation.score_table import LEFT_OUT, Evaluation, Row
from rrg_lib.evaluation.terms import pack_array, pack_text, unpack_array, unpack_terms, unpack_text
from rrg_lib.experiments.extractors import EXTRACTOR, extractor_scores
from rrg_lib.experiments.presets import Experiment
from rrg_lib.experiments.reports import load_reports
from rrg_lib.experiments.run import Run
from rrg_lib.experiments.run_folders import run_folder
from rrg_lib.experiments.stored_runs import StoredRun, by_system, check_alike, file_stem, selected
from rrg_lib.models.decoding import EDITION_0_1, LabelsAtTest, Protocol
from rrg_lib.runtime import package_data
from rrg_lib.runtime.workspace import write_json

if TYPE_CHECKING:
    from rrg_lib.data.prepared_dataset import PreparedDataset

#: What the file of the baselines on a data set is called, with the data set's name.
_BASELINES = "baselines-"


@dataclass(frozen=True)
class StoredResult(StoredRun):
    """One run in one protocol: its experiment, its scores and the baselines' on the same studies, its curve (a row an
    epoch), what it was computed with.

    `weights` names the training whose weights wrote the reports: results that share it differ in how they were searched
    or in the labels that a memory was told. `tokens` are the reports as word numbers, by study id, None in results of
    edition 0.1.
    """

    evaluation: Evaluation
    history: list[dict[str, float]]
    weights: str
    tokens: dict[str, list[int]] | None = None

    @property
    def of_edition_0_1(self) -> bool:
        """Whether neither terms nor reports were kept: such a result cannot be paired with another study by study."""
        return self.protocol == EDITION_0_1

    @property
    def terms(self) -> dict[str, Additive]:
        """Score name -> its terms (n, k), a row a study in the order of the stored reports; empty in results of edition
        0.1."""
        return self.evaluation.terms

    @property
    def length_ratio(self) -> float:
        """Words of the reports / words of the references."""
        return self.evaluation.rows[0].parts["all"].length / self.evaluation.provenance["references"]["words"]

    def reports(self, vocabulary: Vocabulary) -> dict[str, str]:
        """The reports as text, by study id. Raises `ConfigurationError` for another vocabulary than theirs, or when
        none are stored."""
        if self.tokens is None:
            raise ConfigurationError(
                f"{self.name} was stored by edition 0.1, which kept no reports; train and store it again: "
                f"tools/results.py run"
            )
        if vocabulary.hash != self.evaluation.provenance["vocabulary"]:
            raise ConfigurationError(
                f"the reports of {self.name} are numbers of the vocabulary {self.evaluation.provenance['vocabulary']}, "
                f"not of {vocabulary.hash}; "
                "prepare the dataset with the protocol of the result"
            )
        return {study: vocabulary.decode([0, *ids]) for study, ids in self.tokens.items()}

    @property
    def minutes(self) -> float:
        """Training time, validation after every epoch included."""
        return sum(row["seconds"] for row in self.history) / 60

    @property
    def device(self) -> str:
        """`CPU`, or the GPU's name in short (H100)."""
        return short_device(self.provenance["machine"].get("device", "cpu"))

    @property
    def best_epoch(self) -> int:
        """The epoch kept, chosen on the validation studies; counted from 1."""
        return self.provenance["checkpoint"]["epoch"] + 1


def short_device(name: str) -> str:
    """`CPU`, or of a GPU's name the word that tells it from others ("NVIDIA H100 80GB HBM3": H100)."""
    return "CPU" if name == "cpu" else next((word for word in name.split() if word[-1].isdigit()), name)


def store_result(
    run: Run, folder: Path, protocol: Protocol, split: Split = "test", labels: LabelsAtTest | None = None
) -> Path:
    """Write the scores that `run.evaluate(split, decoding=run.decoding(protocol, labels))` has just kept, with the
    run's curve and reports, into `folder`, under the name of `file_stem`. The baselines of its evaluation go to a file
    of their own, for test alone.

    Raises `ConfigurationError` without scores, `JavaError` where METEOR was asked for and failed: kept, such a result
    would pass for a finished one and nobody would score it again.
    """
    decoding = run.decoding(protocol, labels)
    scores = run.scores_file(split, decoding)
    if not scores.is_file():
        raise ConfigurationError(
            f"{run.folder} has no scores of {run.split_name(split, decoding)} yet; run: rrg evaluate "
            f"{run.command_here} --split {split} --decoding {protocol}" + (f" --labels {labels}" if labels else "")
        )
    history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
    path = Path(folder) / f"{file_stem(run, protocol, decoding, split)}.json"
    record = json.loads(scores.read_text(encoding="utf-8"))
    _check_scored(record["rows"], str(scores))
    reports = dict(load_reports(run.reports_file(split, decoding)))
    row, *baselines = record["rows"]
    if baselines and split == "test":
        store_baselines(folder, run.dataset, run.experiment.dataset, record["provenance"], baselines)
    record["run"] |= {"protocol": protocol, "weights": run_folder(run.experiment).name}
    if protocol == "tuned":
        choice = run.tuned_decoding
        record["run"]["tuned"] = {
            "hash": choice.hash,
            "grid": choice.grid,
            "val": choice.chosen.scores,
            "seconds": choice.seconds,
        }
    rest = {
        "history": history,
        "extractor": _extractor_scores(run),
        "reports": _packed_reports(reports, run.dataset.vocabulary),
    }
    write_json(path, {**record, "rows": [row], **rest})
    return path


def store_baselines(
    folder: Path, dataset: PreparedDataset, name: str, provenance: dict[str, Any], rows: list[dict[str, Any]]
) -> Path:
    """Keep the baselines' rows on the data set of that name beside the results. A row that is there already, measured
    alike, of the same description and with as many scores, stays as it is. `provenance` and `rows` are those of an
    evaluation, as it is written. Raises `JavaError` as `store_result`."""
    path = Path(folder) / f"{_BASELINES}{name}.json"
    _check_scored(rows, f"baselines of {name}")
    conditions = _conditions(provenance, {"dataset": dataset.hash})
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"measured": None}
    kept = {row["name"]: row for row in before["rows"]} if before["measured"] == conditions else {}
    for row in rows:
        old = kept.get(row["name"])
        as_good = old and old["description"] == row["description"] and _scored(old) >= _scored(row)
        kept[row["name"]] = old if as_good else row
    after = {"measured": conditions, "rows": [kept[name] for name in sorted(kept)]}
    if after != before:
        write_json(path, after)
    return path


def _check_scored(rows: Sequence[dict[str, Any]], where: str) -> None:
    """Raises `JavaError` for a score that was asked for and failed: METEOR does on a machine that is too busy."""
    for row in rows:
        for metric, why in row["not_computed"].items():
            if why != LEFT_OUT:
                raise JavaError(
                    f"{where}: {metric} of {row['name']} was asked for and failed ({why}); expected every score that "
                    f"was asked for. Nothing was stored: evaluate again, while less else runs on the machine"
                )


def _scored(row: dict[str, Any]) -> int:
    """How many scores a baseline's row has; one may have been asked for fewer."""
    return len(row["parts"]["all"]["scores"])


def _packed_reports(reports: dict[str, str], vocabulary: Vocabulary) -> dict[str, Any]:
    """Reports as the numbers of their words, all after one another, beside how many each has."""
    for study, text in reports.items():
        if unknown := [word for word in text.split() if word not in vocabulary.ids]:
            raise ConfigurationError(
                f"study {study}: {unknown[0]!r} is no word of the vocabulary, so the report cannot be stored as the "
                f"numbers of words"
            )
    ids = {study: [vocabulary.ids[word] for word in text.split()] for study, text in reports.items()}
    flat = [token for each in ids.values() for token in each]
    return {
        "studies": pack_text("\n".join(ids)),
        "words": pack_array(np.array([len(each) for each in ids.values()])),
        "tokens": pack_array(np.array(flat)),
    }


def _unpacked_reports(data: dict[str, Any]) -> dict[str, list[int]]:
    studies, words, tokens = (
        unpack_text(data["studies"]).split("\n"),
        unpack_array(data["words"]),
        unpack_array(data["tokens"]),
    )
    reports = np.split(tokens.astype(int), np.cumsum(words.astype(int))[:-1])
    return {study: ids.tolist() for study, ids in zip(studies, reports, strict=True)}


def _conditions(evaluation: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """What two evaluations must have in common to stand in one table."""
    return {
        **{key: evaluation[key] for key in ("protocol", "vocabulary", "studies", "labeler")},
        "dataset": identity["dataset"],
    }


def _extractor_scores(run: Run) -> dict[str, float] | None:
    """Micro-F1 of the findings that the run's extractor sees, by split; None for one that was not trained on
    findings."""
    if run.experiment.extractor.weights != "findings":
        return None
    return {split: extractor_scores(run.folder / EXTRACTOR, run.dataset, split)["micro"] for split in ("val", "test")}


def stored_results(
    profile: str | None = None, dataset: str | None = None, protocol: str | None = None
) -> list[StoredResult]:
    """The shipped results, of one profile, one dataset or one protocol if named, in the order of their names."""
    return selected(_shipped(package_data.records, package_data.state("results")), profile, dataset, protocol)


@lru_cache(maxsize=1)
def _shipped(records: Callable[[str], dict[str, Any]], _state: Hashable) -> list[StoredResult]:
    """Some hundred files take a second to read: once, until one of them changes."""
    return _read_all(records("results"))


def results_in(folder: Path) -> list[StoredResult]:
    """The results that `store_result` wrote into a folder, in the order of their names; none where there is no such
    folder. Raises `CheckpointError` for a file that is no such result."""
    files = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            files[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CheckpointError(
                f"{path} cannot be read ({error}); expected a stored result. Delete it and make it again"
            ) from error
    return _read_all(files)


def _read_all(files: dict[str, Any]) -> list[StoredResult]:
    baselines = {name: data for name, data in files.items() if name.startswith(_BASELINES)}
    return [_read(name, data, baselines) for name, data in sorted(files.items()) if name not in baselines]


def twins() -> list[StoredResult]:
    """Runs of a stored result's very settings and seed, made again: `NAME-DEVICE` or `NAME-DEVICE-again`, NAME the
    stored result's. They belong in no table of systems; beside their twin they say what a seed does not decide."""
    return [_read(name, data, {}) for name, data in sorted(package_data.records("twins").items())]


def _read(name: str, data: dict[str, Any], baselines: dict[str, Any]) -> StoredResult:
    run = data["run"]
    beside = baselines.get(_BASELINES + run["experiment"]["dataset"], {"measured": None})
    if beside["measured"] == _conditions(data["provenance"], run["identity"]):
        data = {**data, "rows": [*data["rows"], *beside["rows"]]}
    return StoredResult(
        name,
        Experiment.from_json(run["experiment"]),
        run,
        replace(Evaluation.from_json(data), terms=unpack_terms(data.get("terms", {}))),
        data["history"],
        run.get("weights") or name.partition("-labels-")[0],
        _unpacked_reports(data["reports"]) if "reports" in data else None,
    )


def differences(a: Evaluation, b: Evaluation, *, tolerance: float = 1e-12) -> list[str]:
    """What differs between two evaluations of one system, each as "part score": its scores, counts and intervals, and
    the hash of its reports."""
    x, y = a.rows[0], b.rows[0]
    numbers = [
        {
            f"{part} {name}": value
            for part, p in row.parts.items()
            for name, value in {**p.scores, **vars(p)}.items()
            if name != "scores"
        }
        | {f"{end} {score}": value for score, ends in row.intervals.items() for end, value in ends._asdict().items()}
        for row in (x, y)
    ]
    scores = [
        name
        for name in dict.fromkeys([*numbers[0], *numbers[1]])
        if not math.isclose(*(n.get(name, math.inf) for n in numbers), abs_tol=tolerance, rel_tol=0)
        and not all(math.isnan(n.get(name, 0.0)) for n in numbers)
    ]
    return scores + ["reports"] * (a.provenance["hypotheses"] != b.provenance["hypotheses"])


def results_table(results: Sequence[StoredResult], *, baselines: bool = True) -> pd.DataFrame:
    """A row a system, the mean over its seeds, then a row for each baseline: scores as text, distinct reports, mean
    length, minutes, number of seeds.

    In brackets, the 95 % bootstrap interval over studies of the mean over seeds, where the terms of each were stored
    (not by edition 0.1). Raises `ConfigurationError` for results that were not measured on the same studies with the
    same labeler: their rows do not belong in one table.
    """
    check_alike(results, lambda r: _conditions(r.evaluation.provenance, r.provenance["identity"]))
    rows, words = {}, results[0].evaluation.provenance["references"]["words"] if results else math.nan
    for system, runs in by_system(results).items():
        devices = sorted({run.device for run in runs})
        minutes = [f"{fmean(run.minutes for run in runs if run.device == device):.0f} {device}" for device in devices]
        cells = _cells([run.evaluation.rows[0] for run in runs], words, [run.terms for run in runs])
        rows[system] = {**cells, "minutes": ", ".join(minutes), "seeds": f"{len(runs)}"}
    for baseline in results[0].evaluation.rows[1:] if results and baselines else ():
        rows[f"{baseline.name}: {baseline.description}"] = {**_cells([baseline], words), "minutes": "–", "seeds": "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def summary(
    presets: Sequence[str], profile: str = "laptop", dataset: str = "iu_phantom", protocol: str = "tuned"
) -> pd.DataFrame:
    """The stored results of these presets in this order and protocol, as `results_table` gives them, without baselines;
    presets that nothing is stored of are absent, and the frame is empty when that is all of them. Only runs with the
    preset's own settings count."""
    results = [r for r in stored_results(profile, dataset, protocol) if r.experiment.preset in presets and r.is_preset]
    return results_table(sorted(results, key=lambda r: presets.index(r.experiment.preset)), baselines=False)


def _cells(rows: Sequence[Row], words: float, terms: Sequence[Mapping[str, Additive]] = ()) -> dict[str, str]:
    """One system's cells: the mean of these rows, one a seed, with the interval of that mean (`terms` has each seed's).
    `words`: a reference's, on average."""
    parts = [row.parts["all"] for row in rows]
    cells = {}
    for metric in metrics_shown("results"):
        score = metric.name
        known = all(score in part.scores for part in parts)
        cells[score] = metric.shown(fmean(part.scores[score] for part in parts) if known else None)
        if known and metric.interval_shown:
            if len(rows) == 1 and score in rows[0].intervals:
                low, high = rows[0].intervals[score]
            elif terms and all(score in each for each in terms):
                low, high = interval([each[score] for each in terms])
            else:
                continue  # the mean of several seeds has no interval without the terms of each
            cells[score] += f" [{metric.shown(low)}, {metric.shown(high)}]"
    distinct, length = (fmean(getattr(part, name) for part in parts) for name in ("distinct", "length"))
    return {**cells, "distinct": f"{distinct:.0f}", "length": f"{length:.1f}", "length ratio": f"{length / words:.2f}"}
