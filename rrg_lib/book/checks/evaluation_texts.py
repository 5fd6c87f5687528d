"""Those checks of chapter 09 that are asked with words and counts alone: they need no array and so no numpy, and run
wherever Python does, in a page of the site too."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rrg_lib.book.checks import CheckError, answered
from rrg_lib.book.checks.comparing import NUMBER_TOLERANCE, compare_number, number


def ngram_counts(text: str | Sequence[str], n: int) -> Counter:
    """Every run of n words of a text, with the number of times it is said."""
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


def lengthened(pair: tuple[str, str], other: int) -> tuple[str, ...]:
    """The two texts as they are for the lesson; for another number, with words of theirs drawn at random at their
    ends."""
    draw = random.Random(other)
    words = " ".join(pair).split()
    return tuple(" ".join([text, *draw.choices(words, k=draw.randint(1, 4))]) if other else text for text in pair)


def clipped_matches(answer: Callable[[str, str, int], tuple[int, int]], *, other: int = 0) -> None:
    """`answer(hypothesis, reference, n)` is (clipped n-gram matches, n-grams of the hypothesis) (Papineni et al. 2002,
    section 2.1)."""
    name = "clipped_matches"
    for hypothesis, reference in (lengthened(pair, other) for pair in PAIRS):
        for n in (1, 2, 3):
            grams, wanted = ngram_counts(hypothesis, n), ngram_counts(reference, n)
            right = (sum((grams & wanted).values()), sum(grams.values()))
            result = answered(name, answer, hypothesis, reference, n)
            if not isinstance(result, tuple | list) or len(result) != 2:
                raise CheckError(
                    f"{name}: it returns {result!r}; return two counts, the matches and the n-grams of the hypothesis"
                )
            if tuple(result) != right:
                raise CheckError(
                    f"{name}: {hypothesis!r} against {reference!r}, n = {n}, is {right}, not {tuple(result)}. "
                    f"{_gram_hint(*result, n, right, grams, wanted)}"
                )


def _gram_hint(matches: Any, total: Any, n: int, right: tuple[int, int], grams: Counter, wanted: Counter) -> str:
    unclipped = sum(count for gram, count in grams.items() if gram in wanted)
    distinct = len(grams.keys() & wanted.keys())
    slips = (
        ((right[1], right[0]), "The two are the wrong way round."),
        (
            (right[0], sum(wanted.values())),
            "You divide by the reference's n-grams: that would be recall; count the hypothesis'.",
        ),
        ((unclipped, right[1]), "Without clipping: an n-gram may match at most as often as the reference says it."),
        ((distinct, right[1]), "You count each n-gram once; what both say twice matches twice."),
        (
            (distinct, len(grams)),
            "You compare sets; what both say twice matches twice, and the hypothesis' repetitions all count.",
        ),
        ((right[0], len(grams)), "You count the hypothesis' distinct n-grams; its repetitions count too."),
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
    penalties = [number(name, answer, c, r) for c, r in lengths]
    slips = [_penalty_slips(c, r) for c, r in lengths]
    slips_made = [
        hint
        for hint in slips[0]
        if all(math.isclose(got, of[hint], abs_tol=NUMBER_TOLERANCE) for got, of in zip(penalties, slips, strict=True))
    ]
    for got, (c, r), of in zip(penalties, lengths, slips, strict=True):
        compare_number(
            name,
            got,
            min(1.0, math.exp(1 - r / c)),
            {hint: of[hint] for hint in slips_made},
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
            changed = [other.get(word, word) for word in words]
            right = _denied(changed, at, negations, stops)
            result = answered("denied", answer, list(changed), at, negations, stops)
            if str(getattr(result, "dtype", type(result).__name__)) != "bool" or getattr(result, "shape", ()) != ():
                raise CheckError(f"denied: it returns {result!r}; return True or False")
            if bool(result) != right:
                verdict = f"{right} ({'denied' if right else 'not denied'})"
                raise CheckError(
                    f"denied: {changed[at]!r} in {' '.join(changed)!r} should be {verdict}, yours is {bool(result)}. "
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
        answers = [bool(answer(list(words), at, NEGATIONS, STOPS)) for words, at in sentences]
    except Exception:  # it stopped on another sentence: that message comes first there
        return "Read the words from the first to the finding: a negation opens a scope, a stop closes it."
    if answers == [_denied(words, at, NEGATIONS, STOPS) for words, at in sentences]:
        return "It knows only the words of the lesson: use the `negations` and `stops` that it is given."
    for hint, slip in slips.items():
        if answers == [slip(words, at) for words, at in sentences]:
            return hint + "."
    return "Read the words from the first to the finding: a negation opens a scope, a stop closes it."
