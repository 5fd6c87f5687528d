"""Exercise 3.7's check: right answers pass, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import transformer_baseline_length as checks


def larger(words, length):
    return "none" if words + length <= 0 else "words" if words > length else "length"


def study_by_study(totals_a, lengths_a, totals_b, lengths_b):
    """Both orders of changing one thing after the other, halved."""
    words, length = [], []
    for a, n, b, m in zip(*(part.tolist() for part in (totals_a, lengths_a, totals_b, lengths_b)), strict=True):
        p, q = a / n, b / m
        words.append(((q - p) * n + (q - p) * m) / 2)
        length.append(((m - n) * q + (m - n) * p) / 2)
    return [np.mean(words), np.mean(length)], larger(np.mean(words), np.mean(length))


def as_the_rest(totals_a, lengths_a, totals_b, lengths_b):
    """One part measured, the other one what is left of the gain."""
    words = (0.5 * (totals_b / lengths_b - totals_a / lengths_a) * (lengths_a + lengths_b)).mean()
    parts = torch.stack([words, (totals_b - totals_a).mean() - words])
    return parts, "none" if parts.sum() < 0 else ("words", "length")[parts.argmax()]


def changed(
    totals_a,
    lengths_a,
    totals_b,
    lengths_b,
    *,
    words_at=(0.5, 0.5),
    length_at=(0.5, 0.5),
    factor=1.0,
    total=False,
    first=False,
    reason=larger,
):
    """The right answer unless told otherwise: where between A and B the other quantity stands, in each part."""
    if first:
        totals_a, lengths_a, totals_b, lengths_b = (
            part.double().mean()[None] for part in (totals_a, lengths_a, totals_b, lengths_b)
        )
    p, q = totals_a / lengths_a, totals_b / lengths_b
    words = (q - p) * (words_at[0] * lengths_a + words_at[1] * lengths_b)
    length = (lengths_b - lengths_a) * (length_at[0] * p + length_at[1] * q)
    words, length = (factor * (part.sum() if total else part.mean()).item() for part in (words, length))
    return (words, length), reason(words, length)


def a_word_and_words(totals_a, lengths_a, totals_b, lengths_b):
    words, length = (totals_b / lengths_b - totals_a / lengths_a).mean(), (lengths_b - lengths_a).double().mean()
    return (words, length), larger(words, length)


def by_majority(*inputs):
    (words, length), reason = changed(*inputs)
    studies = [changed(*(part[i][None] for part in inputs))[0] for i in range(len(inputs[0]))]
    often = sum(w > n for w, n in studies) > len(studies) / 2
    return (words, length), reason if reason == "none" else "words" if often else "length"


def likelier_in_most(totals_a, lengths_a, totals_b, lengths_b):
    (words, length), _ = changed(totals_a, lengths_a, totals_b, lengths_b)
    rarely = (totals_b > totals_a).double().mean() < 0.5
    return (words, length), "none" if rarely else "words" if words > length else "length"


def unless_none(choose):
    return lambda words, length: "none" if words + length <= 0 else choose(words, length)


@pytest.mark.exercise("3.7", "right")
@pytest.mark.parametrize("answer", [study_by_study, as_the_rest, changed])
def test_a_right_answer_passes(answer):
    checks.why_likelier(answer)


@pytest.mark.exercise("3.7", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda *inputs: (changed(*inputs)[0][::-1], changed(*inputs)[1]), "the two parts are exchanged"),
        (lambda a, n, b, m: changed(b, m, a, n), "you took what A has more"),
        (partial(changed, total=True), "are added up: take their mean"),
        (partial(changed, factor=2.0), "it is twice the gain"),
        (partial(changed, words_at=(1, 0), length_at=(1, 0)), "both parts start at A"),
        (partial(changed, words_at=(0, 1), length_at=(0, 1)), "both parts start at B"),
        (partial(changed, words_at=(0, 1), length_at=(1, 0)), "the length changed first"),
        (partial(changed, words_at=(1, 0), length_at=(0, 1)), "the words changed first"),
        (a_word_and_words, "is no gain of a report"),
        (partial(changed, first=True), "the studies were averaged before"),
        (partial(changed, reason=lambda w, n: "words" if w > n else "length"), "there is no gain to explain"),
        (partial(changed, reason=lambda w, n: "words" if abs(w) > abs(n) else "length"), "however large a part is"),
        (
            partial(changed, reason=unless_none(lambda w, n: "length" if n > 0 else "words")),
            "fewer words, or a part above 0",
        ),
        (
            partial(changed, reason=unless_none(lambda w, n: "words" if w > 0 else "length")),
            "better words are not enough",
        ),
        (partial(changed, reason=unless_none(lambda w, n: "words" if w < n else "length")), "the wrong way round"),
        (by_majority, "not the number of studies in which a part is larger"),
        (likelier_in_most, "not the number of studies in which it is"),
        (partial(changed, reason=lambda w, n: "length"), "do not support 'length'"),
        (lambda *_: ((0.5, 1.0), "length"), "is not right"),
        (lambda *_: ((float("nan"), 1.0), "length"), "is not right"),
        (lambda *inputs: changed(*inputs)[0], "can't be read as numbers"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (1.5, "length"), "can't be read as numbers"),
        (lambda a, n, b, m: (torch.stack([b - a, b - a]), "length"), "can't be read as numbers"),
        (lambda a, n, b, m: ((b - a), "length"), "are asked for"),
        (lambda *inputs: (changed(*inputs)[0], "brevity"), "'brevity' is none of the reasons"),
        (lambda *inputs: (changed(*inputs)[0], None), "None is none of the reasons"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_likelier(answer)


@pytest.mark.parametrize("other", range(20))
def test_every_explanation_is_asked_for_twice_and_the_parts_add_up_to_the_gain(other):
    said = []
    for case in checks._searches(other):
        (words, length), reason = study_by_study(*case)
        assert words + length == pytest.approx((case[2] - case[0]).mean().item())
        assert abs(words - length) > 0.1 and abs(words + length) > 0.1 and (case[2] < 0).all()
        said.append(reason)
    assert min(said.count(reason) for reason in checks.REASONS) >= 2
    with pytest.raises(CheckError):
        checks.why_likelier(partial(changed, words_at=(0, 1), length_at=(1, 0)), other=other)
