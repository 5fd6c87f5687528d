"""The paired test and the spread of seeds; intervals are in test_evaluation.py."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.nlg import nlg_scores
from rrg_lib.evaluation.resampling import (
    Additive,
    bootstrap_weights,
    mean_of,
    over_seeds,
    paired_randomisation,
    resampled_each,
    seeds_with_studies,
)


def test_all_exchanges_of_a_few_studies_give_the_exact_p():
    a, b = np.random.default_rng(1).normal(size=(2, 9))
    gap = a - b
    exact = np.mean([abs(np.dot(signs, gap)) >= abs(gap.sum()) - 1e-12 for signs in product((1, -1), repeat=9)])
    found = paired_randomisation(mean_of(a), mean_of(b), trials=40_000)
    assert found.difference == pytest.approx(gap.mean())
    assert found.p == pytest.approx(exact, abs=0.01) and 0.05 < exact < 0.95


def test_for_means_it_agrees_with_scipy_and_with_the_t_test():
    a = np.random.default_rng(1).normal(0.5, 1, 300)
    b = a - np.random.default_rng(2).normal(0.12, 1, 300)
    found = paired_randomisation(mean_of(a), mean_of(b))
    scipys = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", n_resamples=9999, rng=0
    )
    assert found.p == pytest.approx(scipys.pvalue, abs=0.015) and found.p == pytest.approx(
        stats.ttest_rel(a, b).pvalue, abs=0.015
    )


def test_bleu_of_an_exchange_equals_scoring_the_exchanged_reports():
    draw = np.random.default_rng(3)
    words = ["no", "clear", "lungs", "heart", "normal", "."]
    wanted, one, two = ({str(i): " ".join(draw.choice(words, size=9)) for i in range(8)} for _ in range(3))
    of = lambda reports: nlg_scores(wanted, reports, metrics=["BLEU-2"])  # noqa: E731
    a, b = (of(reports).additive["BLEU-2"] for reports in (one, two))
    found = []
    for swapped in product((False, True), repeat=8):
        x, y = (
            {i: (q if swap else p)[i] for i, swap in zip(wanted, swapped, strict=True)}
            for p, q in ((one, two), (two, one))
        )
        found.append(of(x).corpus["BLEU-2"] - of(y).corpus["BLEU-2"])
    exact = np.mean(np.abs(found) >= abs(found[0]) - 1e-12)
    test = paired_randomisation(a, b, trials=20_000)
    assert test.difference == pytest.approx(found[0]) and test.p == pytest.approx(exact, abs=0.015)


def test_equal_systems_never_differ_and_the_order_of_two_does_not_matter():
    a, b = (mean_of(values) for values in np.random.default_rng(4).random((2, 60)))
    assert paired_randomisation(a, a) == (0.0, 1.0, 10_000)
    there, back = paired_randomisation(a, b), paired_randomisation(b, a)
    assert there.p == back.p and there.difference == -back.difference
    assert paired_randomisation(a, b, seed=1).p == paired_randomisation(a, b, seed=1).p != there.p


def test_a_sure_difference_is_as_small_as_the_trials_allow():
    better, worse = mean_of(np.arange(200) + 1.0), mean_of(np.arange(200))
    assert paired_randomisation(better, worse, trials=999).p == pytest.approx(1 / 1000)
    assert paired_randomisation(better, worse, trials=2500) == (1.0, 1 / 2501, 2500)


def test_chance_alone_is_seldom_called_a_difference():
    """Of 200 pairs that differ by chance, about one in twenty has p <= 0.05."""
    draw = np.random.default_rng(5)
    p = [
        paired_randomisation(*(mean_of(values) for values in draw.normal(size=(2, 40))), trials=400, seed=i).p
        for i in range(200)
    ]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.10


def test_seeds_are_exchanged_together():
    a, b = np.random.default_rng(6).random((2, 3, 50))
    several = paired_randomisation([mean_of(x) for x in a], [mean_of(x) for x in b])
    assert several == pytest.approx(paired_randomisation(mean_of(a.mean(0)), mean_of(b.mean(0))))


def test_undefined_trials_are_left_out():
    def seldom(values):
        return Additive(np.array(values, float)[:, None], lambda sums: np.where(sums[..., 0] > 0, 1.0, np.nan))

    assert paired_randomisation(seldom([1, 1]), seldom([1, 1]), trials=50).p == 1
    assert math.isnan(paired_randomisation(seldom([0, 0]), seldom([1, 1]), trials=50).p)


def test_what_cannot_be_paired_is_refused():
    one, other = mean_of([1.0, 2.0]), mean_of([1.0])
    for a, b, message in (
        ([one, one], one, "2 and 1"),
        ([], [], "at least one"),
        (one, other, "same studies"),
        (mean_of([]), mean_of([]), "at least one"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            paired_randomisation(a, b)
    with pytest.raises(ConfigurationError, match="not 0"):
        paired_randomisation(one, one, trials=0)


def test_seeds_have_a_mean_a_sample_deviation_and_a_number():
    assert over_seeds([0.1, 0.2, 0.6]) == pytest.approx((0.3, math.sqrt(0.07), 3))
    alone = over_seeds([0.12])
    assert (alone.mean, alone.n) == (0.12, 1) and math.isnan(alone.sd)
    assert (str(alone), str(over_seeds([0.1, 0.2]))) == ("0.120 (1 seed)", "0.150 ± 0.071 (2 seeds)")
    with pytest.raises(ConfigurationError, match="train the system first"):
        over_seeds([])


def test_seeds_are_resampled_together_as_each_alone_and_the_weights_are_nobodys_to_change():
    rng = np.random.default_rng(0)
    seeds = [mean_of(rng.random(50)), mean_of(rng.random(50)), Additive(rng.random((50, 3)), lambda s: s[..., 2])]
    weights = bootstrap_weights(50)
    assert weights is bootstrap_weights(50, resamples=1000, seed=0)
    np.testing.assert_allclose(resampled_each(seeds, weights), [s.resampled(weights) for s in seeds], rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1
    for scores in ([], [mean_of(rng.random(49))]):
        with pytest.raises(ConfigurationError, match="of the same studies, 50 of them"):
            resampled_each(scores, weights)


def test_what_seeds_and_studies_vary_together_is_told_from_what_studies_vary_alone():
    """Scores of 400 studies: as hard for every training (.2), and luck of one training with one study (.3)."""
    rng, n, seeds = np.random.default_rng(0), 400, 8
    hard = rng.normal(0, 0.2, n)
    weights = bootstrap_weights(n)
    found = [
        seeds_with_studies(resampled_each([mean_of(hard + rng.normal(0, 0.3, n)) for _ in range(seeds)], weights))
        for _ in range(20)
    ]
    assert np.mean(found) == pytest.approx(0.3**2 / n, rel=0.1)
    alike = resampled_each([mean_of(hard)] * seeds, weights)
    assert seeds_with_studies(alike) == pytest.approx(0, abs=1e-12) and seeds_with_studies(alike[:1]) == 0
