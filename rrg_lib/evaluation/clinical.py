"""Finding-F1: does the report say what is there?

BLEU rewards the sentences that all reports share; this counts the findings. A labeler reads them from a generated
report, the experts' MeSH codes (or the labels of the reference report, as in the papers) say which are there, and
precision, recall and F1 are taken over a *label set* that every result names: `drawn-13`, `CheXpert-14`, or
`CheXpert-13`, which leaves "No Finding" out because always saying it scores high over 14 and nothing over 13. A report
without any finding scores nothing, however fluent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS
from rrg_lib.errors import AnnotationError, UnknownNameError
from rrg_lib.evaluation.resampling import Additive, ratio

LABEL_SET = "drawn-13"
#: What the scores are taken over, by the name that every result carries.
LABEL_SETS: dict[str, tuple[str, ...]] = {
    LABEL_SET: DRAWN_FINDINGS,
    "CheXpert-14": OBSERVATIONS,
    "CheXpert-13": OBSERVATIONS[1:],
}
Uncertain = Literal["positive", "negative"]
#: Both published ways to count an uncertain label: R2Gen's script counts it as negative, ORGan's as positive. Scores
#: differ by this alone.
UNCERTAIN: tuple[Uncertain, ...] = ("negative", "positive")
#: The answers of a labeler, in the order of the columns of `confusion`.
ANSWERS = ("positive", "uncertain", "negative", "blank")


@dataclass(frozen=True)
class PRF:
    """Precision, recall and F1 (fractions), and support: how many studies have the finding. All NaN where no study has
    it."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, eq=False)
class FindingScores:
    """Agreement on findings: `micro` over all decisions, `macro` the mean over findings that at least one study has,
    `per_finding` by name.

    `additive` holds "micro" and "macro" F1 for subsets and intervals. `label_set` says over what, `uncertain` what an
    uncertain label counted as (None where the labels knew none).
    """

    micro: PRF
    macro: PRF
    per_finding: dict[str, PRF]
    additive: dict[str, Additive]
    label_set: str = LABEL_SET
    uncertain: Uncertain | None = None


def finding_f1(
    predicted: Sequence[Sequence[int]], reference: Sequence[Sequence[int]], names: Sequence[str] = DRAWN_FINDINGS
) -> FindingScores:
    """Precision, recall and F1 of predicted findings (n, 13) against the reference's (n, 13), ones and zeros in the
    order of `names`.

    Precision is 0 when nothing is predicted although something is there. Where nothing is there, all three are NaN
    rather than a 0 that would look like a score.

    Raises `AnnotationError` for other shapes, or values other than 0 and 1.
    """
    a, b = np.asarray(predicted, dtype=float), np.asarray(reference, dtype=float)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(names) or not len(a):
        raise AnnotationError(
            f"findings must be two arrays of shape (studies, {len(names)}), not {a.shape} and {b.shape}"
        )
    for whose, values in (("predicted", a), ("reference", b)):
        if not np.isin(values, (0, 1)).all():
            raise AnnotationError(f"{whose} findings must be 0 or 1, not {values[~np.isin(values, (0, 1))][0]}")
    counts = np.stack([a * b, a * (1 - b), (1 - a) * b], axis=1)  # (n, 3, 13): true positives, false positives, misses
    sums = counts.sum(0)
    support = sums[0] + sums[2]  # (13,)
    scores = _prf(sums)  # (3, 13)
    present = support > 0
    macro = scores[:, present].mean(1) if present.any() else np.full(3, np.nan)
    flat = counts.reshape(len(a), -1)  # (n, 3 * 13)
    return FindingScores(
        micro=PRF(*map(float, _prf(sums.sum(1))), int(support.sum())),
        macro=PRF(*map(float, macro), int(support.sum())),
        per_finding={name: PRF(*map(float, scores[:, i]), int(support[i])) for i, name in enumerate(names)},
        additive={
            "micro": Additive(counts.sum(2), f1_of_counts),
            "macro": Additive(flat, macro_f1_of_counts),
        },
    )


def label_set(name: str) -> tuple[str, ...]:
    """The labels of a set. Raises `UnknownNameError` with the names there are."""
    if name not in LABEL_SETS:
        raise UnknownNameError("label set", name, LABEL_SETS)
    return LABEL_SETS[name]


def counted(answers: Sequence[Sequence[float]], uncertain: Uncertain) -> np.ndarray:
    """(n, k) zeros and ones of answers that are 1 positive, 0 negative, -1 uncertain or NaN blank; blank counts as
    negative.

    Raises `AnnotationError` for another value, `UnknownNameError` for another treatment.
    """
    if uncertain not in UNCERTAIN:
        raise UnknownNameError("treatment of uncertain labels", uncertain, UNCERTAIN)
    answers = np.asarray(answers, dtype=float)
    if wrong := sorted(set(answers[~(np.isnan(answers) | np.isin(answers, (1, 0, -1)))].tolist())):
        raise AnnotationError(f"a label is 1 (positive), 0 (negative), -1 (uncertain) or NaN (blank), not {wrong[0]:g}")
    return ((answers == 1) | ((answers == -1) & (uncertain == "positive"))).astype(int)


def clinical_scores(
    predicted: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
    over: str = "CheXpert-14",
    *,
    uncertain: Uncertain = "negative",
) -> FindingScores:
    """Precision, recall and F1 between two sets of labels with four answers, over a named label set.

    Args:
        predicted, reference: (n, 13) in the order of `DRAWN_FINDINGS` for drawn-13, else (n, 14) in that of
            `OBSERVATIONS`; 1 positive, 0 negative, -1 uncertain, NaN blank. Expert codes are such labels without an
            uncertain one.
        over: a name of `LABEL_SETS`. CheXpert-13 takes the same 14 columns and leaves "No Finding" out.
        uncertain: what -1 counts as, in both.

    Raises `AnnotationError` for other shapes or values, `UnknownNameError` for another label set or treatment.
    """
    names = label_set(over)
    a, b = counted(predicted, uncertain), counted(reference, uncertain)
    width = len(OBSERVATIONS) if names == OBSERVATIONS[-len(names) :] else len(names)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != width or b.shape[1] != width:
        raise AnnotationError(
            f"labels of {over} must be two arrays of shape (studies, {width}), not {a.shape} and {b.shape}"
        )
    columns = slice(width - len(names), None)
    return replace(finding_f1(a[:, columns], b[:, columns], names), label_set=over, uncertain=uncertain)


def confusion(
    answers: Sequence[Sequence[float]], present: Sequence[Sequence[int]], names: Sequence[str]
) -> pd.DataFrame:
    """How often each answer was given where the finding is there and where it is not: a row a label, columns (there |
    not there) x `ANSWERS`.

    `answers` is (n, k) with the four values of `counted`, `present` (n, k) ones and zeros.
    """
    a, b = np.asarray(answers, dtype=float), np.asarray(present)
    counted(a, "negative")  # refuses other values
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != len(names):
        raise AnnotationError(
            f"answers and truth must be two arrays of shape (studies, {len(names)}), not {a.shape} and {b.shape}"
        )
    is_answer = np.stack([a == 1, a == -1, a == 0, np.isnan(a)])  # (4, n, k)
    table = {
        (truth, answer): (is_answer[i] & (b == value)).sum(0)
        for truth, value in (("there", 1), ("not there", 0))
        for i, answer in enumerate(ANSWERS)
    }
    return pd.DataFrame(table, index=list(names))


def f1_of_counts(sums: np.ndarray) -> np.ndarray:
    """Micro-F1 (...) of summed true positives, false positives and misses (..., 3); NaN where nothing was there to
    find."""
    return _prf(np.moveaxis(sums, -1, 0))[2]


def macro_f1_of_counts(sums: np.ndarray) -> np.ndarray:
    """Mean F1 (...) over the findings that are there, of summed counts (..., 3 * findings) in the order of
    `f1_of_counts`, a finding's beside each other."""
    return _mean_of_defined(_prf(np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0))[2])


def _prf(counts: np.ndarray) -> np.ndarray:
    """(3, ...) precision, recall, F1 of (3, ...) true positives, false positives, misses."""
    hit, false, missed = counts
    scores = np.stack([ratio(hit, hit + false), ratio(hit, hit + missed), ratio(2 * hit, 2 * hit + false + missed)])
    return np.where(hit + missed > 0, scores, np.nan)


def _mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN when nothing is."""
    defined = ~np.isnan(scores)
    return ratio(np.where(defined, scores, 0).sum(-1), defined.sum(-1), nothing=np.nan)
