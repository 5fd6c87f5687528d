"""The one call that measures a set of reports, beside the trivial baselines on the same studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

import numpy as np

from rrg_lib.data.finding_labels import findings_of
from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.keyword_labeler import KeywordLabeler
from rrg_lib.data.text.rule_labeler import ReportLabeler
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.baselines import BASELINES, DEFAULT_BASELINES, Task, all_baselines, kept_hypotheses
from rrg_lib.evaluation.clinical import LABEL_SET, FindingScores, finding_f1
from rrg_lib.evaluation.efficacy import efficacy_numbers
from rrg_lib.evaluation.meteor import require_java, warm_up
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
from rrg_lib.evaluation.score_table import (
    FINDING_F1,
    FINDING_F1_KEYWORDS,
    FINDING_F1_MACRO,
    PARTS,
    SCORES,
    Evaluation,
    Part,
    Row,
    row_from_json,
    without_nan,
)
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
) -> Evaluation:
    """Measures reports (study id -> text) for exactly these studies, beside the trivial baselines on the same studies.

    References are in the vocabulary's protocol. `train` and `val` are what the baselines are made of and chosen on;
    `baselines` may be names, "all", True (the blind three that take seconds) or False. What a baseline scored before is
    found again in the workspace. METEOR is left out only when `metrics` leaves it out, or when Java fails under way;
    the rows then say so. `seed` is the bootstrap's.

    Raises:
        UnknownNameError: an unknown metric or baseline.
        JavaError: METEOR is asked for and no Java works; before anything is scored.
        ReportError: reports missing, too many or given twice; a reference that is empty after cleaning.
        ConfigurationError: baselines without training and validation studies.
    """
    metrics = known_metrics(metrics)
    if "METEOR" in metrics:
        require_java()
        warm_up()
    protocol = vocabulary.protocol
    raw = one_report_each(((study.id, study.report) for study in studies), "reference")
    given = one_report_each(hypotheses, "hypothesis")
    same_studies(raw, given, "hypotheses")
    for study in studies:
        protocol.clean_checked(study.report, study.id)
    task = Task(train, val, studies, vocabulary)
    names = _baseline_names(baselines, task)
    if names and not (train and val):
        raise ConfigurationError(
            "the baselines need the training and validation studies: give train= and val=, or baselines=False"
        )
    judge = _Judge(
        tuple(studies),
        {study.id: protocol.reference(study.report, vocabulary) for study in studies},
        metrics,
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
    ceiling = judge.findings(np.array([labeler.label(study.report) for study in studies])).micro.f1
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


@dataclass
class _Judge:
    """Scores one system after another against the same references; METEOR is asked no more once Java has failed."""

    studies: tuple[Study, ...]
    references: dict[str, str]
    metrics: tuple[str, ...]
    seed: int | None

    def __post_init__(self) -> None:
        self.labeler, self.keywords = ReportLabeler(), KeywordLabeler()
        self.present = [study.drawn for study in self.studies]
        found = findings_of(self.studies)  # of who has no codes, from its report
        self.coded, self.abnormal, self.abnormal_by = found.coded, found.abnormal, found.source
        self.not_computed = {metric: "left out" for metric in METRICS if metric not in self.metrics}

    def findings(self, said: np.ndarray) -> FindingScores:
        """Findings said (n, 13) against the expert codes; a study without any counts as nothing: neither right nor
        wrong can be said of it."""
        return finding_f1(said * self.coded[:, None], self.present)

    def scored(
        self, name: str, description: str, sets: Sequence[dict[str, str]], seeds: Sequence[int] = ()
    ) -> tuple[Row, list[dict[str, Additive]]]:
        """The row of one system, averaged over several sets of reports, and the terms of every score, a dictionary a
        set."""
        scored = [self._additive(reports) for reports in sets]
        common = [score for score in SCORES if all(score in scores for scores, _, _ in scored)]
        parts = {}
        for part, chosen in zip(PARTS, (np.ones_like(self.abnormal), ~self.abnormal, self.abnormal), strict=True):
            texts = [
                [reports[study.id] for study, inside in zip(self.studies, chosen, strict=True) if inside]
                for reports in sets
            ]
            parts[part] = Part(
                n=int(chosen.sum()),
                scores={
                    score: float(np.mean([scores[score].value(chosen) for scores, _, _ in scored])) for score in common
                },
                distinct=float(np.mean([len(set(t)) for t in texts])),
                length=_mean([len(report.split()) for t in texts for report in t]),
                findings_said=_mean([n for _, said, _ in scored for n in said[chosen]]),
            )
        bounds = (
            {score: interval([scores[score] for scores, _, _ in scored], seed=self.seed) for score in common}
            if self.seed is not None
            else {}
        )
        findings = {
            label: {key: float(np.mean([f[label][key] for _, _, f in scored])) for key in scored[0][2][label]}
            for label in DRAWN_FINDINGS
        }
        missing = {metric: self.not_computed[metric] for metric in METRICS if metric not in common}
        read = [efficacy_numbers(reports, self.studies, self.labeler) for reports in sets]
        efficacy = {
            key: {score: float(np.mean([each[key][score] for each in read])) for score in read[0][key]}
            for key in read[0]
        }
        row = Row(name, description, parts, bounds, findings, missing, tuple(seeds), efficacy)
        return row, [{score: scores[score] for score in common} for scores, _, _ in scored]

    def kept_row(self, name: str, description: str, sets: Sequence[dict[str, str]], seeds: Sequence[int]) -> Row:
        """The row of `scored`, from the workspace if the same reports were judged alike before. One that lacks a metric
        because Java failed is not kept."""
        judged = [
            self.metrics,
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
            remembered("baselines", key, make, keep=lambda row: set(row["not_computed"].values()) <= {"left out"}).value
        )

    def _additive(self, reports: dict[str, str]) -> tuple[dict[str, Additive], np.ndarray, dict[str, dict[str, float]]]:
        """Every score of one set of reports as a sum over studies, findings asserted (n,), and the scores of each
        finding."""
        wanted = [metric for metric in self.metrics if metric not in self.not_computed]
        try:
            scores = nlg_scores(self.references, reports, metrics=wanted)
        except MeteorError as error:
            self.not_computed["METEOR"] = str(error)
            scores = error.scores
        said = np.array([self.labeler.label(reports[study.id]) for study in self.studies])
        found = self.findings(said)
        keywords = self.findings(np.array([self.keywords.label(reports[study.id]) for study in self.studies]))
        clinical = {
            FINDING_F1: found.additive["micro"],
            FINDING_F1_KEYWORDS: keywords.additive["micro"],
            FINDING_F1_MACRO: found.additive["macro"],
        }
        return scores.additive | clinical, said.sum(1), {label: asdict(prf) for label, prf in found.per_finding.items()}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan
