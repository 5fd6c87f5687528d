"""The rule that decides: paired over studies, seeds pooled, three answers, and what an undecided order would need."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from rrg_lib.errors import ConfigurationError
from rrg_lib.replication.decision_rule import Arm, Order, Pool, corrected, holm, judge, pooled, smallest_difference
from rrg_lib.runtime.package_data import table

POOL = Pool(0.01, 80, 40, "made")


def made(difference: float, *, studies: float = 0.0, seeds: int = 3, delta: float = 0.02, pool: Pool = POOL) -> Order:
    return judge(Arm(0.5 + difference, seeds, pool), Arm(0.5, seeds, pool), studies, delta=delta, studies=590)


def test_the_margin_is_students_quantile_times_the_error_of_studies_and_seeds():
    """variance = that of the studies + s² (1/3 + 1/3); Welch and Satterthwaite's degrees of freedom, 80 of them in the
    seeds' part."""
    of_seeds = 0.01**2 * 2 / 3
    variance = 0.004**2 + of_seeds
    found = made(0.03, studies=0.004**2)
    freedom = variance**2 / (of_seeds**2 / 80)
    assert found.freedom == pytest.approx(freedom) and found.margin == pytest.approx(
        stats.t.ppf(0.975, freedom) * variance**0.5
    )
    assert found.p == pytest.approx(2 * stats.t.sf(0.03 / variance**0.5, freedom)) and (found.answer, found.how) == (
        "above",
        "above",
    )


def test_three_answers_and_two_at_once():
    """A difference beyond the margin is an order, small or not; within delta by two one-sided tests it is none that
    matters; else undecided."""
    sharp = Pool(0.001, 80, 40, "made")
    assert [made(x).answer for x in (0.03, -0.03, 0.01)] == ["above", "below", "undecided"]
    assert made(0.0005, pool=sharp).how == "no difference larger than 0.02"
    assert made(0.01, pool=sharp).answer == "above" and "less than the 0.02 that matters" in str(made(0.01, pool=sharp))
    assert [made(0.03, seeds=n).answer for n in (2, 3)] == ["too few seeds", "above"]
    assert made(0.03, studies=float("nan")).answer == "stored without intervals"
    with pytest.raises(ConfigurationError, match="is above 0, not 0"):
        made(0.1, delta=0)


def test_arms_of_two_pools_have_their_own_spread():
    a, b = Pool(0.01, 12, 6, "greedy"), Pool(0.03, 84, 42, "edition 0.1")
    found = judge(Arm(0.5, 3, a), Arm(0.5, 5, b), 0.0, delta=0.02, studies=590)
    parts = 0.01**2 / 3, 0.03**2 / 5
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 12 + parts[1] ** 2 / 84)
    assert found.freedom == pytest.approx(freedom) and found.margin == pytest.approx(
        stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5
    )


def test_on_made_systems_the_rule_keeps_its_word():
    """Of equal systems, five in a hundred or fewer are called different; of those delta apart, as few are called alike;
    clear ones are seen."""
    rng = np.random.default_rng(0)

    def judged(gap: float) -> Counter:
        found = Counter()
        for _ in range(1500):
            pool = pooled(rng.normal(0, 0.01, (14, 3)).tolist())
            a, b = (np.mean(rng.normal(0, 0.01, 3)) for _ in "ab")
            shift = gap + rng.normal(0, 0.004)
            found[judge(Arm(a + shift, 3, pool), Arm(b, 3, pool), 0.004**2, delta=0.02, studies=590).answer] += 1
        return found

    equal, apart, clear = judged(0.0), judged(0.02), judged(0.05)
    assert (
        (equal["above"] + equal["below"]) / 1500 < 0.065
        and apart["no difference"] / 1500 < 0.065
        and clear["above"] / 1500 > 0.99
    )


def test_what_an_undecided_order_needs_decides_it():
    """Planned seeds, drawn anew, decide in 80 of 100; where the studies alone vary by more, no number of seeds does,
    and studies are asked for."""
    found = made(0.012, studies=0.003**2)
    assert found.answer == "undecided" and found.need.studies is None
    n, rng = found.need.seeds, np.random.default_rng(1)
    answers = Counter()
    for _ in range(2000):
        seen = 0.012 + rng.normal(0, (0.003**2 + 2 * 0.01**2 / n) ** 0.5)
        answers[made(seen, studies=0.003**2, seeds=n).answer] += 1
    assert answers["above"] / 2000 == pytest.approx(0.8, abs=0.04), (n, answers)
    wide = made(0.012, studies=0.02**2)
    assert wide.need.seeds is None and wide.need.studies > 590 and "no number of seeds would do" in str(wide)
    enough = judge(
        Arm(0.512, 10**6, POOL),
        Arm(0.5, 10**6, POOL),
        0.02**2 * 590 / wide.need.studies,
        delta=0.02,
        studies=wide.need.studies,
    )
    assert enough.answer == "above"


def test_equal_systems_need_as_many_seeds_as_show_that_nothing_larger_is_there():
    found = made(0.0, studies=0.002**2, pool=Pool(0.02, 80, 40, "made"))
    assert found.need.shows == "that none is larger than 0.02"
    n, rng = found.need.seeds, np.random.default_rng(2)
    drawn = rng.normal(0, (0.002**2 + 2 * 0.02**2 / n) ** 0.5, 2000)
    alike = (
        sum(
            made(x, studies=0.002**2, seeds=n, pool=Pool(0.02, 80, 40, "made")).answer == "no difference" for x in drawn
        )
        / 2000
    )
    assert alike == pytest.approx(0.8, abs=0.04), n


def test_six_chances_are_corrected_by_holm():
    """The smallest of six p-values counts six times; what only one chance called different is undecided among six."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    single = made(-0.0195)
    assert single.answer == "below" and 0.01 < single.p < 0.05
    six = corrected({f"metric {i}": made(0.001) for i in range(5)} | {"METEOR": single})
    assert (
        six["METEOR"].answer == "undecided"
        and six["METEOR"].p == pytest.approx(6 * single.p)
        and "corrected for 6" in str(six["METEOR"])
    )
    assert str(six["METEOR"].need) in str(six["METEOR"])  # it needed nothing alone
    untouched = Order("too few seeds", 0.1)
    assert corrected({"a": single, "b": untouched}) == {"a": single, "b": untouched}


def test_what_one_of_six_needs_is_reckoned_for_six():
    """Planned for six together, each drawn anew with that many seeds is seen in 80 of 100 by the hardest rank of Holm's
    correction."""
    gap, of_studies = 0.019, 0.004**2
    one = corrected({str(i): made(gap, studies=of_studies) for i in range(6)})["0"]
    assert made(gap, studies=of_studies).answer == "above" and one.answer == "undecided"
    n, rng = one.need.seeds, np.random.default_rng(3)
    seen = [
        made(gap + rng.normal(0, (of_studies + 2 * 0.01**2 / n) ** 0.5), studies=of_studies, seeds=n).p * 6 <= 0.05
        for _ in range(2000)
    ]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.04), n


def test_the_pool_weighs_variances_by_their_freedom():
    found = pooled([[1.0, 2.0, 3.0], [5.0, 5.0], [9.0]], "made")
    assert (found.sd, found.freedom, found.systems) == (pytest.approx((2 / 3) ** 0.5), 3, 2)
    assert np.isnan(pooled([[1.0]]).sd)


def test_smallest_differences_are_declared_before():
    assert (smallest_difference("finding-F1"), smallest_difference("BLEU-4")) == (0.02, 0.01)
    assert all(float(row["delta"]) > 0 and row["declared"] and row["why"] for row in table("smallest_differences"))
    with pytest.raises(ConfigurationError, match="no smallest difference of accuracy is declared"):
        smallest_difference("accuracy")
