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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from rrg_lib.data.study import Split
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.metrics import metrics_shown
from rrg_lib.evaluation.resampling import Additive, interval
from rrg_lib.evaluation.score_table import Evaluation, Row
from rrg_lib.evaluation.terms import pack_array, pack_text, unpack_array, unpack_terms, unpack_text
from rrg_lib.experiments.presets import Experiment, experiment
from rrg_lib.experiments.reports import load_reports
from rrg_lib.experiments.run import Run, extractor_scores, run_folder
from rrg_lib.experiments.tuning import tuned
from rrg_lib.models.decoding import EDITION_0_1, DecodingConfig, LabelsAtTest, Protocol
from rrg_lib.runtime import package_data
from rrg_lib.runtime.workspace import write_json

#: What the file of the baselines on a data set is called, with the data set's name.
_BASELINES = "baselines-"


@dataclass(frozen=True)
class StoredResult:
    """One run in one protocol: its experiment, its scores and the baselines' on the same studies, its curve (a row an
    epoch), what it was computed with.

    `protocol` is how its reports were searched, `weights` names the training whose weights wrote them: results that
    share it differ in how they were searched or in the labels that a memory was told. `tokens` are the reports as word
    numbers, by study id, None in results of edition 0.1.
    """

    name: str
    experiment: Experiment
    evaluation: Evaluation
    history: list[dict[str, float]]
    provenance: dict[str, Any]
    protocol: str
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
        """The name of its row: dataset and preset, profile, protocol, labels if it was told any; the hash of settings
        that are not the preset's."""
        e = self.experiment
        others = "" if self.is_preset else f", settings {_unseeded(e).hash[:6]}"
        return f"{e.name}, {e.profile}{others}, {self.protocol}" + (
            f", labels: {self.labels_at_test}" if self.labels_at_test else ""
        )

    @property
    def best_epoch(self) -> int:
        """The epoch kept, chosen on the validation studies; counted from 1."""
        return self.provenance["checkpoint"]["epoch"] + 1


def short_device(name: str) -> str:
    """`CPU`, or of a GPU's name the word that tells it from others ("NVIDIA H100 80GB HBM3": H100)."""
    return "CPU" if name == "cpu" else next((word for word in name.split() if word[-1].isdigit()), name)


def _unseeded(what: Experiment) -> Experiment:
    return replace(what, training=replace(what.training, seed=0))


def keep(run: Run, folder: Path, protocol: Protocol, split: Split = "test", labels: LabelsAtTest | None = None) -> Path:
    """Write the scores that `run.evaluate(split, decoding=run.decoding(protocol, labels))` has just kept, with the
    run's curve and reports, into `folder`, named like a run folder of this experiment (one with other settings gets
    another name), the protocol, and the labels where they are not its own. The baselines of its evaluation go to a file
    of their own, for test alone. Raises `ConfigurationError` without scores."""
    decoding = run.decoding(protocol, labels)
    part = run.named(split, decoding)
    scores = run.folder / f"scores-{part}.json"
    if not scores.is_file():
        raise ConfigurationError(
            f"{run.folder} has no scores of {part} yet; run: rrg evaluate {run.experiment.name} --split {split}"
        )
    history = json.loads((run.folder / "history.json").read_text(encoding="utf-8"))
    name = (
        run_folder(run.experiment).name
        + stored_suffix(run, protocol, decoding)
        + ("" if split == "test" else f"-{split}")
    )
    path = Path(folder) / f"{name}.json"
    found = json.loads(scores.read_text(encoding="utf-8"))
    reports = dict(load_reports(run.folder / f"reports-{part}.csv"))
    own, *baselines = found["rows"]
    if baselines and split == "test":
        beside, like = (
            Path(folder) / f"{_BASELINES}{run.experiment.dataset}.json",
            _measured(found["provenance"], run.identity),
        )
        before = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {"measured": None}
        if before["measured"] != like or len(before["rows"]) < len(baselines):
            write_json(beside, {"measured": like, "rows": baselines})
    found["run"] |= {"protocol": protocol, "weights": run_folder(run.experiment).name}
    if protocol == "tuned":
        chosen = tuned(run)
        found["run"]["tuned"] = {
            "hash": chosen.hash,
            "grid": chosen.grid,
            "val": chosen.chosen.scores,
            "seconds": chosen.seconds,
        }
    rest = {
        "history": history,
        "extractor": _extractor(run),
        "reports": _packed_reports(reports, run.dataset.vocabulary),
    }
    write_json(path, {**found, "rows": [own], **rest})
    return path


def stored_suffix(run: Run, protocol: Protocol, decoding: DecodingConfig) -> str:
    """What the stored name of a run says of how it wrote, after the name of its folder: the protocol, and the labels
    where they are not the experiment's."""
    other = run.labels and decoding.labels_at_test != run.experiment.decoding.labels_at_test
    return f"-{protocol}" + (f"-labels-{decoding.labels_at_test}" if other else "")


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


def _measured(evaluated: dict[str, Any], identity: dict[str, Any]) -> dict[str, Any]:
    """What two evaluations must have in common to stand in one table."""
    return {
        **{key: evaluated[key] for key in ("protocol", "vocabulary", "studies", "labeler")},
        "dataset": identity["dataset"],
    }


def _extractor(run: Run) -> dict[str, float] | None:
    """Micro-F1 of the findings that the run's extractor sees, by split; None for one that was not trained on
    findings."""
    if run.experiment.extractor.weights != "findings":
        return None
    return {
        split: extractor_scores(run.folder / "extractor.safetensors", run.dataset, split)["micro"]
        for split in ("val", "test")
    }


def stored(profile: str | None = None, dataset: str | None = None, protocol: str | None = None) -> list[StoredResult]:
    """The shipped results, of one profile, one dataset or one protocol if named, in the order of their names."""
    files = package_data.results()
    baselines = {name: data for name, data in files.items() if name.startswith(_BASELINES)}
    found = [_read(name, data, baselines) for name, data in sorted(files.items()) if name not in baselines]
    return [
        r
        for r in found
        if profile in (None, r.experiment.profile)
        and dataset in (None, r.experiment.dataset)
        and protocol in (None, r.protocol)
    ]


def twins() -> list[StoredResult]:
    """Runs of a stored result's very settings and seed, made again: `NAME-DEVICE` or `NAME-DEVICE-again`, NAME the
    stored result's. They belong in no table of systems; beside their twin they say what a seed does not decide."""
    return [_read(name, data, {}) for name, data in sorted(package_data.twins().items())]


def _read(name: str, data: dict[str, Any], baselines: dict[str, Any]) -> StoredResult:
    run = data["run"]
    beside = baselines.get(_BASELINES + run["experiment"]["dataset"], {"measured": None})
    if beside["measured"] == _measured(data["provenance"], run["identity"]):
        data = {**data, "rows": [*data["rows"], *beside["rows"]]}
    evaluation = replace(Evaluation.from_json(data), terms=unpack_terms(data.get("terms", {})))
    what = Experiment.from_json(run["experiment"])
    protocol = run.get("protocol", EDITION_0_1)
    weights = run.get("weights") or name.partition("-labels-")[0]
    tokens = _unpacked_reports(data["reports"]) if "reports" in data else None
    return StoredResult(name, what, evaluation, data["history"], run, protocol, weights, tokens)


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
    found = [
        name
        for name in dict.fromkeys([*numbers[0], *numbers[1]])
        if not math.isclose(*(n.get(name, math.inf) for n in numbers), abs_tol=tolerance, rel_tol=0)
        and not all(math.isnan(n.get(name, 0.0)) for n in numbers)
    ]
    return found + ["reports"] * (a.provenance["hypotheses"] != b.provenance["hypotheses"])


def table(results: Sequence[StoredResult], *, baselines: bool = True) -> pd.DataFrame:
    """A row a system, the mean over its seeds, then a row for each baseline: scores as text, distinct reports, mean
    length, minutes, number of seeds.

    In brackets, the 95 % bootstrap interval over studies of the mean over seeds, where the terms of each were stored
    (not by edition 0.1). Raises `ConfigurationError` for results that were not measured on the same studies with the
    same labeler: their rows do not belong in one table.
    """
    if len({json.dumps(_measured(r.evaluation.provenance, r.provenance["identity"])) for r in results}) > 1:
        raise ConfigurationError(
            f"{', '.join(r.name for r in results)} were not measured alike; make one table for each kind"
        )
    systems: dict[str, list[StoredResult]] = {}
    for result in results:
        systems.setdefault(result.system, []).append(result)
    rows, words = {}, results[0].evaluation.provenance["references"]["words"] if results else math.nan
    for system, runs in systems.items():
        devices = sorted({run.device for run in runs})
        minutes = [f"{fmean(run.minutes for run in runs if run.device == device):.0f} {device}" for device in devices]
        own = _cells([run.evaluation.rows[0] for run in runs], words, [run.terms for run in runs])
        rows[system] = {**own, "minutes": ", ".join(minutes), "seeds": f"{len(runs)}"}
    for baseline in results[0].evaluation.rows[1:] if results and baselines else ():
        rows[f"{baseline.name}: {baseline.description}"] = {**_cells([baseline], words), "minutes": "–", "seeds": "–"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def summary(
    presets: Sequence[str], profile: str = "laptop", dataset: str = "iu_phantom", protocol: str = "tuned"
) -> pd.DataFrame:
    """The stored results of these presets in this order and protocol, as `table` gives them, without baselines; presets
    that nothing is stored of are absent, and the frame is empty when that is all of them. Only runs with the preset's
    own settings count."""
    found = [r for r in stored(profile, dataset, protocol) if r.experiment.preset in presets and r.is_preset]
    return table(sorted(found, key=lambda r: presets.index(r.experiment.preset)), baselines=False)


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
