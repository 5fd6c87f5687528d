"""BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr, by pycocoevalcap's scorers, on strings split at blanks: as the published
scores were computed.

The released code ships a tokenizer (PTBTokenizer) and never calls it, so neither do we: " . " counts as a word. Each
metric's corpus value comes from its scorer; beside it stand the terms whose sums give it (see `statistics`), for
subsets and intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from rrg_lib.errors import JavaError, ReportError, UnknownNameError
from rrg_lib.evaluation.meteor import meteor, meteor_of
from rrg_lib.evaluation.resampling import Additive, mean_of

BLEU = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
#: Every metric, in the order of the published tables.
METRICS = (*BLEU, "METEOR", "ROUGE-L", "CIDEr")
#: Those that need no Java.
WITHOUT_JAVA = tuple(metric for metric in METRICS if metric != "METEOR")

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
    are *in these references*, so its values compare only between systems scored on the same studies.

    Raises:
        UnknownNameError: a metric that is not of `METRICS`. ReportError: an id twice, missing or too many; an empty
        reference; no study at all; a report that is not a string. JavaError: no Java, before anything is scored.
        MeteorError: Java failed under way; its `.scores` keep the rest.
    """
    metrics = known_metrics(metrics)
    references, hypotheses = one_report_each(references, "reference"), one_report_each(hypotheses, "hypothesis")
    same_studies(references, hypotheses, "hypotheses")
    if empty := [study for study, report in references.items() if not report]:
        raise ReportError(f"{named(empty)}: the reference is empty, so no score is defined. Leave the study out.")
    ids = tuple(references)
    wanted, got = [references[study] for study in ids], [hypotheses[study] for study in ids]
    found: dict[str, tuple[float, Sequence[float], Additive]] = {}
    failure = None
    with ThreadPoolExecutor(1) as beside:  # Java works while Python does
        java = beside.submit(meteor().score, wanted, got) if "METEOR" in metrics else None
        if set(metrics) & set(BLEU):
            corpus, each, terms = _bleu(wanted, got)
            found |= {
                metric: (corpus[n], each[n], additive)
                for n, (metric, additive) in enumerate(bleu_additive(terms).items())
            }
        as_released = (
            {study: [report] for study, report in references.items()},
            {study: [hypotheses[study]] for study in ids},
        )
        for metric, scorer in (("ROUGE-L", Rouge), ("CIDEr", Cider)):
            if metric in metrics:
                corpus, each = scorer().compute_score(*as_released)
                found[metric] = corpus, each, mean_of(each)
        if java is not None:
            try:
                corpus, each, terms = java.result()
                found["METEOR"] = corpus, each, Additive(terms, meteor_of)
            except JavaError as error:
                failure = error
    present = [metric for metric in metrics if metric in found]
    scores = NLGScores(
        ids,
        corpus={metric: float(found[metric][0]) for metric in present},
        per_study={metric: np.asarray(found[metric][1], dtype=float) for metric in present} if per_study else {},
        additive={metric: found[metric][2] for metric in present},
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
    found: dict[str, str] = {}
    twice = []
    for study, report in reports.items() if isinstance(reports, Mapping) else reports:
        if not isinstance(report, str):
            raise ReportError(
                f"study {study!r}: the {kind} must be a string, not {type(report).__name__} {str(report)[:60]!r}"
            )
        if study in found:
            twice.append(study)
        found[study] = " ".join(report.split())
    if twice:
        raise ReportError(f"{named(twice)}: more than one {kind}. Give each study one.")
    return found


def same_studies(expected: Iterable[str], given: Iterable[str], kind: str) -> None:
    """Raises `ReportError` naming the first ids that are missing or too many, and when there is no study at all."""
    expected, given = dict.fromkeys(expected), dict.fromkeys(given)
    if not expected:
        raise ReportError("no study to score: the references are empty")
    missing, extra = [i for i in expected if i not in given], [i for i in given if i not in expected]
    faults = [
        f"{len(ids)} {what} ({named(ids)})"
        for what, ids in (("missing", missing), ("not among the studies", extra))
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


def _bleu(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[Sequence[float], Sequence[Sequence[float]], np.ndarray]:
    """Corpus values (4), per-study values (4, n), and terms (n, 10): lengths of hypothesis and reference, n-grams in
    common, n-grams."""
    scorer = BleuScorer(n=4)
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        scorer += (hypothesis, [reference])
    corpus, each = scorer.compute_score(option="closest", verbose=0)
    terms = [[counts["testlen"], counts["reflen"][0], *counts["correct"], *counts["guess"]] for counts in scorer.ctest]
    return corpus, each, np.array(terms, dtype=float)


def bleu_of(sums: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4 (..., 4) of summed terms (..., 10) (see `_bleu`), with the scorer's own small constants."""
    small, tiny = 1e-9, 1e-15
    precision = (sums[..., 2:6] + tiny) / (sums[..., 6:10] + small)
    brevity = (sums[..., :1] + tiny) / (sums[..., 1:2] + small)
    return np.cumprod(precision, -1) ** (1 / np.arange(1, 5)) * np.exp(np.minimum(1 - 1 / brevity, 0))


def bleu_additive(terms: np.ndarray) -> dict[str, Additive]:
    """BLEU-1 to BLEU-4 of the terms (n, 10) of n studies (see `_bleu`)."""
    return {metric: Additive(terms, _bleu_of(n)) for n, metric in enumerate(BLEU)}


def _bleu_of(n: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sums: bleu_of(sums)[..., n]
