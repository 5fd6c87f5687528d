"""Finding-F1: does the report say what is there?

BLEU rewards the sentences that all reports share; this counts the findings. The labeler reads them from a generated report, the experts' MeSH codes
say which are there, and micro-F1 is taken over the 13 drawn findings, the label set `drawn-13`. A report without any finding scores nothing, however
fluent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.statistics import Additive, ratio
from rrg_lib.study import DRAWN_FINDINGS

LABEL_SET = "drawn-13"


@dataclass(frozen=True)
class PRF:
    """Precision, recall and F1 (fractions), and support: how many studies have the finding. All NaN where no study has it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class FindingScores:
    """Agreement on findings: `micro` over all decisions, `macro` the mean over findings that at least one study has, `per_finding` by name.

    `additive` holds "micro" and "macro" F1 for subsets and intervals.
    """

    micro: PRF
    macro: PRF
    per_finding: dict[str, PRF]
    additive: dict[str, Additive]
    label_set: str = LABEL_SET


def finding_f1(predicted: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], labels: Sequence[str] = DRAWN_FINDINGS) -> FindingScores:
    """Precision, recall and F1 of predicted findings (n, 13) against the reference's (n, 13), ones and zeros in the order of `labels`.

    Precision is 0 when nothing is predicted although something is there. Where nothing is there, all three are NaN rather than a 0 that would look
    like a score.

    Raises `AnnotationError` for other shapes, or values other than 0 and 1.
    """
    a, b = np.asarray(predicted, dtype=float), np.asarray(reference, dtype=float)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(labels) or not len(a):
        raise AnnotationError(f"findings must be two arrays of shape (studies, {len(labels)}), not {a.shape} and {b.shape}")
    for name, values in (("predicted", a), ("reference", b)):
        if not np.isin(values, (0, 1)).all():
            raise AnnotationError(f"{name} findings must be 0 or 1, not {values[~np.isin(values, (0, 1))][0]}")
    counts = np.stack([a * b, a * (1 - b), (1 - a) * b], axis=1)  # (n, 3, 13): true positives, false positives, misses
    sums = counts.sum(0)
    support = sums[0] + sums[2]  # (13,)
    scores = _prf(sums)  # (3, 13)
    present = support > 0
    macro = scores[:, present].mean(1) if present.any() else np.full(3, np.nan)
    flat = counts.reshape(len(a), -1)
    width = len(labels)
    return FindingScores(
        micro=PRF(*map(float, _prf(sums.sum(1))), int(support.sum())),
        macro=PRF(*map(float, macro), int(support.sum())),
        per_finding={name: PRF(*map(float, scores[:, i]), int(support[i])) for i, name in enumerate(labels)},
        additive={
            "micro": Additive(counts.sum(2), lambda s: _prf(np.moveaxis(s, -1, 0))[2]),
            "macro": Additive(flat, lambda s: _mean_of_defined(_prf(np.moveaxis(s.reshape(*s.shape[:-1], 3, width), -2, 0))[2])),
        },
    )


def _prf(counts: np.ndarray) -> np.ndarray:
    """(3, ...) precision, recall, F1 of (3, ...) true positives, false positives, misses."""
    hit, false, missed = counts
    scores = np.stack([ratio(hit, hit + false), ratio(hit, hit + missed), ratio(2 * hit, 2 * hit + false + missed)])
    return np.where(hit + missed > 0, scores, np.nan)


def _mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN when nothing is."""
    defined = ~np.isnan(scores)
    return ratio(np.where(defined, scores, 0).sum(-1), defined.sum(-1), nothing=np.nan)
