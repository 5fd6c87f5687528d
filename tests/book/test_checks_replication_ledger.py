"""Chapter 10's checks: the solved form passes, the usual mistakes fail, each with its own hint."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from decimal import Decimal
from functools import partial

import numpy as np
import pytest
from exercises import exercises_of
from places import ROOT
from scipy import stats

from rrg_lib.book.checks import CheckError
from rrg_lib.book.checks import replication_ledger as checks
from rrg_lib.replication.decision_rule import Arm, Pool, judge


def by_decimals(better, worse):
    highest, lowest = (
        Decimal(x) + sign * Decimal(5).scaleb(Decimal(x).as_tuple().exponent - 1)
        for x, sign in ((better, 1), (worse, -1))
    )
    return "contradicted" if highest < lowest else "consistent"


def by_statistics(a, b, s_studies, s_seeds, t, t_1, delta):
    if len(a) < 3 or len(b) < 3:
        return "undecided"
    s = math.hypot(s_studies, s_seeds / len(a) ** 0.5, s_seeds / len(b) ** 0.5)
    apart = statistics.fmean(a) - statistics.fmean(b)
    low, high = apart - t_1 * s, apart + t_1 * s
    if abs(apart) > t * s:
        return "above" if apart > 0 else "below"
    return "no difference" if -delta < low and high < delta else "undecided"


@pytest.mark.exercise("10", "right")
@pytest.mark.parametrize(
    ("check", "answer"),
    [
        (checks.rounding_verdict, by_decimals),
        (
            checks.average_gain,
            lambda s, b: float(np.mean([100 * (s[metric] - base) / base for metric, base in b.items()])),
        ),
        (checks.share_of_slots, lambda slots, d, base, maps: 100 / base * d * (slots + maps * (d + 1))),
        (checks.order_verdict, by_statistics),
    ],
)
def test_a_right_answer_passes(check, answer):
    check(answer)


def rounded(better, worse, unit=0.5, text=str, swap=False, whole=3, ends=True):
    if swap:
        better, worse = worse, better
    if whole is None:
        half = [unit * 10.0 ** -len(text(x).partition(".")[2]) for x in (better, worse)]
    else:
        half = [unit * 10.0**-whole] * 2
    a, b = float(better) + half[0], float(worse) - half[1]
    return "contradicted" if (round(a, 9) < round(b, 9) if ends else a < b) else "consistent"


def touching(better, worse):
    highest, lowest = (
        Decimal(x) + sign * Decimal(5).scaleb(Decimal(x).as_tuple().exponent - 1)
        for x, sign in ((better, 1), (worse, -1))
    )
    return "contradicted" if highest <= lowest else "consistent"


def coarser_for_both(better, worse):
    half = max(Decimal(5).scaleb(Decimal(x).as_tuple().exponent - 1) for x in (better, worse))
    return "contradicted" if Decimal(better) + half < Decimal(worse) - half else "consistent"


@pytest.mark.exercise("10.1", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda a, b: "contradicted" if float(a) < float(b) else "consistent", "You compare the numbers as they stand"),
        (partial(rounded, whole=None, swap=True), "You compare the wrong way round"),
        (partial(rounded, whole=None, unit=1), "half a unit of the last digit"),
        (partial(rounded, whole=None, text=lambda x: str(float(x))), "Count the digits of the text"),
        (partial(rounded, whole=3), "own number of digits"),
        (partial(rounded, whole=None, ends=False), "your computer's binary fractions make ends that touch differ"),
        (touching, "Two intervals that only touch allow it"),
        (coarser_for_both, "even the highest"),
        (lambda a, b: "fails", "return 'consistent' or 'contradicted'"),
    ],
)
def test_rounding_mistakes(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.rounding_verdict(answer)


@pytest.mark.exercise("10.2", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (
            lambda s, b: 100 * (np.mean(list(s.values())) / np.mean(list(b.values())) - 1),
            "large metrics then drown small ones",
        ),
        (lambda s, b: 100 * np.mean([s[m] - b[m] for m in b]), "these are points"),
        (lambda s, b: 100 * np.mean([s[m] / b[m] for m in b]), "the 1 is missing"),
        (lambda s, b: 100 * np.mean([1 - b[m] / s[m] for m in b]), "gained *over the base*"),
        (lambda s, b: 100 * np.mean([b[m] / s[m] - 1 for m in b]), "the two are swapped"),
        (lambda s, b: np.mean([s[m] / b[m] - 1 for m in b]), "a hundred times"),
        (lambda s, b: 100 * (s["BLEU-4"] / b["BLEU-4"] - 1), "one metric alone"),
        (lambda s, b: 100 * sum(s[m] / b[m] - 1 for m in b), "divide by their number"),
        (lambda s, b: 100 * sum(s[m] / b[m] - 1 for m in b) / 6, "you divide by six"),
        (lambda s, b: 100 * (math.prod(s[m] / b[m] for m in b) ** (1 / len(b)) - 1), "the geometric mean"),
        (lambda s, b: "19.6 %", "return one number"),
    ],
)
def test_gain_mistakes(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.average_gain(answer)


@pytest.mark.exercise("10.3", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda n, d, base, maps: 100 * (n * d + maps * d * d) / base, "has a bias too"),
        (lambda n, d, base, maps: 100 * (n * d + 4 * (d * d + d)) / base, "you count four maps"),
        (lambda n, d, base, maps: 100 * (n * d + maps * d * d + d) / base, "a bias of its own"),
        (lambda n, d, base, maps: 100 * n * d / base, "the linear maps are missing"),
        (lambda n, d, base, maps: 100 * (n * d + d * d + d) / base, "you count the maps once"),
        (
            lambda n, d, base, maps: 100 * (n * d + maps * (d * d + d)) / (base + n * d + maps * (d * d + d)),
            "what was there *before*",
        ),
        (lambda n, d, base, maps: (n * d + maps * (d * d + d)) / base, "a hundred times"),
        (lambda n, d, base, maps: 400 * (n * d + maps * (d * d + d)) / base, "these are bytes"),
        (lambda n, d, base, maps: 100 * (n + maps * (d * d + d)) / base, "a slot is a vector"),
    ],
)
def test_share_mistakes(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.share_of_slots(answer)


def only_b_counts(a, b, *rest):
    return "undecided" if len(b) < 3 else checks._order(a, b, *rest, fewest=1)


def six_in_all(a, b, *rest):
    return "undecided" if len(a) + len(b) < 6 else checks._order(a, b, *rest, fewest=1)


@pytest.mark.exercise("10.4", "wrong")
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (partial(checks._order, fewest=1), "fewer than three seeds"),
        (partial(checks._order, otherwise="no difference"), "not told apart is not the same as alike"),
        (partial(checks._order, equal=False), "that is an answer, 'no difference'"),
        (partial(checks._order, below="undecided"), "on the other side is 'below'"),
        (partial(checks._order, over_n=False), "is that of a seed over n"),
        (partial(checks._order, of_b=False), "B's mean varies as well"),
        (partial(checks._order, same_n=True), "its own number of seeds: 1/n_a + 1/n_b"),
        (partial(checks._order, one_mean=True), "is not 1/(n_a + n_b)"),
        (partial(checks._order, exchanged=True), "the two quantiles are exchanged"),
        (only_b_counts, "'undecided', not"),
        (six_in_all, "'undecided', not"),
        (partial(checks._order, studies=False), "the studies are missing"),
        (partial(checks._order, seeds=False), "the seeds are missing"),
        (partial(checks._order, roots=True), "you add the roots"),
        (partial(checks._order, use_t=False), "the factor is missing"),
        (partial(checks._order, studies_over_n=True), "averaging seeds does not shrink"),
        (partial(checks._order, studies_twice=True), "it counts once, not for A and for B"),
        (partial(checks._order, own_seeds=True), "of these few seeds is hardly known"),
        (partial(checks._order, swap=True), "the order is turned round"),
        (partial(checks._order, one_sided=False), "its quantile is t_1"),
        (partial(checks._order, room=False), "needs room"),
        (partial(checks._order, gap=False), "not its margin alone"),
        (partial(checks._order, sign=True), "one that is negative may be too small to matter as well"),
        (partial(checks._order, equal_first=True), "ask for an order first"),
        (partial(checks._order, delta_order=True), "delta does not decide an order"),
        (lambda *inputs: "holds", "return 'above', 'below', 'no difference', 'undecided'"),
    ],
)
def test_order_mistakes(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.order_verdict(answer)


def test_the_exercise_is_the_ledgers_rule():
    """With the ledger's own quantiles the chapter's answer and `deciding.judge` agree on random systems, all four
    answers among them."""
    chapter = exercises_of(ROOT / "notebooks" / "10_replication_ledger.py")
    (solution,) = (exercise.solution for exercise in chapter if exercise.functions == ("order_verdict",))
    scope = {"math": math, "np": np}
    exec(solution, scope)
    rng, answer, met = np.random.default_rng(0), scope["order_verdict"], Counter()
    for _ in range(400):
        pool = Pool(float(rng.uniform(0, 0.008)), 40, 20, "made")
        a, b = (rng.normal(0.12 + shift, 0.004, rng.integers(2, 6)).tolist() for shift in (rng.normal(0, 0.008), 0.0))
        studies = float(rng.uniform(0.0005, 0.006))
        arms = [Arm(float(np.mean(x)), len(x), pool) for x in (a, b)]
        found = judge(*arms, studies**2, delta=0.01, studies=590)
        s = (studies**2 + pool.sd**2 * (1 / len(a) + 1 / len(b))) ** 0.5
        t, t_1 = (
            (stats.t.ppf(q, found.freedom) for q in (0.975, 0.95)) if found.answer != "too few seeds" else (1.96, 1.64)
        )
        assert np.isnan(found.margin) or t * s == pytest.approx(found.margin)
        met[said := answer(a, b, studies, pool.sd, t, t_1, 0.01)] += 1
        assert said == {"too few seeds": "undecided"}.get(found.answer, found.answer)
    assert min(met[verdict] for verdict in checks.VERDICTS) > 10


# --- 10.5: what explains that two gains differ ------------------------------------------------------------------------


def first_enough(gap, reaches, names=("rounding", "seeds", "studies")):
    return next((name for name, reach in zip(names, reaches, strict=True) if gap <= reach), "something else")


def by_numpy(gains, half, a, b, intervals):
    of_seeds = 2 * (np.var(a, ddof=1) + np.var(b, ddof=1))
    of_studies = 2 * np.square(np.diff(intervals) / 4).sum()
    reaches = np.array([4 * half, 2 * of_seeds**0.5, 2 * (of_seeds + of_studies) ** 0.5])
    return reaches, first_enough(abs(np.subtract(*gains)), reaches)


def score_by_score(gains, half, a, b, intervals):
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
    power=2,
    root=math.sqrt,
    of_b=True,
    n=False,
    both=True,
    reason=first_enough,
):
    """The right answer unless told otherwise."""
    scores = (a, b) if of_b else (a,)
    seeds = sum(np.var(x, ddof=ddof) / (len(x) if n else 1) for x in scores)
    studies = sum(((high - low) / width) ** power for low, high in intervals[: len(scores)])
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
@pytest.mark.parametrize("answer", [by_numpy, score_by_score, changed])
def test_a_right_explanation_passes(answer):
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
        (partial(changed, power=1), "square them before"),
        (partial(changed, width=3.92), "take four standard deviations for the whole interval"),
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
def test_a_wrong_explanation_is_told_what_is_wrong(answer, hint):
    with pytest.raises(CheckError, match=re.escape(hint)):
        checks.what_explains(answer)


@pytest.mark.parametrize("other", range(40))
def test_every_explanation_is_asked_for_twice_and_none_is_close(other):
    """Once with the second gain above the first, once below; a distance is never about as long as a reach that is
    asked."""
    said, seeds_would_do = [], []
    for gains, half, a, b, intervals in checks._gaps(other):
        reaches, reason = score_by_score(gains, half, a, b, intervals)
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
