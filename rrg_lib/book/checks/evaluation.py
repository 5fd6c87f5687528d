"""The checks of chapter 09's exercises. An answer is run on small texts and arrays of ours, compared with the library,
then with the usual mistakes."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.numbers import TOLERANCE, compare, number
from rrg_lib.evaluation.clinical import finding_f1
from rrg_lib.evaluation.nlg import nlg_scores
from rrg_lib.evaluation.resampling import Additive, interval, ratio


def _grams(text: str | Sequence[str], n: int) -> Counter:
    words = text.split() if isinstance(text, str) else text
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


# --- Exercise 9.1 -----------------------------------------------------------------------------------------------------

#: (hypothesis, reference), written for the check: repeated words, repeated pairs, nothing in common, too short for a
#: pair.
PAIRS = (
    ("the heart is normal . the heart is normal .", "the heart is normal in size . the lungs are clear ."),
    ("no no no effusion .", "there is no effusion ."),
    ("no effusion . no effusion . no effusion .", "no effusion . no focal opacity ."),
    ("clear", "the lungs are clear ."),
    ("heart is large .", "lungs clear"),
)


def _lengthened(pair: tuple[str, str], other: int) -> tuple[str, ...]:
    """The two texts as they are for the lesson; for another number, with words of theirs drawn at random at their
    ends."""
    draw = random.Random(other)
    words = " ".join(pair).split()
    return tuple(" ".join([text, *draw.choices(words, k=draw.randint(1, 4))]) if other else text for text in pair)


def clipped_matches(answer: Callable[[str, str, int], tuple[int, int]], *, other: int = 0) -> None:
    """`answer(hypothesis, reference, n)` is (clipped n-gram matches, n-grams of the hypothesis) (Papineni et al. 2002,
    section 2.1)."""
    name = "clipped_matches"
    for hypothesis, reference in (_lengthened(pair, other) for pair in PAIRS):
        for n in (1, 2, 3):
            said, wanted = _grams(hypothesis, n), _grams(reference, n)
            right = (sum((said & wanted).values()), sum(said.values()))
            found = answered(name, answer, hypothesis, reference, n)
            if not isinstance(found, tuple | list) or len(found) != 2:
                raise CheckError(
                    f"{name}: it returns {found!r}; return two counts, the matches and the n-grams of the hypothesis"
                )
            if tuple(found) != right:
                raise CheckError(
                    f"{name}: {hypothesis!r} against {reference!r}, n = {n}, is {right}, not {tuple(found)}. "
                    f"{_gram_hint(*found, n, right, said, wanted)}"
                )


def _gram_hint(matches: Any, total: Any, n: int, right: tuple[int, int], said: Counter, wanted: Counter) -> str:
    unclipped = sum(count for gram, count in said.items() if gram in wanted)
    distinct = len(said.keys() & wanted.keys())
    slips = (
        ((right[1], right[0]), "The two are the wrong way round."),
        (
            (right[0], sum(wanted.values())),
            "You divide by the reference's n-grams: that would be recall; count the hypothesis'.",
        ),
        ((unclipped, right[1]), "Without clipping: an n-gram may match at most as often as the reference says it."),
        ((distinct, right[1]), "You count each n-gram once; what both say twice matches twice."),
        (
            (distinct, len(said)),
            "You compare sets; what both say twice matches twice, and the hypothesis' repetitions all count.",
        ),
        ((right[0], len(said)), "You count the hypothesis' distinct n-grams; its repetitions count too."),
        ((right[0], right[1] + n - 1), "You count the hypothesis' words: there are words - n + 1 n-grams."),
    )
    hint = next((hint for pair, hint in slips if (matches, total) == pair and pair != right), None)
    if hint:
        return hint
    if total == right[1] - 1:
        return "The last n-gram is missing: there are words - n + 1 of them."
    return "Are these n-grams of words, split at blanks?" if total != right[1] else f"The matches of n = {n} are off."


# --- Exercise 9.2 -----------------------------------------------------------------------------------------------------


def brevity_penalty(answer: Callable[[int, int], float], *, other: int = 0) -> None:
    """`answer(c, r)` is min(1, exp(1 - r / c)) for c hypothesis and r reference words (Papineni et al. 2002, section
    2.3)."""
    name, lengths = (
        "brevity_penalty",
        [[n * (1 + other) + other % 2 for n in pair] for pair in ((10, 15), (7, 8), (20, 20), (30, 20), (1, 4))],
    )
    found = [number(name, answer, c, r) for c, r in lengths]
    slips = [_penalty_slips(c, r) for c, r in lengths]
    made = [
        hint
        for hint in slips[0]
        if all(math.isclose(got, of[hint], abs_tol=TOLERANCE) for got, of in zip(found, slips, strict=True))
    ]
    for got, (c, r), of in zip(found, lengths, slips, strict=True):
        compare(
            name,
            got,
            min(1.0, math.exp(1 - r / c)),
            {hint: of[hint] for hint in made},
            f"the penalty of {c} words for {r}",
        )


def _penalty_slips(c: int, r: int) -> dict[str, float]:
    return {
        "the fraction is upside down: it is reference over hypothesis, so that *short* hypotheses pay": min(
            1.0, math.exp(1 - c / r)
        ),
        "a long hypothesis gets a bonus: the penalty is never above 1; precision already punishes what is too "
        "long": math.exp(1 - r / c),
        "a long hypothesis pays and a short one gets a bonus: reference over hypothesis, and never above 1": math.exp(
            1 - c / r
        ),
        "it is the plain share of the length: put 1 - r / c into the exponential": min(1.0, c / r),
        "the 1 is missing: exp(1 - r / c), which is 1 for equal lengths": math.exp(-r / c),
        "too short and too long pay alike: only too short does, precision punishes the other": math.exp(
            -abs(1 - r / c)
        ),
        "the sign is wrong: 1 - r / c is negative for a short hypothesis": math.exp(r / c - 1),
        "you took the larger of the two: the penalty is the smaller one, never above 1": max(1.0, math.exp(1 - r / c)),
    }


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
        references, hypotheses = zip(*(_lengthened(TEXTS[i], other) for i in chosen), strict=True)
        for n in (4, 2, 1):
            right = _library_bleu(references, hypotheses, n)
            found = number("corpus_bleu", answer, list(references), list(hypotheses), n)
            compare(
                "corpus_bleu",
                found,
                right,
                _bleu_slips(references, hypotheses, n),
                f"BLEU-{n} of {len(chosen)} reports",
            )
    found = number("corpus_bleu", answer, NO_RUN_OF_FOUR[:1], NO_RUN_OF_FOUR[1:], 4)
    if abs(found) > 0.01:
        raise CheckError(
            f"corpus_bleu: no run of 4 words is right, so one factor of the product is 0 and BLEU-4 with it, not "
            f"{found:.3f}; leave none out"
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
    said, wanted = _grams(hypothesis, n), _grams(reference, n)
    return (
        sum((said & wanted).values()),
        sum(count for gram, count in said.items() if gram in wanted),
        sum(said.values()),
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
        found = answered(name, answer, terms.copy(), score.score, RESAMPLES, seed)
        try:
            low, high = map(float, found)
        except (TypeError, ValueError) as error:
            raise CheckError(
                f"{name}: it returns {found!r}; return two numbers, the lower and the upper end"
            ) from error
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
            "This is 1.96 standard deviations to each side, as if the score were symmetric: take the "
            "quantiles "
            "0.025 and 0.975"
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
        found = number("micro_f1", answer, predicted.copy(), reference.copy())
        compare("micro_f1", found, right.micro.f1, slips, f"the micro-F1 of {n} studies")
    nothing = np.zeros_like(reference)
    compare("micro_f1", number("micro_f1", answer, nothing, reference), 0.0, {}, "the F1 of reports that name nothing")


def _means(hit: np.ndarray, predicted: np.ndarray, reference: np.ndarray) -> list[float]:
    """The mean of the columns' F1, a column without any positive counted as 0, left out, or counted as 1."""
    both, said = hit.sum(0), predicted.sum(0) + reference.sum(0)
    each, empty = 2 * both / np.maximum(said, 1), said == 0
    return [float(each.mean()), float(each[~empty].mean()), float((each + empty).mean())]
