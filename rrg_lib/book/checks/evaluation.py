"""The checks of chapter 09's exercises. An answer is run on small texts and arrays of ours, compared with the library,
then with the usual mistakes. `evaluation_texts` has those that need no array.

Long because chapter 09 has nine exercises, and the usual mistakes of each are worked out beside it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import numpy as np
import pandas as pd

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import compare_explanations, compare_number, explanation, number
from rrg_lib.book.checks.evaluation_texts import brevity_penalty as brevity_penalty
from rrg_lib.book.checks.evaluation_texts import clipped_matches as clipped_matches
from rrg_lib.book.checks.evaluation_texts import denied as denied
from rrg_lib.book.checks.evaluation_texts import lengthened, ngram_counts
from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.evaluation.clinical import clinical_scores, finding_f1
from rrg_lib.evaluation.conventions import AVERAGES, CHOICES, EMPTY_ROWS, SETS, UNCERTAIN_AS
from rrg_lib.evaluation.nlg import nlg_scores
from rrg_lib.evaluation.resampling import Additive, interval, ratio

# --- Exercise 9.3 -----------------------------------------------------------------------------------------------------

#: References and hypotheses, written for the check; every hypothesis shares a run of four words with its reference, so
#: that every slip has a value.
TEXTS = (
    (
        "the heart is normal in size . the lungs are clear . no pleural effusion .",
        "the heart is normal in size . no effusion . no effusion .",
    ),
    (
        "there is a small effusion on the left . heart size is normal .",
        "there is a small effusion . heart size is large . no effusion .",
    ),
    (
        "no acute disease in the chest .",
        "no acute disease in the lungs or the pleura . the heart is normal . the spine is straight .",
    ),
)
#: Three words in a row are right, never four.
NO_RUN_OF_FOUR = [
    "the heart is normal in size . no effusion .",
    "the heart is large . lungs are clear .",
]  # reference, hypothesis
#: The same three, the short one and the two others: a corpus that is too short, one that is too long.
CORPORA = ((0, 1, 2), (0, 1), (2,), (1, 2))


def corpus_bleu(answer: Callable[[Sequence[str], Sequence[str], int], float], *, other: int = 0) -> None:
    """`answer(references, hypotheses, n)` is BLEU-n of the corpus: sums first, then one precision a length, their
    geometric mean, one brevity penalty."""
    for chosen in CORPORA:
        references, hypotheses = zip(*(lengthened(TEXTS[i], other) for i in chosen), strict=True)
        for n in (4, 2, 1):
            right = _library_bleu(references, hypotheses, n)
            bleu = number("corpus_bleu", answer, list(references), list(hypotheses), n)
            compare_number(
                "corpus_bleu",
                bleu,
                right,
                _bleu_slips(references, hypotheses, n),
                f"BLEU-{n} of {len(chosen)} reports",
            )
    bleu = number("corpus_bleu", answer, NO_RUN_OF_FOUR[:1], NO_RUN_OF_FOUR[1:], 4)
    if abs(bleu) > 0.01:
        raise CheckError(
            f"corpus_bleu: no run of 4 words is right, so one factor of the product is 0 and BLEU-4 with it, not "
            f"{bleu:.3f}; leave none out"
        )


def _library_bleu(references: Sequence[str], hypotheses: Sequence[str], n: int) -> float:
    pairs = (dict(enumerate(references)), dict(enumerate(hypotheses)))
    return nlg_scores(*pairs, metrics=[f"BLEU-{n}"]).corpus[f"BLEU-{n}"]


def _bleu_slips(references: Sequence[str], hypotheses: Sequence[str], n: int) -> dict[str, float]:
    pairs = list(zip(references, hypotheses, strict=True))
    counted = np.array(
        [[_counts(r, h, k) for k in range(1, n + 1)] for r, h in pairs], dtype=float
    )  # (pairs, n, [clipped, unclipped, n-grams])
    clipped, unclipped, total = np.moveaxis(counted.sum(0), -1, 0)  # (n,) each
    lengths = [(len(h.split()), len(r.split())) for r, h in pairs]
    c, r = map(sum, zip(*lengths, strict=True))
    brevity = min(1.0, math.exp(1 - r / c))
    each = [min(1.0, math.exp(1 - b / a)) for a, b in lengths]
    precision, geometric = clipped / total, float(np.prod(clipped / total) ** (1 / n))
    by_pair = (counted[..., 0] / counted[..., 2]).mean(0)  # (n,)
    return {
        "that is the mean of the reports' own BLEUs: add up the counts of all reports first, then take one "
        "score": float(np.mean([_library_bleu([a], [b], n) for a, b in pairs])),
        "the brevity penalty is missing": geometric,
        "the brevity penalty is a mean over reports: it compares the lengths of the whole corpus, once": geometric
        * float(np.mean(each)),
        "the precisions are averaged over reports: divide all matches by all n-grams": brevity
        * float(np.prod(by_pair) ** (1 / n)),
        "you took the ordinary mean of the precisions: it is the geometric one, the n-th root of their product": brevity
        * float(precision.mean()),
        "the root is missing: the n-th root of the product of n precisions": brevity * float(np.prod(precision)),
        f"only the runs of {n} words are counted: BLEU-{n} takes all lengths from 1 to {n}": brevity
        * float(precision[-1]),
        f"that is BLEU-4, whatever is asked for: take the lengths from 1 to n, here {n}": _library_bleu(
            references, hypotheses, 4
        ),
        "the matches are not clipped": brevity * float(np.prod(unclipped / total) ** (1 / n)),
        "references and hypotheses are swapped": _library_bleu(hypotheses, references, n),
    }


def _counts(reference: str, hypothesis: str, n: int) -> tuple[int, int, int]:
    grams, wanted = ngram_counts(hypothesis, n), ngram_counts(reference, n)
    return (
        sum((grams & wanted).values()),
        sum(count for gram, count in grams.items() if gram in wanted),
        sum(grams.values()),
    )


# --- Exercise 9.4 -----------------------------------------------------------------------------------------------------

#: Many resamples, so that the ends hardly move between seeds; slack is in standard deviations of the resampled score,
#: whose ends stand at about 2.
RESAMPLES, SLACK = 4000, 0.2
FEW = 20  # so few that two seeds differ


class _Counted:
    """A score that counts how many sums it is asked about, one by one or many at once."""

    def __init__(self, score: Callable[[np.ndarray], np.ndarray]):
        self.score, self.rows = score, 0

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        self.rows += int(np.prod(np.shape(sums)[:-1]))
        return self.score(sums)


def bootstrap_interval(answer: Callable[..., tuple[float, float]], *, other: int = 0) -> None:
    """`answer(terms, score, resamples, seed)` is the middle 95 % of `score(sum of resampled rows)`, rows drawn with
    replacement (Efron 1979)."""
    name = "bootstrap_interval"
    for seed, n, power in (
        (1, 40, 1),
        (2, 90, 1),
        (3, 90, 8),
    ):  # the last score is lopsided: its interval is not its mean and so much to each side
        draw = np.random.default_rng(seed + 1000 * other)
        size = draw.integers(2, 40, n)
        terms = np.stack([draw.binomial(size, draw.beta(2, 2, n)), size], axis=1).astype(
            float
        )  # (n, 2): matches, out of
        score = Additive(terms, lambda sums, power=power: ratio(sums[..., 0], sums[..., 1]) ** power)
        ends = answered(name, answer, terms.copy(), score.score, RESAMPLES, seed)
        try:
            low, high = map(float, ends)
        except (TypeError, ValueError) as error:
            raise CheckError(f"{name}: it returns {ends!r}; return two numbers, the lower and the upper end") from error
        if low > high:
            raise CheckError(f"{name}: the ends are the wrong way round, {low:.3f} and {high:.3f}")
        if tuple(map(float, answered(name, answer, terms.copy(), score.score, RESAMPLES, seed))) != (low, high):
            raise CheckError(
                f"{name}: twice the same seed, two results: draw from np.random.default_rng(seed), made inside the "
                f"function"
            )
        right = interval(score, resamples=20_000, seed=0)
        spread = (right.high - right.low) / 3.92
        if max(abs(low - right.low), abs(high - right.high)) > (SLACK if power == 1 else 2 * SLACK) * spread:
            raise CheckError(
                f"{name}: {n} studies give [{right.low:.3f}, {right.high:.3f}], not [{low:.3f}, {high:.3f}]. "
                f"{_interval_hint(low, high, score)}"
            )
        if (
            len(
                {
                    tuple(map(float, answered(name, answer, terms.copy(), score.score, FEW, again)))
                    for again in (seed, seed + 1, seed + 2)
                }
            )
            == 1
        ):
            raise CheckError(
                f"{name}: three seeds give one result: draw from np.random.default_rng(seed), with the seed that it is "
                f"given"
            )
        scored = _Counted(score.score)
        answered(name, answer, terms.copy(), scored, FEW, seed)
        if scored.rows not in (FEW, FEW + 1):  # one more: the score of all studies as they are
            raise CheckError(
                f"{name}: asked for {FEW} resamples, it scored {scored.rows}: draw as many as `resamples` says"
            )


def _interval_hint(low: float, high: float, score: Additive) -> str:
    """The mistake that gives an interval like this one, by its width and its middle."""
    n, draw, whole = len(score), np.random.default_rng(7), score.value()
    drawn = draw.integers(0, n, (RESAMPLES, n))
    half = score.score(score.terms[draw.integers(0, n, (RESAMPLES, n // 2))].sum(1))
    columns = np.stack(
        [score.terms[draw.integers(0, n, (RESAMPLES, n)), k].sum(1) for k in range(score.terms.shape[1])], axis=-1
    )
    each = score.score(score.terms)  # (n,)
    right = score.score(score.terms[drawn].sum(1))
    slips = {
        "You drew without replacement: every resample holds all studies once, so nothing varies. Some must come twice, "
        "others not at all": (np.full(RESAMPLES, whole)),
        "You averaged the scores of single studies: sum the rows of a resample, then score the sum": each[drawn].mean(
            1
        ),
        "These are quantiles of single studies' scores: score a whole resample, many times": each,
        "A resample is as large as the test set: draw n rows, not half of them": half,
        "The columns are drawn apart: a study's numbers belong together, draw whole rows": score.score(columns),
    }
    if any(
        _near((low, high), (middle - 1.96 * right.std(), middle + 1.96 * right.std()), right.std())
        for middle in (whole, right.mean())
    ):
        return (
            "This is 1.96 standard deviations to each side, as if the score were symmetric: take the quantiles 0.025 "
            "and 0.975"
        )
    if low == high != whole:
        return "Every resample is the same one: make the generator once, before the loop"
    for hint, values in slips.items():
        if _near((low, high), np.quantile(values, [0.025, 0.975]), max(values.std(), 0.1 * right.std())):
            return hint
    for level in (0.9, 0.99, 0.5, 0.95 / 2, 0.975):
        if _near((low, high), np.quantile(right, [(1 - level) / 2, (1 + level) / 2]), 0.6 * right.std()):
            return f"This holds about {level:.0%} of the resampled scores: leave out 2.5 % at each end"
    if _near((low, high), (whole - right.std(), whole + right.std()), right.std()):
        return "This is one standard deviation to each side: take the quantiles 0.025 and 0.975"
    if _near((low, high), (right.min(), right.max()), 2 * right.std()):
        return "These are the smallest and the largest: take the quantiles 0.025 and 0.975"
    return "Draw n rows with replacement, sum them, score the sum; many times; then the quantiles 0.025 and 0.975"


def _near(a: Sequence[float], b: Sequence[float], spread: float) -> bool:
    return max(abs(a[0] - b[0]), abs(a[1] - b[1])) < SLACK * spread


# --- Exercise 9.5 -----------------------------------------------------------------------------------------------------


def micro_f1(answer: Callable[[np.ndarray, np.ndarray], float], *, other: int = 0) -> None:
    """`answer(predicted, reference)`, (n, 13) zeros and ones each, is micro-F1 over all findings of all studies."""
    for seed, n in ((1, 8), (2, 30), (3, 120)):
        draw = np.random.default_rng(seed + 1000 * other)
        common = draw.uniform(0.05, 0.6, 13)
        reference = (draw.random((n, 13)) < common).astype(int)
        predicted = np.where(draw.random((n, 13)) < 0.7, reference, draw.random((n, 13)) < 0.3).astype(int)
        right = finding_f1(predicted, reference)
        hit = predicted & reference
        agree = (predicted == reference).mean()
        zeros = finding_f1(1 - predicted, 1 - reference).micro.f1
        slips = {
            "that is macro-F1, the mean of the findings' own: count over all findings first, then one F1": [
                right.macro.f1,
                *_means(hit, predicted, reference),
            ],
            "that is the mean of the studies' own F1: count over all studies first, then one F1": _means(
                hit.T, predicted.T, reference.T
            ),
            "the agreed absences count: leave the true negatives out, or a report that finds nothing looks good": agree,
            "F1 of 'absent' is mixed in: only what is there, or said to be there, counts": (right.micro.f1 + zeros) / 2,
            "that is F1 of 'absent': count where both are 1": zeros,
            "that is precision alone": right.micro.precision,
            "that is recall alone": right.micro.recall,
            "you took the ordinary mean of precision and recall: F1 is the harmonic one": (
                right.micro.precision + right.micro.recall
            )
            / 2,
            "a factor 2 is missing": right.micro.f1 / 2,
            "that is the share of what either says that both say (Jaccard): what both say counts twice in F1": hit.sum()
            / (predicted | reference).sum(),
            "that is above 1, or twice too large: twice what both say goes over the *sum* of what each says": 2
            * right.micro.f1,
            "that counts studies where everything is right": float((predicted == reference).all(1).mean()),
        }
        f1 = number("micro_f1", answer, predicted.copy(), reference.copy())
        compare_number("micro_f1", f1, right.micro.f1, slips, f"the micro-F1 of {n} studies")
    nothing = np.zeros_like(reference)
    compare_number(
        "micro_f1", number("micro_f1", answer, nothing, reference), 0.0, {}, "the F1 of reports that name nothing"
    )


def _means(hit: np.ndarray, predicted: np.ndarray, reference: np.ndarray) -> list[float]:
    """The mean of the columns' F1, a column without any positive counted as 0, left out, or counted as 1."""
    both, positives = hit.sum(0), predicted.sum(0) + reference.sum(0)
    each, empty = 2 * both / np.maximum(positives, 1), positives == 0
    return [float(each.mean()), float(each[~empty].mean()), float((each + empty).mean())]


# --- Exercise 9.7 -----------------------------------------------------------------------------------------------------


def label_set_f1(answer: Callable[[np.ndarray, np.ndarray, bool, bool], float], *, other: int = 0) -> None:
    """`answer(answers, truth, uncertain_is_positive, no_finding)` is micro-F1 over CheXpert-14, or over CheXpert-13
    with `no_finding=False`."""
    for seed, n in ((4, 20), (5, 60)):
        draw = random.Random(seed + 1000 * other)
        answers, truth = (_labels(draw, n) for _ in range(2))
        truth = np.where(np.array([[draw.random() < 0.6 for _ in OBSERVATIONS] for _ in range(n)]), answers, truth)
        for positive in (False, True):
            for no_finding in (True, False):
                right = _f1(answers, truth, positive, no_finding)
                one = positive, not positive
                slips = {
                    "blank (NaN) counts as positive: compare with 1, for NaN is true as a bool": _f1(
                        *(np.where(np.isnan(x), 1, x) for x in (answers, truth)), positive, no_finding
                    ),
                    "blank (NaN) was left out, and what stands beside it too: it counts as not asserted, here and "
                    "there": _f1(
                        *(np.where(np.isnan(answers + truth), np.nan, x) for x in (answers, truth)),
                        positive,
                        no_finding,
                    ),
                    "uncertain counts the other way round: look at `uncertain_is_positive`": _f1(
                        answers, truth, not positive, no_finding
                    ),
                    "uncertain is counted in the answers alone: the truth has it too": _mixed(
                        answers, truth, *one, no_finding
                    ),
                    "uncertain is counted in the truth alone: the answers have it too": _mixed(
                        answers, truth, *one[::-1], no_finding
                    ),
                    '"No Finding" is counted although it should be left out, or the other way round': _f1(
                        answers, truth, positive, not no_finding
                    ),
                    'you left out the last observation: "No Finding" is the first column': _without_last(
                        answers, truth, positive
                    ),
                    "that is macro-F1: count over all observations first": _f1(
                        answers, truth, positive, no_finding, "macro"
                    ),
                    "the -1 is added up as a number: turn every answer into 0 or 1 first": _summed(
                        answers, truth, no_finding
                    ),
                }
                given = answers.copy(), truth.copy()
                f1 = number("label_set_f1", answer, *given, positive, no_finding)
                if not all(np.array_equal(x, y, equal_nan=True) for x, y in zip(given, (answers, truth), strict=True)):
                    raise CheckError(
                        "label_set_f1: it writes into the arrays it is given, and whoever asks next gets others: make "
                        "new ones"
                    )
                quantity = (
                    f"over {'14' if no_finding else '13'} labels, uncertain counted as "
                    f"{'positive' if positive else 'negative'}, F1"
                )
                compare_number("label_set_f1", f1, right, slips, quantity)


def _labels(draw: random.Random, n: int) -> np.ndarray:
    return np.array([[draw.choice((1.0, 0.0, -1.0, np.nan)) for _ in OBSERVATIONS] for _ in range(n)])


def _f1(a: np.ndarray, b: np.ndarray, positive: bool, no_finding: bool, average: str = "micro") -> float:
    scores = clinical_scores(
        a, b, "CheXpert-14" if no_finding else "CheXpert-13", uncertain="positive" if positive else "negative"
    )
    return getattr(scores, average).f1


def _counted(x: np.ndarray, positive: bool) -> np.ndarray:
    return ((x == 1) | ((x == -1) & positive)).astype(int)


def _mixed(a: np.ndarray, b: np.ndarray, positive_a: bool, positive_b: bool, no_finding: bool) -> float:
    first = 0 if no_finding else 1
    return finding_f1(
        _counted(a, positive_a)[:, first:], _counted(b, positive_b)[:, first:], OBSERVATIONS[first:]
    ).micro.f1


def _without_last(a: np.ndarray, b: np.ndarray, positive: bool) -> float:
    return finding_f1(_counted(a, positive)[:, :-1], _counted(b, positive)[:, :-1], OBSERVATIONS[:-1]).micro.f1


def _summed(a: np.ndarray, b: np.ndarray, no_finding: bool) -> float:
    x, y = (np.nan_to_num(labels)[:, 0 if no_finding else 1 :] for labels in (a, b))
    return float(2 * (x * y).sum() / max(1, x.sum() + y.sum()))


# --- Exercise 9.8 -----------------------------------------------------------------------------------------------------

MEASURED = ("the part of length", "the part of habit", "the part of looking")
REASONS = ("length", "habit", "looking", "not ahead")
Texts = list[str]
#: Written for the check; the first ones are said of most.
SENTENCES = (
    "the heart is normal in size .",
    "the lungs are clear of focal disease .",
    "there is no pleural effusion seen .",
    "there is a small left effusion .",
    "the heart is enlarged once again .",
    "old healed fracture of one rib .",
    "there is a nodule in the left lung .",
    "the spine shows degenerative changes today .",
)


def why_ahead(answer: Callable[[Texts, Texts, Texts], tuple[Sequence[float], str]], *, other: int = 0) -> None:
    """`answer(references, a, b)`: what length, habit and looking add to log(BLEU-4 of A / BLEU-4 of B), and which adds
    most, or "not ahead"."""
    name, cases = "why_ahead", _systems(other)
    answers = [explanation(name, answered(name, answer, *map(list, case)), MEASURED, REASONS) for case in cases]
    # of A and of B in each case: penalty, BLEU-4 with each study's own report, and with the next study's
    scores = [[(_penalty(of, by), _bleu(of, by), _bleu(of, _next(by))) for by in (a, b)] for of, a, b in cases]

    def instead(parts: Callable[[float, float, float], tuple[float, float, float]]) -> list[list[float]]:
        return [[x - y for x, y in zip(parts(*a), parts(*b), strict=True)] for a, b in scores]

    log = math.log
    right = instead(lambda p, s, e: (log(p), log(e / p), log(s / e)))
    counts = [[log(min(1.0, math.exp(1 - _words(by) / _words(of)))) for by in (a, b)] for of, a, b in cases]
    longer = [log(_words(a) / _words(b)) for _, a, b in cases]
    slips = {
        "these are the parts of B's lead over A: A's are asked for": [[-part for part in row] for row in right],
        "that is A alone: the lead is A's parts less B's": [
            [log(p), log(e / p), log(s / e)] for (p, s, e), _ in scores
        ],
        "`brevity_penalty` got its two lengths the wrong way round: the hypotheses' words come first": [
            [(wrong := x - y), row[1] + row[0] - wrong, row[2]] for (x, y), row in zip(counts, right, strict=True)
        ],
        "the brevity penalty compares words; with as many reports as references it is 1 for everybody": [
            [0.0, row[0] + row[1], row[2]] for row in right
        ],
        "these are differences of scores: a BLEU is a product, so it is the differences of *logarithms* that add "
        "up": instead(lambda p, s, e: (p, e / p, s / e)),
        "habit still holds the brevity penalty: divide the BLEU of the exchanged reports by it, or length is counted "
        "twice": instead(lambda p, s, e: (log(p), log(e), log(s / e))),
        "what looking adds is a report of one's own *over* one of another study: divide by the BLEU of the exchanged "
        "reports": instead(lambda p, s, e: (log(p), log(e / p), log(s / p))),
        "looking is 0 for everybody here, so nothing was exchanged: move the reports of a system, and leave the "
        "references where they are": instead(lambda p, s, e: (log(p), log(s / p), 0.0)),
        "the parts are in another order: length, habit, looking": instead(
            lambda p, s, e: (log(p), log(s / e), log(e / p))
        ),
        "the logarithms are to another base: take natural ones": [[part / log(10) for part in row] for row in right],
        "the logarithms are to another base than e: take natural ones": [
            [part / log(2) for part in row] for row in right
        ],
        "how much more A says is not what length costs: what counts of it is the brevity penalty": [
            [more, *row[1:]] for more, row in zip(longer, right, strict=True)
        ],
        "every study is to get the report of the *next* one (the last that of the first); here it got that of the one "
        "before it": [
            [row[0], *(x - y for x, y in zip(*back, strict=True))]
            for row, back in zip(right, [[_back(of, by) for by in (a, b)] for of, a, b in cases], strict=True)
        ],
    }
    largest = [REASONS[max(range(3), key=row.__getitem__)] for row in right]
    reasons = [reason if sum(row) > 0 else "not ahead" for reason, row in zip(largest, right, strict=True)]
    readings = {
        "where the three parts add up to no more than 0, A has no lead to explain": largest,
        "a system has no lead over itself: what adds up to 0 is not ahead": [
            reason if sum(row) >= 0 else "not ahead" for reason, row in zip(largest, right, strict=True)
        ],
        "a part below 0 pulls A back, however large it is: the largest *gain* explains the lead": [
            reason if reason == "not ahead" else REASONS[max(range(3), key=lambda i: abs(row[i]))]
            for reason, row in zip(reasons, right, strict=True)
        ],
        "the size of a part is not enough: one below 0 pulls A back, and where the sum is below 0 there is no lead": [
            REASONS[max(range(3), key=lambda i: abs(row[i]))] for row in right
        ],
        "the smallest part explains least: it is the wrong way round": [
            reason if reason == "not ahead" else REASONS[min(range(3), key=row.__getitem__)]
            for reason, row in zip(reasons, right, strict=True)
        ],
        "a part of looking above 0 is not enough: does it add *most*?": [
            reason if reason == "not ahead" else "looking" if row[2] > 0 else reason
            for reason, row in zip(reasons, right, strict=True)
        ],
        "a part of length above 0 is not enough: does it add *most*?": [
            reason if reason == "not ahead" else "length" if row[0] > 0 else reason
            for reason, row in zip(reasons, right, strict=True)
        ],
    }
    compare_explanations(name, answers, list(zip(right, reasons, strict=True)), MEASURED, slips, readings)


def _next(reports: Texts) -> Texts:
    return [*reports[1:], reports[0]]


def _words(texts: Texts) -> int:
    return sum(len(text.split()) for text in texts)


def _penalty(references: Texts, reports: Texts) -> float:
    return min(1.0, math.exp(1 - _words(references) / _words(reports)))


def _bleu(references: Texts, reports: Texts) -> float:
    """BLEU-4 of the corpus (Papineni et al. 2002)."""
    product = 1.0
    for n in range(1, 5):
        pairs = [
            (ngram_counts(report, n), ngram_counts(reference, n))
            for report, reference in zip(reports, references, strict=True)
        ]
        product *= sum((grams & wanted).total() for grams, wanted in pairs) / max(
            1, sum(grams.total() for grams, _ in pairs)
        )
    return _penalty(references, reports) * product**0.25


def _back(references: Texts, reports: Texts) -> tuple[float, float]:
    """Habit and looking, measured with the report of the study before."""
    exchanged = _bleu(references, [reports[-1], *reports[:-1]])
    return math.log(exchanged / _penalty(references, reports)), math.log(_bleu(references, reports) / exchanged)


#: What A and B are like in a case: sentences from the study, common ones among the others, sentences fewer than wanted;
#: and what its parts must be. Each reason comes twice. Once length explains the lead while looking adds as well; once
#: looking does, although habit pulls back more than that.
KINDS: tuple[tuple[str, tuple[float, float, int], tuple[float, float, int], Callable[[list[float]], bool]], ...] = (
    ("length", (0.3, 0.6, 0), (0.4, 0.6, 2), lambda gains: True),
    ("length", (0.5, 0.6, 0), (0.3, 0.6, 2), lambda gains: gains[2] > 0.03),
    ("habit", (0.3, 0.95, 1), (0.4, 0.1, 1), lambda gains: True),
    ("habit", (0.3, 0.95, 1), (0.4, 0.1, 1), lambda gains: True),
    ("looking", (0.9, 0.5, 1), (0.1, 0.8, 0), lambda gains: True),
    ("looking", (0.4, 0.0, 0), (0.0, 1.0, 1), lambda gains: gains[1] < -gains[2] - 0.02),
    ("not ahead", (0.4, 0.4, 2), (0.5, 0.8, 0), lambda gains: True),
    ("not ahead", (0.4, 0.4, 2), (0.5, 0.8, 0), lambda gains: True),
)


@cache
def _systems(other: int) -> list[tuple[Texts, Texts, Texts]]:
    """References and two systems, each reason twice, drawn until no two parts are close, one of them is above 0, and
    another below; and one beside itself."""
    draw, cases = random.Random(other), []
    for reason, *kinds, fits in KINDS:
        while True:
            wanted = [draw.choices(SENTENCES, weights=(6, 6, 6, 2, 2, 2, 2, 2), k=draw.randint(3, 5)) for _ in range(9)]
            references, (a, b) = (
                [" ".join(sentences) for sentences in wanted],
                [_reports(draw, wanted, *kind) for kind in kinds],
            )
            if min(_bleu(references, moved) for by in (a, b) for moved in (by, _next(by), [by[-1], *by[:-1]])) < 1e-6:
                continue
            parts = [_parts(references, by) for by in (a, b)]
            gains = [x - y for x, y in zip(*parts, strict=True)]
            low, middle, high = sorted(gains)
            largest = REASONS[gains.index(high)] if sum(gains) > 0 else REASONS[-1]
            if (
                largest == reason
                and abs(sum(gains)) > 0.1
                and high > max(0.1, middle + 0.1)
                and low < -0.01
                and fits(gains)
            ):
                break
        cases.append((references, a, b))
    cases.append((references, a, list(a)))
    return draw.sample(cases, len(cases))


def _parts(references: Texts, by: Texts) -> tuple[float, float, float]:
    penalty, bleu, exchanged = _penalty(references, by), _bleu(references, by), _bleu(references, _next(by))
    return math.log(penalty), math.log(exchanged / penalty), math.log(bleu / exchanged)


def _reports(draw: random.Random, wanted: list[list[str]], looks: float, common: float, fewer: int) -> Texts:
    """Reports that have a share `looks` of the sentences from the study, the others from the common ones or from any;
    `fewer` sentences than wanted."""
    reports = []
    for sentences in wanted:
        report = [
            sentence
            if draw.random() < looks
            else draw.choice(SENTENCES[:3] if draw.random() < common else SENTENCES[3:])
            for sentence in sentences[: max(1, len(sentences) - fewer)]
        ]
        reports.append(" ".join(report))
    return reports


# --- Exercise 9.9 -----------------------------------------------------------------------------------------------------


def largest_move(answer: Callable[[pd.DataFrame, str], float], *, other: int = 0) -> None:
    """`answer(table, choice)` is the largest difference of `f1` between rows of a table of conventions that differ in
    `choice` alone."""
    name = "largest_move"
    for seed in (6, 7):
        table = _conventions(random.Random(seed + 1000 * other))
        for choice in CHOICES:
            alike = table.groupby([c for c in CHOICES if c != choice])["f1"]
            moves, within = alike.max() - alike.min(), table.groupby(choice)["f1"]
            slips = {
                "you compare rows that differ in other choices too: those of a group must be alike in all *others*": [
                    table["f1"].max() - table["f1"].min(),
                    (within.max() - within.min()).max(),
                ],
                "you compare the means of the choice's values: two rows that differ in it alone, pair by pair": (
                    within.mean().max() - within.mean().min()
                ),
                "you compare the best rows of the choice's values, which differ in other choices too": (
                    within.max().max() - within.max().min()
                ),
                "that is the mean of the groups' differences: the largest is asked for": moves.mean(),
                "that is the smallest of the groups' differences: the largest is asked for": moves.min(),
                "that is a standard deviation: a difference is asked for, largest less smallest": [
                    alike.std().max(),
                    alike.std(ddof=0).max(),
                ],
            }
            result = number(name, answer, table.copy(), choice)
            compare_number(name, result, moves.max(), slips, f"the largest difference by {choice!r} alone")


def _conventions(draw: random.Random) -> pd.DataFrame:
    """A row for each combination of choices, in any order, with an F1 drawn at random."""
    values = ("rules-1", "keywords-0"), UNCERTAIN_AS, AVERAGES, tuple(SETS), EMPTY_ROWS
    rows = [(*choices, draw.random()) for choices in product(*values)]
    return pd.DataFrame(draw.sample(rows, len(rows)), columns=[*CHOICES, "f1"])
