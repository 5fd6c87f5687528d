"""Exercise 1.4's check: right answers pass, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import data_preparation_lengths as checks


def reason_of(gap, rest):
    return "not shorter" if gap <= 0 else "mixture" if rest < gap / 2 else "writing"


def changed(
    lengths_a, abnormal_a, lengths_b, abnormal_b, *, second=None, change=lambda gap, rest: (gap, rest), reason=reason_of
):
    """The right answer unless told otherwise; `second` makes what remains of the groups' means (normal, abnormal) and
    of A's and B's shares."""
    a, b = (np.array([n[~ill].mean(), n[ill].mean()]) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    p, q = (np.array([1 - ill.mean(), ill.mean()]) for ill in (abnormal_a, abnormal_b))
    gap, rest = a @ p - b @ q, (a - b) @ p
    return change(gap, rest if second is None else second(a, b, p, q)), reason(gap, rest)


def by_weights(lengths_a, abnormal_a, lengths_b, abnormal_b):
    """Every report of B gets a weight, so that the weighted B has A's share of abnormal studies."""
    share, own = abnormal_a.mean(), abnormal_b.mean()
    weights = [share / own if ill else (1 - share) / (1 - own) for ill in abnormal_b]
    gap = float(np.mean(lengths_a) - np.mean(lengths_b))
    rest = float(np.mean(lengths_a) - np.average(lengths_b, weights=weights))
    if gap <= 0:
        return [gap, rest], "not shorter"
    return [gap, rest], "writing" if 2 * rest >= gap else "mixture"


def by_tables(lengths_a, abnormal_a, lengths_b, abnormal_b):
    a, b = (pd.DataFrame({"n": n, "ill": ill}) for n, ill in ((lengths_a, abnormal_a), (lengths_b, abnormal_b)))
    rest = a["n"].mean() - a["ill"].map(b.groupby("ill")["n"].mean()).mean()
    gap = a["n"].mean() - b["n"].mean()
    return pd.Series([gap, rest]), reason_of(gap, rest)


def thrown_together(lengths_a, abnormal_a, lengths_b, abnormal_b):
    share = np.concatenate([abnormal_a, abnormal_b]).mean()
    return changed(
        lengths_a, abnormal_a, lengths_b, abnormal_b, second=lambda a, b, p, q: a @ p - b @ [1 - share, share]
    )


def if_shares_fall(lengths_a, abnormal_a, lengths_b, abnormal_b):
    numbers, reason = changed(lengths_a, abnormal_a, lengths_b, abnormal_b)
    return (
        numbers,
        reason if reason == "not shorter" else "mixture" if abnormal_b.mean() < abnormal_a.mean() else "writing",
    )


def if_shorter(choose):
    return lambda gap, rest: "not shorter" if gap <= 0 else choose(gap, rest)


@pytest.mark.exercise("1.4", "right")
@pytest.mark.parametrize("answer", [changed, by_weights, by_tables])
def test_every_right_explanation_passes(answer):
    checks.why_shorter(answer)


@pytest.mark.exercise("1.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, change=lambda gap, rest: (-gap, -rest)), "by which *B* is longer"),
        (partial(changed, change=lambda gap, rest: (rest, gap)), "the two are exchanged"),
        (partial(changed, change=lambda gap, rest: (gap, gap - rest)), "the part that *remains*"),
        (partial(changed, second=lambda a, b, p, q: b @ p), "by how much is A above it"),
        (partial(changed, second=lambda a, b, p, q: (a - b) @ q), "you gave A the mixture of B"),
        (partial(changed, second=lambda a, b, p, q: (a - b).mean()), "both groups count half"),
        (partial(changed, second=lambda a, b, p, q: a @ p - b @ p[::-1]), "went to the normal ones of B"),
        (partial(changed, second=lambda a, b, p, q: a[0] - b[0]), "that of normal studies alone"),
        (partial(changed, second=lambda a, b, p, q: a[1] - b[1]), "that of abnormal studies alone"),
        (thrown_together, "thrown together"),
        (if_shares_fall, "does it explain the *larger* part"),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "writing" if rest > 0 else "mixture")),
            "only where it is at least half of it",
        ),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "mixture" if abs(rest) < gap / 2 else "writing")),
            "the sign counts",
        ),
        (
            partial(changed, reason=lambda gap, rest: "mixture" if rest < gap / 2 else "writing"),
            "there is no gap to explain",
        ),
        (
            partial(
                changed,
                reason=lambda gap, rest: "not shorter" if rest <= 0 else "mixture" if rest < gap / 2 else "writing",
            ),
            "asked of the gap as it is",
        ),
        (
            partial(changed, reason=if_shorter(lambda gap, rest: "writing" if rest < gap / 2 else "mixture")),
            "the wrong way round",
        ),
        (partial(changed, reason=lambda gap, rest: "mixture"), "do not support 'mixture'"),
        (lambda *_: ((3.9, 1.1), "mixture"), "is not right"),
        (lambda *inputs: (changed(*inputs)[0][:1], "mixture"), "2 are asked for"),
        (lambda *inputs: (changed(*inputs)[0][0], "mixture"), "can't be read as numbers"),
        (lambda *inputs: (np.ones((2, 2)), "mixture"), "can't be read as numbers"),
        (lambda *inputs: changed(*inputs)[1], "it returns a str; return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (changed(*inputs)[0], "healthier"), "'healthier' is none of the reasons"),
        (lambda *inputs: changed(*map(list, inputs)), "it stops with"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_explanation_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.why_shorter(answer)


@pytest.mark.parametrize("other", range(6))
def test_every_reason_is_asked_for_twice_simpsons_paradox_both_ways(other):
    said = [changed(*case) for case in checks._splits(other)]
    assert sorted(reason for _, reason in said) == sorted(checks.REASONS * 2)
    assert {(gap > 0, rest > 0) for (gap, rest), _ in said} == {
        (True, True),
        (True, False),
        (False, False),
        (False, True),
    }
    ratios = [rest / gap for (gap, rest), reason in said if reason != "not shorter"]
    assert any(0.35 < ratio < 0.5 for ratio in ratios) and any(
        0.5 < ratio < 0.65 for ratio in ratios
    )  # half of the gap is the border, and no third
    assert min(ratios) < -0.5  # what remains is below 0, and further from it than half of the gap
    checks.why_shorter(by_weights, other=other)


def test_alike_mixtures_leave_the_whole_gap_and_alike_reports_none_of_it():
    few, many = np.array([True, False, False]), np.array([True, True, False])
    (gap, rest), reason = changed(np.array([40, 30, 28]), few, np.array([31, 22, 20]), few)
    assert gap == pytest.approx(rest) and reason == "writing"
    (gap, rest), reason = changed(np.array([42, 42, 28]), many, np.array([42, 28, 28]), few)
    assert gap > 0 and rest == pytest.approx(0) and reason == "mixture"
