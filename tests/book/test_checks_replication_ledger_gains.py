"""Exercise 10.5's check: right answers pass, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
import statistics
from functools import partial

import numpy as np
import pytest

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import replication_ledger_gains as checks


def first_enough(gap, reaches, names=("rounding", "seeds", "studies")):
    return next((name for name, reach in zip(names, reaches, strict=True) if gap <= reach), "something else")


def by_numpy(gains, half, a, b, intervals):
    of_seeds = 2 * (np.var(a, ddof=1) + np.var(b, ddof=1))
    of_studies = 2 * np.square(np.diff(intervals) / 4).sum()
    reaches = np.array([4 * half, 2 * of_seeds**0.5, 2 * (of_seeds + of_studies) ** 0.5])
    return reaches, first_enough(abs(np.subtract(*gains)), reaches)


def by_statistics(gains, half, a, b, intervals):
    """Score by score: four of them, each with its own spread."""
    seeds = [statistics.stdev(scores) for _ in gains for scores in (a, b)]
    studies = [(high - low) / 4 for _ in gains for low, high in intervals]
    reaches = [half * len(seeds), 2 * math.hypot(*seeds), 2 * math.hypot(*seeds, *studies)]
    gap = max(gains) - min(gains)
    return reaches, "rounding" if gap < reaches[0] else "seeds" if gap < reaches[1] else "studies" if gap < reaches[
        2
    ] else "something else"


def changed(
    gains,
    half,
    a,
    b,
    intervals,
    *,
    printed=4,
    ddof=1,
    two=2,
    sds=2,
    width=4,
    root=math.sqrt,
    of_b=True,
    n=False,
    both=True,
    reason=first_enough,
):
    """The right answer unless told otherwise."""
    scores = (a, b) if of_b else (a,)
    seeds = sum(np.var(x, ddof=ddof) / (len(x) if n else 1) for x in scores)
    studies = sum(((high - low) / width) ** 2 for low, high in intervals[: len(scores)])
    reaches = printed * half, sds * root(two * seeds), sds * root(two * (both * seeds + studies))
    return reaches, reason(abs(gains[0] - gains[1]), reaches)


def added_deviations(gains, half, a, b, intervals):
    (rounding, _, _), reason = changed(gains, half, a, b, intervals)
    seeds, studies = np.std(a, ddof=1) + np.std(b, ddof=1), sum((high - low) / 4 for low, high in intervals)
    return (rounding, 2 * 2**0.5 * seeds, 2 * 2**0.5 * (seeds + studies)), reason


def of_gap(choose):
    """The right reaches, and the reason of what `choose` makes of the two gains."""

    def answer(gains, half, a, b, intervals):
        reaches, _ = changed(gains, half, a, b, intervals)
        return reaches, first_enough(choose(*gains), reaches)

    return answer


@pytest.mark.exercise("10.5", "right")
@pytest.mark.parametrize("answer", [by_numpy, by_statistics, changed])
def test_a_right_answer_passes(answer):
    checks.what_explains(answer)


@pytest.mark.exercise("10.5", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(changed, printed=1), "more than that may be off"),
        (partial(changed, printed=2), "rounded were the scores behind them"),
        (partial(changed, two=1), "this is the spread of *one* gain"),
        (partial(changed, n=True), "no mean of n seeds"),
        (partial(changed, ddof=0), "divides by n - 1"),
        (partial(changed, of_b=False), "B was trained again too"),
        (added_deviations, "standard deviations do not add up"),
        (partial(changed, sds=1), "this is one standard deviation"),
        (partial(changed, root=lambda x: x), "a variance is no distance"),
        (partial(changed, width=1), "the whole interval for one standard deviation"),
        (partial(changed, width=2), "half an interval is two standard deviations"),
        (partial(changed, both=False), "the last reach holds both"),
        (of_gap(lambda first, second: first - second), "a distance has no sign"),
        (of_gap(lambda first, second: abs(second)), "it is the *distance* of the two gains"),
        (of_gap(lambda first, second: abs(first)), "not the gain of the first paper"),
        (partial(changed, reason=lambda gap, reaches: "studies"), "the longest reach is not the explanation"),
        (partial(changed, reason=lambda gap, reaches: first_enough(gap, (*reaches[:2], math.inf))), "you never say"),
        (partial(changed, reason=lambda gap, reaches: first_enough(-gap, [-x for x in reaches])), "*within* its reach"),
        (
            partial(changed, reason=lambda gap, reaches: first_enough(gap, reaches[1:], ("seeds", "studies"))),
            "rounding comes first",
        ),
        (partial(changed, reason=lambda gap, reaches: "seeds"), "do not support 'seeds'"),
        (lambda *_: ((0.002, 0.01, 0.02), "seeds"), "is not right"),
        (lambda *_: ((0.002, math.nan, 0.02), "seeds"), "is not right"),
        (lambda *inputs: changed(*inputs)[1], "return two things"),
        (lambda *_: "ab", "return two things"),
        (lambda *inputs: changed(*inputs)[::-1], "in this order"),
        (lambda *inputs: (changed(*inputs)[0][:2], "seeds"), "3 are asked for"),
        (lambda *inputs: (0.01, "seeds"), "can't be read as numbers"),
        (lambda *inputs: (np.ones((3, 2)), "seeds"), "can't be read as numbers"),
        (lambda *inputs: (changed(*inputs)[0], "noise"), "'noise' is none of the reasons"),
        (lambda *inputs: (changed(*inputs)[0], ["seeds"]), "none of the reasons"),
        (lambda *_: None, "it returns nothing"),
    ],
)
def test_a_wrong_answer_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.what_explains(answer)


@pytest.mark.parametrize("other", range(40))
def test_every_explanation_is_asked_for_twice_and_none_is_close(other):
    """Once with the second gain above the first, once below; a distance is never about as long as a reach that is
    asked."""
    said, seeds_would_do = [], []
    for gains, half, a, b, intervals in checks._gaps(other):
        reaches, reason = by_statistics(gains, half, a, b, intervals)
        gap = gains[1] - gains[0]
        said.append((reason, gap > 0))
        asked = reaches[: 1 + checks.REASONS.index(reason)] if reason != checks.NONE else reaches
        assert min(abs(abs(gap) - reach) / reach for reach in asked) > 0.01
        assert all(low < np.mean(scores) < high for scores, (low, high) in zip((a, b), intervals, strict=True))
        seeds_would_do += [abs(gap) < reaches[1]] if reason == "rounding" else []
    assert sorted(seeds_would_do) == [False, True]
    assert sorted(said) == sorted((reason, up) for reason in checks.ANSWERS for up in (True, False))
    checks.what_explains(by_numpy, other=other)
    with pytest.raises(CheckError):
        checks.what_explains(partial(changed, ddof=0), other=other)


def test_the_reach_of_the_seeds_is_what_two_in_a_pair_of_gains_exceed_one_time_in_twenty():
    """The formula, against trainings drawn at random."""
    rng = np.random.default_rng(0)
    gains = rng.normal(0.13, 0.004, (2, 200_000)) - rng.normal(0.12, 0.003, (2, 200_000))
    many = [rng.normal(0.12, s, 5000).tolist() for s in (0.004, 0.003)]
    (_, reach, _), _ = by_numpy((0.0, 0.0), 0.0005, *many, ((0.1, 0.14), (0.1, 0.14)))
    assert np.mean(np.abs(gains[0] - gains[1]) > reach) == pytest.approx(0.0455, abs=0.004)
