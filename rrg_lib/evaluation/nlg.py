"""BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr, by pycocoevalcap's scorers, on strings split at blanks: as the published
scores were computed. And whatever other metric of the texts alone is registered (`rrg_lib.evaluation.metrics`).

The released code ships a tokenizer (PTBTokenizer) and never calls it, so neither do we: " . " counts as a word. Each
metric's corpus value comes from its scorer; beside it stand the terms whose sums give it (see `resampling`), for
subsets and intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from rrg_lib.errors import JavaError, ReportError, UnknownNameError
from rrg_lib.evaluation.meteor import meteor
from rrg_lib.evaluation.metrics import REGISTRY, MetricNames, Pairs, Score
from rrg_lib.evaluation.resampling import Additive

BLEU = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
#: Every metric that compares texts, in the order of the published tables.
METRICS = MetricNames(lambda metric: not metric.needs_codes)
#: Those that need no Java.
WITHOUT_JAVA = MetricNames(lambda metric: not metric.needs_codes and not metric.needs_java)

Reports = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class NLGScores:
    """Scores of one set of hypotheses; metrics that were not asked for are absent.

    `corpus` holds what is published (CIDEr lies between 0 and 10, the others between 0 and 1); `per_study` arrays (n,)
    in the order of `ids`, empty unless asked for. BLEU and METEOR of a corpus are not the means of their per-study
    values; ROUGE-L and CIDEr are. `additive` gives any subset's.
    """

    ids: tuple[str, ...]
    corpus: dict[str, float] = field(default_factory=dict)
    per_study: dict[str, np.ndarray] = field(default_factory=dict)
    additive: dict[str, Additive] = field(default_factory=dict, repr=False)


class MeteorError(JavaError):
    """Java failed under way. `scores` holds every other metric that was asked for."""

    def __init__(self, message: str, scores: NLGScores):
        super().__init__(message)
        self.scores = scores


def nlg_scores(
    references: Reports, hypotheses: Reports, *, metrics: Sequence[str] = METRICS, per_study: bool = False
) -> NLGScores:
    """Scores of hypotheses against one reference each; both map a study id to a report (or are pairs of them), in any
    order.

    Newlines and repeated blanks count as one blank. An empty hypothesis scores 0. CIDEr weighs n-grams by how rare they
    are *in these references*, so its values compare only between systems scored on the same studies; where all
    references are alike it is not defined (NaN, without terms).

    Raises:
        UnknownNameError: a metric that is not of `METRICS`.
        ReportError: an id twice, missing or too many; an empty reference; no study at all; a report that is not a
            string.
        JavaError: no Java, before anything is scored.
        MeteorError: Java failed under way; its `.scores` keep the rest.
    """
    metrics = known_metrics(metrics)
    references, hypotheses = one_report_each(references, "reference"), one_report_each(hypotheses, "hypothesis")
    same_studies(references, hypotheses, "hypotheses")
    if empty := [study for study, report in references.items() if not report]:
        raise ReportError(f"{named(empty)}: the reference is empty, so no score is defined. Leave the study out.")
    ids = tuple(references)
    pairs = Pairs([references[study] for study in ids], [hypotheses[study] for study in ids])
    computed: dict[str, Score] = {}
    failure = None
    java = [name for name in metrics if REGISTRY[name].needs_java]
    if java:
        meteor()  # raises here, before anything is scored
    with ThreadPoolExecutor(1) as beside:  # Java works while Python does
        running = {name: beside.submit(REGISTRY[name].score, pairs) for name in java}
        computed |= {name: REGISTRY[name].score(pairs) for name in metrics if name not in running}
        for name, answer in running.items():
            try:
                computed[name] = answer.result()
            except JavaError as error:
                failure = error
    present = {name: computed[name] for name in metrics if name in computed}
    scores = NLGScores(
        ids,
        corpus={name: float(score.corpus) for name, score in present.items()},
        per_study={name: score.per_study for name, score in present.items() if score.per_study is not None}
        if per_study
        else {},
        additive={name: score.additive for name, score in present.items() if score.additive is not None},
    )
    if failure is not None:
        raise MeteorError(str(failure), scores) from failure
    return scores


def known_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    """The metrics, in the order of `METRICS`. Raises `UnknownNameError` with the nearest names."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    for metric in metrics:
        if metric not in METRICS:
            raise UnknownNameError("metric", metric, METRICS)
    return tuple(metric for metric in METRICS if metric in metrics)


def one_report_each(reports: Reports, kind: str) -> dict[str, str]:
    """Reports by study id, words separated by single blanks. Raises `ReportError` for an id given twice, or a report
    that is not a string."""
    by_study: dict[str, str] = {}
    twice = []
    for study, report in reports.items() if isinstance(reports, Mapping) else reports:
        if not isinstance(report, str):
            raise ReportError(
                f"study {study!r}: the {kind} must be a string, not {type(report).__name__} {str(report)[:60]!r}"
            )
        if study in by_study:
            twice.append(study)
        by_study[study] = " ".join(report.split())
    if twice:
        raise ReportError(f"{named(twice)}: more than one {kind}. Give each study one.")
    return by_study


def same_studies(expected: Iterable[str], given: Iterable[str], kind: str) -> None:
    """Raises `ReportError` naming the first ids that are missing or too many, and when there is no study at all."""
    expected, given = dict.fromkeys(expected), dict.fromkeys(given)
    if not expected:
        raise ReportError("no study to score: the references are empty")
    missing, extra = [i for i in expected if i not in given], [i for i in given if i not in expected]
    faults = [
        f"{len(ids)} {fault} ({named(ids)})"
        for fault, ids in (("missing", missing), ("not among the studies", extra))
        if ids
    ]
    if faults:
        raise ReportError(
            f"the {kind} must be of exactly the {len(expected)} studies that are scored: {' and '.join(faults)}"
        )


def named(ids: Sequence[str], most: int = 3) -> str:
    """The first few ids, for a message."""
    return (
        ("study " if len(ids) == 1 else "studies ")
        + ", ".join(map(repr, ids[:most]))
        + (", …" if len(ids) > most else "")
    )
