"""The checks of chapter 09's exercises on labels: what a negation reaches, and what a label set counts."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.numbers import compare, number
from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.evaluation.clinical import clinical_scores, finding_f1

# --- Exercise 9.6 -----------------------------------------------------------------------------------------------------

NEGATIONS, STOPS = ("no", "without"), ("but", ";")
#: Sentences written for the check, each with the word that is asked about.
ASKED = (
    ("no effusion", "effusion"),
    ("no focal opacity or large effusion", "effusion"),
    ("no opacity but small effusion", "effusion"),
    ("no opacity but small effusion", "opacity"),
    ("small effusion without pneumothorax", "effusion"),
    ("small effusion without pneumothorax", "pneumothorax"),
    ("small effusion ; no opacity", "effusion"),
    ("heart is large but no effusion", "effusion"),
    ("no opacity ; effusion but no nodule", "effusion"),
    ("no opacity ; effusion but no nodule", "nodule"),
    ("lungs are clear ; effusion", "effusion"),
    ("no large opacity ; no effusion", "effusion"),
    ("no opacity without large effusion", "effusion"),
)


def denied(answer: Callable[[Sequence[str], int, Collection[str], Collection[str]], bool], *, other: int = 0) -> None:
    """`answer(words, at, negations, stops)` says whether a negation before word `at` reaches it: no stop stands between
    (Chapman et al. 2001)."""
    sentences = [(text.split(), text.split().index(word)) for text, word in ASKED]
    draw = random.Random(other)
    for _ in range(20 if other else 0):
        words = draw.choices((*NEGATIONS, *STOPS, "effusion", "opacity", "large"), k=draw.randint(2, 9))
        sentences.append(([*words, "nodule", *words[:2]], len(words)))
    for negations, stops in (
        (NEGATIONS, STOPS),
        (("absent",), ("however",)),
    ):  # other words: what is asked is the rule, not the list
        other = dict(zip((*NEGATIONS, *STOPS), (negations[0], negations[-1], stops[0], stops[-1]), strict=True))
        for words, at in sentences:
            said = [other.get(word, word) for word in words]
            right = _denied(said, at, negations, stops)
            found = answered("denied", answer, list(said), at, negations, stops)
            if not isinstance(found, bool | np.bool_):
                raise CheckError(f"denied: it returns {found!r}; return True or False")
            if bool(found) != right:
                verdict = f"{right} ({'denied' if right else 'not denied'})"
                raise CheckError(
                    f"denied: {said[at]!r} in {' '.join(said)!r} should be {verdict}, yours is {bool(found)}. "
                    f"{_scope_hint(answer)}"
                )


def _denied(words: Sequence[str], at: int, negations: Collection[str], stops: Collection[str]) -> bool:
    marks = [word for word in words[:at] if word in negations or word in stops]
    return bool(marks) and marks[-1] in negations


def _toggled(words: Sequence[str]) -> bool:
    on = False
    for word in words:
        on = False if word in STOPS else on != (word in NEGATIONS)
    return on


def _scope_hint(answer: Callable[..., Any]) -> str:
    """The mistake whose answers to all sentences are these."""
    negated, stopped = (lambda words, among=among: [word in among for word in words] for among in (NEGATIONS, STOPS))
    slips: dict[str, Callable[[list[str], int], bool]] = {
        "A stop ends what a negation before it reaches: look at the words between the two": lambda w, at: any(
            negated(w[:at])
        ),
        "A negation that comes after the finding does not reach back here: look at the words before it": lambda w, at: (
            any(negated(w))
        ),
        "A negation reaches over other words, to the next stop, and not to its neighbour alone": lambda w, at: (
            at > 0 and w[at - 1] in NEGATIONS
        ),
        "A stop anywhere is not enough: it must stand between the negation and the finding": lambda w, at: (
            any(negated(w[:at])) and not any(stopped(w))
        ),
        "After a stop a new negation may begin: the last mark before the finding decides": lambda w, at: (
            any(negated(w[:at])) and not any(stopped(w[:at]))
        ),
        "A second negation does not take back the first: only a stop ends what one reaches": lambda w, at: _toggled(
            w[:at]
        ),
        "It is the wrong way round: True means denied": lambda w, at: not _denied(w, at, NEGATIONS, STOPS),
    }
    sentences = [(text.split(), text.split().index(word)) for text, word in ASKED]
    try:
        found = [bool(answer(list(words), at, NEGATIONS, STOPS)) for words, at in sentences]
    except Exception:  # it stopped on another sentence: that message comes first there
        return "Read the words from the first to the finding: a negation opens a scope, a stop closes it."
    if found == [_denied(words, at, NEGATIONS, STOPS) for words, at in sentences]:
        return "It knows only the words of the lesson: use the `negations` and `stops` that it is given."
    for hint, slip in slips.items():
        if found == [slip(words, at) for words, at in sentences]:
            return hint + "."
    return "Read the words from the first to the finding: a negation opens a scope, a stop closes it."


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
                found = number("label_set_f1", answer, *given, positive, no_finding)
                if not all(np.array_equal(x, y, equal_nan=True) for x, y in zip(given, (answers, truth), strict=True)):
                    raise CheckError(
                        "label_set_f1: it writes into the arrays it is given, and whoever asks next gets others: make "
                        "new ones"
                    )
                what = (
                    f"over {'14' if no_finding else '13'} labels, uncertain counted "
                    f"as "
                    f"{'positive' if positive else 'negative'}, F1"
                )
                compare("label_set_f1", found, right, slips, what)


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
