"""The one call that measures a set of reports, beside the trivial baselines on the same studies; and the baselines
alone, with the minutes they take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Literal, NamedTuple

import numpy as np

from rrg_lib.data.finding_labels import findings_of
from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.baselines import (
    BASELINES,
    DEFAULT_BASELINES,
    Task,
    all_baselines,
    baseline_hypotheses,
    kept_hypotheses,
)
from rrg_lib.evaluation.clinical import LABEL_SET
from rrg_lib.evaluation.constant_reports import constant_bleu
from rrg_lib.evaluation.efficacy import efficacy_numbers
from rrg_lib.evaluation.meteor import require_java, warm_up
from rrg_lib.evaluation.metrics import FINDING_F1, FINDING_F1_KEYWORDS, REGISTRY, SCORES, FindingMetric, Pairs
from rrg_lib.evaluation.nlg import (
    METRICS,
    MeteorError,
    Reports,
    known_metrics,
    nlg_scores,
    one_report_each,
    same_studies,
)
from rrg_lib.evaluation.resampling import LEVEL, RESAMPLES, Additive, interval
from rrg_lib.evaluation.score_table import LEFT_OUT, PARTS, Evaluation, Part, Row, row_from_json, without_nan
from rrg_lib.runtime.cache import remembered
from rrg_lib.runtime.hashing import content_hash

#: Raised when a row means something else than before, so that no kept one is taken for it.
ROW_VERSION = 3


def evaluate_reports(
    hypotheses: Reports,
    studies: Sequence[Study],
    vocabulary: Vocabulary,
    *,
    train: Sequence[Study] = (),
    val: Sequence[Study] = (),
    metrics: Sequence[str] = METRICS,
    baselines: bool | Literal["all"] | Sequence[str] = True,
    intervals: bool = True,
    seed: int = 0,
    name: str = "model",
    seen: Mapping[str, Sequence[int]] | None = None,
) -> Evaluation:
    """Measures reports (study id -> text) for exactly these studies, beside the trivial baselines on the same studies.

    References are in the vocabulary's protocol. `train` and `val` are what the baselines are made of and chosen on;
    `baselines` may be names, "all", True (the blind three that take seconds) or False. What a baseline scored before is
    found again in the workspace. METEOR is left out only when `metrics` leaves it out, or when Java fails under way;
    the rows then say so. `seed` is the bootstrap's. `seen` is what a classifier sees in the images (`Task.seen`), for
    the baseline that is told.

    Raises:
        UnknownNameError: an unknown metric or baseline.
        JavaError: METEOR is asked for and no Java works; before anything is scored.
        ReportError: reports missing, too many or given twice; a reference that is empty after cleaning.
        ConfigurationError: baselines without training and validation studies.
    """
    metrics = known_metrics(metrics)
    if any(REGISTRY[metric].needs_java for metric in metrics):
        require_java()
        warm_up()
    protocol = vocabulary.protocol
    raw = one_report_each(((study.id, study.report) for study in studies), "reference")
    given = one_report_each(hypotheses, "hypothesis")
    same_studies(raw, given, "hypotheses")
    for study in studies:
        protocol.clean_checked(study.report, study.id)
    task = Task(train, val, studies, vocabulary, seen)
    names = _baseline_names(baselines, task)
    if names and not (train and val):
        raise ConfigurationError(
            "the baselines need the training and validation studies: give train= and val=, or baselines=False"
        )
    judge = _Judge(
        tuple(studies),
        {study.id: protocol.reference(study.report, vocabulary) for study in studies},
        metrics,
        tuple(name for name, metric in REGISTRY.items() if metric.needs_codes),
        seed if intervals else None,
    )
    written = {
        b: [kept_hypotheses(b, task, seed=s).value for s in (BASELINES[b].seeds if b in BASELINES else (0,))]
        for b in names
    }
    row, terms = judge.scored(name, "the reports given", [given])
    rows = [row]
    rows += [judge.kept_row(b, BASELINES[b].description, sets, BASELINES[b].seeds) for b, sets in written.items()]
    labeler = judge.labeler
    uncut = Pairs([*judge.references.values()], [study.report for study in studies], studies)
    ceiling = REGISTRY[FINDING_F1].score(uncut).corpus
    provenance = {
        "protocol": {"name": protocol.name, "hash": protocol.hash},
        "vocabulary": vocabulary.hash,
        "studies": {
            "splits": sorted({study.split for study in studies}),
            "n": len(studies),
            "hash": content_hash(list(raw)),
        },
        "references": {"words": _mean([len(reference.split()) for reference in judge.references.values()])},
        "hypotheses": content_hash(sorted(given.items())),
        "train": content_hash([study.id for study in train]) if train else None,
        "val": content_hash([study.id for study in val]) if val else None,
        "label_set": LABEL_SET,
        "labels": list(DRAWN_FINDINGS),
        "labeler": {"version": labeler.version, "hash": labeler.hash, "uncertain": "positive"},
        **({} if judge.coded.all() else {"abnormal": judge.abnormal_by, "coded": int(judge.coded.sum())}),
        "keywords": {"version": judge.keywords.version, "hash": judge.keywords.hash},
        "efficacy": {"labeler": {"version": labeler.version, "hash": labeler.hash}},
        "scorers": {"pycocoevalcap": version("pycocoevalcap"), "METEOR": "1.5"},
        "bootstrap": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed} if intervals else None,
    }
    return Evaluation(tuple(rows), ceiling, provenance, terms[0])


def _baseline_names(asked: bool | str | Sequence[str], task: Task) -> tuple[str, ...]:
    if isinstance(asked, bool):
        return DEFAULT_BASELINES if asked else ()
    return all_baselines(task) if asked == "all" else (asked,) if isinstance(asked, str) else tuple(asked)


class _System(NamedTuple):
    """The scores of one set of reports: those of the corpus, as sums over studies where a metric is one, findings
    asserted (n,), and the scores of each finding."""

    corpus: dict[str, float]
    additive: dict[str, Additive]
    asserted: np.ndarray
    findings: dict[str, dict[str, float]]

    @property
    def names(self) -> set[str]:
        return {*self.corpus, *self.additive}

    def value(self, score: str, chosen: np.ndarray) -> float:
        """A score on some of the studies, (n,) bool; NaN for what is no sum over studies, but on all of them."""
        if score in self.additive:
            return self.additive[score].value(chosen)
        return self.corpus[score] if chosen.all() else math.nan


@dataclass
class _Judge:
    """Scores one system after another against the same references; METEOR is asked no more once Java has failed."""

    studies: tuple[Study, ...]
    references: dict[str, str]
    metrics: tuple[str, ...]
    of_codes: tuple[str, ...]
    seed: int | None

    def __post_init__(self) -> None:
        self.reader: FindingMetric = REGISTRY[FINDING_F1]
        self.labeler, self.keywords = self.reader.labeler, REGISTRY[FINDING_F1_KEYWORDS].labeler
        self.present = [study.drawn for study in self.studies]
        labels = findings_of(self.studies)  # of who has no codes, from its report
        self.coded, self.abnormal, self.abnormal_by = labels.coded, labels.abnormal, labels.source
        self.not_computed = {metric: LEFT_OUT for metric in METRICS if metric not in self.metrics}

    def scored(
        self, name: str, description: str, sets: Sequence[dict[str, str]], seeds: Sequence[int] = ()
    ) -> tuple[Row, list[dict[str, Additive]]]:
        """The row of one system, averaged over several sets of reports, and the terms of every score, a dictionary a
        set."""
        systems = [self._system(reports) for reports in sets]
        common = [score for score in SCORES if all(score in system.names for system in systems)]
        parts = {}
        for part, chosen in zip(PARTS, (np.ones_like(self.abnormal), ~self.abnormal, self.abnormal), strict=True):
            texts = [
                [reports[study.id] for study, inside in zip(self.studies, chosen, strict=True) if inside]
                for reports in sets
            ]
            parts[part] = Part(
                n=int(chosen.sum()),
                scores={score: float(np.mean([system.value(score, chosen) for system in systems])) for score in common},
                distinct=float(np.mean([len(set(t)) for t in texts])),
                length=_mean([len(report.split()) for t in texts for report in t]),
                findings_said=_mean([n for system in systems for n in system.asserted[chosen]]),
            )
        sums = [score for score in common if all(score in system.additive for system in systems)]
        bounds = (
            {score: interval([system.additive[score] for system in systems], seed=self.seed) for score in sums}
            if self.seed is not None
            else {}
        )
        findings = {
            label: {key: float(np.mean([system.findings[label][key] for system in systems])) for key in first}
            for label, first in systems[0].findings.items()
        }
        missing = {metric: self.not_computed[metric] for metric in METRICS if metric not in common}
        read = [efficacy_numbers(reports, self.studies, self.labeler) for reports in sets]
        efficacy = {
            key: {score: float(np.mean([each[key][score] for each in read])) for score in read[0][key]}
            for key in read[0]
        }
        row = Row(name, description, parts, bounds, findings, missing, tuple(seeds), efficacy)
        return row, [{score: system.additive[score] for score in sums} for system in systems]

    def kept_row(self, name: str, description: str, sets: Sequence[dict[str, str]], seeds: Sequence[int]) -> Row:
        """The row of `scored`, from the workspace if the same reports were judged alike before. One that lacks a metric
        because Java failed is not kept."""
        judged = [
            [*self.metrics, *self.of_codes],
            self.seed,
            LEVEL,
            RESAMPLES,
            self.labeler.hash,
            self.keywords.hash,
            version("pycocoevalcap"),
            ROW_VERSION,
        ]
        key = [
            "row",
            name,
            description,
            seeds,
            judged,
            [
                [[s.id, s.report, s.observations] for s in self.studies],
                [*self.references.items()],
                self.present,
                [[*reports.items()] for reports in sets],
                *([] if self.coded.all() else [self.coded.tolist()]),
            ],
        ]
        make = lambda: without_nan(asdict(self.scored(name, description, sets, seeds)[0]))  # noqa: E731
        return row_from_json(
            remembered("baselines", key, make, keep=lambda row: set(row["not_computed"].values()) <= {LEFT_OUT}).value
        )

    def _system(self, reports: dict[str, str]) -> _System:
        wanted = [metric for metric in self.metrics if metric not in self.not_computed]
        try:
            scores = nlg_scores(self.references, reports, metrics=wanted)
        except MeteorError as error:
            scores = error.scores
            self.not_computed |= {metric: str(error) for metric in wanted if metric not in scores.corpus}
        ids = [study.id for study in self.studies]
        pairs = Pairs([self.references[study] for study in ids], [reports[study] for study in ids], self.studies)
        of_codes = {name: REGISTRY[name].score(pairs) for name in self.of_codes}
        return _System(
            scores.corpus | {name: score.corpus for name, score in of_codes.items()},
            scores.additive | {name: score.additive for name, score in of_codes.items() if score.additive is not None},
            self.reader.asserted(pairs).sum(1),
            {label: asdict(prf) for label, prf in self.reader.scores(pairs).per_finding.items()},
        )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


# --- the baselines alone ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BaselineTable:
    """`evaluation` has a row for each baseline and no system. `seconds` is what writing their reports took when they
    were written, all seeds together; `val_bleu_4` what the constant ones reach on the validation studies, where they
    were chosen."""

    evaluation: Evaluation
    seconds: dict[str, float]
    val_bleu_4: dict[str, float]

    def markdown(self) -> str:
        """The tables of the evaluation, then how each row was made."""
        lines = ["How the rows were made:", ""]
        for name, seconds in self.seconds.items():
            chosen = (
                f", BLEU-4 {self.val_bleu_4[name]:.4f} on the validation studies" if name in self.val_bleu_4 else ""
            )
            lines.append(f"- **{name}** sees {SEEN[BASELINES[name].sees]}; {seconds / 60:.2f} minutes to write{chosen}")
        return self.evaluation.markdown() + "\n" + "\n".join(lines) + "\n"


#: How the table says what a baseline is told.
SEEN = {
    "nothing": "nothing of the study",
    "labels": "the study's expert labels",
    "report": "the reference itself",
    "images": "what a classifier sees in the study's images",
}


def evaluate_baselines(
    task: Task,
    *,
    names: Literal["all"] | Sequence[str] = "all",
    metrics: Sequence[str] = METRICS,
    intervals: bool = True,
) -> BaselineTable:
    """Scores of the baselines on `task.studies`. What was made before is found again, its seconds too. Raises as
    `evaluate_reports` does."""
    # an evaluation is of a system: the cheapest baseline stands in for it, and its row is dropped
    given = baseline_hypotheses("b", task)
    beside = evaluate_reports(
        given,
        task.studies,
        task.vocabulary,
        train=task.train,
        val=task.val,
        metrics=metrics,
        baselines=names,
        intervals=intervals,
        seen=task.seen,
    )
    evaluation = replace(beside, rows=beside.rows[1:])
    seconds, on_val = {}, {}
    for row in evaluation.rows:
        kept = [kept_hypotheses(row.name, task, seed=seed) for seed in BASELINES[row.name].seeds]
        seconds[row.name] = sum(each.seconds for each in kept)
        if len(written := set(kept[0].value.values())) == 1 and BASELINES[row.name].sees == "nothing":
            on_val[row.name] = float(constant_bleu([*written], task.val_references)[0, 3])
    return BaselineTable(evaluation, seconds, on_val)
