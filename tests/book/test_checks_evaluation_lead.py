"""Exercise 9.8's check: right answers pass, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
from functools import partial

import numpy as np
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import evaluation_lead as checks
from rrg_lib.evaluation.nlg import nlg_scores

NAMES = ("length", "habit", "looking")


def library_bleu(references, reports):
    numbered = [dict(enumerate(texts)) for texts in (references, reports)]
    return nlg_scores(*numbered, metrics=["BLEU-4"]).corpus["BLEU-4"]


def penalty_of(references, reports):
    wanted, said = (sum(len(text.split()) for text in texts) for texts in (references, reports))
    return min(1, math.exp(1 - wanted / said))


def most(lead):
    return NAMES[int(np.argmax(lead))] if sum(lead) > 0 else "not ahead"


def by_the_library(references, a, b):
    """What looking adds is measured by moving the references the other way instead."""
    back = [references[-1], *references[:-1]]
    length = math.log(penalty_of(references, a) / penalty_of(references, b))
    looking = [math.log(library_bleu(references, by) / library_bleu(back, by)) for by in (a, b)]
    whole = math.log(library_bleu(references, a) / library_bleu(references, b))
    lead = [length, whole - length - (looking[0] - looking[1]), looking[0] - looking[1]]
    return lead, most(lead)


def changed(
    references, a, b, *, parts=None, move=lambda texts: [*texts[1:], texts[0]], penalty=penalty_of, sign=1, reason=most
):
    """The right answer unless told otherwise; `parts` maps penalty, score and score of the exchanged reports to the
    three parts."""
    parts = parts or (lambda p, s, e: (math.log(p), math.log(e / p), math.log(s / e)))
    of_a, of_b = (
        parts(penalty(references, by), checks._bleu(references, by), checks._bleu(references, move(by)))
        for by in (a, b)
    )
    lead = sign * np.subtract(of_a, of_b)
    return tuple(lead), reason(lead)


def if_ahead(choose):
    return lambda lead: choose(lead) if sum(lead) > 0 else "not ahead"


def length_said(references, a, b):
    (_, habit, looking), reason = changed(references, a, b)
    return (math.log(checks._words(a) / checks._words(b)), habit, looking), reason


def alone(references, a, b):
    penalty, own, exchanged = (
        penalty_of(references, a),
        checks._bleu(references, a),
        checks._bleu(references, checks._next(a)),
    )
    return (math.log(penalty), math.log(exchanged / penalty), math.log(own / exchanged)), changed(references, a, b)[1]


def nothing_moved(references, a, b):
    return changed(references, a, b, move=lambda texts: texts)


@pytest.mark.exercise("9.8", "right")
@pytest.mark.parametrize("answer", [by_the_library, changed])
def test_a_right_answer_passes(answer):
    checks.why_ahead(answer)


@pytest.mark.exercise("9.8", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, sign=-1), "these are the parts of B's lead"),
        (partial(changed, parts=lambda p, s, e: (p, e / p, s / e)), "differences of *logarithms*"),
        (
            partial(changed, parts=lambda p, s, e: (math.log(p), math.log(e), math.log(s / e))),
            "habit still holds the brevity penalty",
        ),
        (
            partial(changed, parts=lambda p, s, e: (math.log(p), math.log(e / p), math.log(s / p))),
            "one's own *over* one of another study",
        ),
        (nothing_moved, "so nothing was exchanged"),
        (partial(changed, parts=lambda p, s, e: (math.log(p), math.log(s / e), math.log(e / p))), "in another order"),
        (partial(changed, parts=lambda p, s, e: np.log10([p, e / p, s / e])), "take natural ones"),
        (partial(changed, parts=lambda p, s, e: np.log2([p, e / p, s / e])), "to another base than e"),
        (alone, "that is A alone"),
        (
            partial(changed, penalty=lambda references, reports: penalty_of(reports, references)),
            "the wrong way round: the hypotheses' words come first",
        ),
        (
            partial(
                changed, penalty=lambda references, reports: penalty_of(["x"] * len(references), ["x"] * len(reports))
            ),
            "compares words",
        ),
        (
            partial(changed, reason=lambda lead: NAMES[int(np.argmax(lead))] if sum(lead) >= 0 else "not ahead"),
            "no lead over itself",
        ),
        (length_said, "what counts of it is the brevity penalty"),
        (partial(changed, move=lambda texts: [texts[-1], *texts[:-1]]), "of the one before it"),
        (partial(changed, reason=lambda lead: NAMES[int(np.argmax(lead))]), "A has no lead to explain"),
        (
            partial(changed, reason=if_ahead(lambda lead: NAMES[int(np.argmax(np.abs(lead)))])),
            "a part below 0 pulls A back",
        ),
        (partial(changed, reason=lambda lead: NAMES[int(np.argmax(np.abs(lead)))]), "the size of a part is not enough"),
        (partial(changed, reason=if_ahead(lambda lead: NAMES[int(np.argmin(lead))])), "the wrong way round"),
        (
            partial(changed, reason=if_ahead(lambda lead: "looking" if lead[2] > 0 else most(lead))),
            "a part of looking above 0",
        ),
        (
            partial(changed, reason=if_ahead(lambda lead: "length" if lead[0] > 0 else most(lead))),
            "a part of length above 0",
        ),
        (partial(changed, reason=lambda lead: "habit"), "do not support 'habit'"),
        (lambda *_: ((0.1, 0.0, 0.2), "looking"), "is not right"),
        (lambda *_: ((0.1, math.nan, 0.2), "looking"), "is not right"),
        (lambda *inputs: (changed(*inputs)[0][:2], "looking"), "3 are asked for"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (0.2, "looking"), "can't be read as numbers"),
        (lambda *inputs: (np.ones((3, 3)), "looking"), "can't be read as numbers"),
        (lambda *inputs: (changed(*inputs)[0], "style"), "'style' is none of the reasons"),
        (lambda references, a, b: changed(references[0], a, b), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_ahead(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_is_asked_for_twice_and_the_parts_add_up_to_the_lead(other):
    said = []
    (beside_itself,) = (case for case in checks._systems(other) if case[1] == case[2])
    assert changed(*beside_itself) == ((0.0, 0.0, 0.0), "not ahead")
    for references, a, b in (case for case in checks._systems(other) if case != beside_itself):
        lead, reason = by_the_library(references, a, b)
        assert sum(lead) == pytest.approx(math.log(library_bleu(references, a) / library_bleu(references, b)))
        assert min(lead) < 0 < max(lead) and abs(sum(lead)) > 0.09
        said.append(reason)
    assert sorted(said) == sorted(checks.REASONS * 2)
    checks.why_ahead(changed, other=other)


def test_a_constant_report_has_nothing_of_looking():
    references, a, _ = checks._systems(0)[0]
    lead, _ = changed(references, a, [a[0]] * len(a))
    assert lead[2] == pytest.approx(math.log(checks._bleu(references, a) / checks._bleu(references, checks._next(a))))
