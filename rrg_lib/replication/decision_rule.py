"""The rule that decides whether one system scores higher than another: three answers, from a difference of means and
the two reasons why it varies.

A difference of two means over seeds varies because other *studies* would have given another one, and because another
*training* would have:

    variance = variance_studies + s²_seeds · (1 / n_A + 1 / n_B)

`variance_studies` is that of the difference itself: both systems wrote of the same studies, and what is easy for one is
easy for the other. `s_seeds` is pooled over all systems of one kind, because the standard deviation of three seeds is
itself known to within a factor of four. What a difference must be in order to matter, `delta`, was declared beforehand
(`data/smallest_differences.csv`).

- *above*, *below*: Student's two-sided test at 5 % rejects "no difference".
- *no difference larger than delta*: two one-sided tests at 5 % reject both "delta more" and "delta less" (Schuirmann
  1987).
- *undecided*: neither; and then how many seeds or studies would decide it with a power of 80 %, if the difference is as
  seen.

Where one sentence stands for several comparisons their p-values are corrected together (Holm 1979): six chances to find
something are not one. What an undecided one of them needs is reckoned at a sixth of the level (Bonferroni), as none of
the six may count on the others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

from scipy import special, stats
from scipy.optimize import brentq

from rrg_lib.errors import ConfigurationError
from rrg_lib.runtime.package_data import table

#: Fewer seeds than these decide nothing about an order, whatever is known of other systems' seeds.
MIN_SEEDS = 3
#: Of every test, and the power that a planned study is to have.
ALPHA, POWER = 0.05, 0.8
#: More seeds than these nobody trains; then more studies are asked for.
MOST_SEEDS = 10_000
_Name = TypeVar("_Name", bound=Hashable)
Answer = Literal[
    "above", "below", "no difference", "undecided", "too few seeds", "not measured alike", "stored without intervals"
]
#: What can be said once there is something to compare, in the order of the list above.
ANSWERS: tuple[Answer, ...] = ("above", "below", "no difference", "undecided")


def smallest_difference(score: str) -> float:
    """The smallest difference of a score that matters, as `data/smallest_differences.csv` declares it. Raises
    `ConfigurationError` where it declares none."""
    known = {row["metric"]: float(row["delta"]) for row in table("smallest_differences")}
    if score not in known:
        raise ConfigurationError(
            f"no smallest difference of {score} is declared; add it to data/smallest_differences.csv before looking at "
            f"results"
        )
    return known[score]


class Pool(NamedTuple):
    """The standard deviation of one training's score over seeds, pooled over `systems` of one kind (`of`): variances
    weighted by their `freedom`."""

    sd: float
    freedom: float
    systems: int
    of: str

    def __str__(self) -> str:
        return (
            f"s of seeds {self.sd:.4f}, pooled over {self.systems} systems of {self.of}, {self.freedom:g} degrees of "
            "freedom"
        )


def pooled(scores: Sequence[Sequence[float]], of: str = "") -> Pool:
    """The pool of systems, each the scores of its seeds; systems of one seed say nothing. Its `sd` is NaN when none has
    two."""
    several = [each for each in scores if len(each) > 1]
    freedom = sum(len(each) - 1 for each in several)
    squares = sum((x - sum(each) / len(each)) ** 2 for each in several for x in each)
    return Pool(math.sqrt(squares / freedom) if freedom else math.nan, freedom, len(several), of)


class Arm(NamedTuple):
    """One of two systems: the mean over its seeds, how many they are, and the pool that says how much one of them
    varies. `with_studies` is what of its variance over studies falls with the seeds (`seeds_with_studies`)."""

    mean: float
    seeds: int
    pool: Pool
    with_studies: float = 0.0


class Need(NamedTuple):
    """What would decide an undecided order with a power of 80 %: `seeds` of each system on these studies; or, where no
    number of seeds would do (None), at least `studies`. `shows` is what that would show, should the difference be as
    seen: an order, or that there is no difference larger than delta."""

    seeds: int | None
    studies: int | None
    shows: str

    def __str__(self) -> str:
        if self.seeds is not None:
            return f"{self.seeds} seeds each on these studies would show {self.shows}"
        return (
            f"no number of seeds would do on these studies; at least {self.studies:,} studies, and seeds enough, would "
            f"show {self.shows}"
        )


class Scatter(NamedTuple):
    """Why a difference varies: its variance over these `studies`, whatever the seeds; what one training of each system
    adds, and the degrees of freedom that this is known with."""

    of_studies: float
    of_seed: float
    studies: int
    freedom: float


@dataclass(frozen=True)
class Order:
    """How A's score compares with B's. `margin` is what the difference must exceed where it is the only comparison (and
    the half of its 95 % interval); `p` of "no difference" (two-sided),
    `p_delta` of "as large as delta" (the larger of two one-sided ones), both corrected where `of` > 1 comparisons
    belong together. `note` says how the scores were compared, `scatter` why the difference varies."""

    answer: Answer
    difference: float = math.nan
    margin: float = math.nan
    seeds: int = 0
    delta: float = math.nan
    p: float = math.nan
    p_delta: float = math.nan
    freedom: float = math.nan
    need: Need | None = None
    note: str = ""
    of: int = 1
    scatter: Scatter | None = None

    @property
    def how(self) -> str:
        """The answer in words."""
        return f"no difference larger than {self.delta:g}" if self.answer == "no difference" else self.answer

    @property
    def told_apart(self) -> bool:
        return self.answer in ("above", "below")

    def excludes_gain(self, sign: int = 1) -> bool:
        """Whether "A is better than B by delta or more" is rejected at 5 % (one-sided, of this comparison alone):
        weaker than *no difference*, for A may be worse. `sign` -1: lower is better."""
        if self.answer not in ANSWERS:
            return False
        t = stats.t(self.freedom) if math.isfinite(self.freedom) else stats.norm
        return sign * self.difference + self.margin * float(t.isf(ALPHA) / t.isf(ALPHA / 2)) < self.delta

    def __str__(self) -> str:
        """ "above: +0.031, margin 0.020, p 0.004" and, where it is undecided, what would decide it."""
        text = f"{self.how}: {self.difference:+.3f}"
        if not math.isnan(self.margin):
            text += f", margin {self.margin:.3f}, p {self.p:.2g}"
        if self.of > 1:
            text += f" corrected for {self.of}"
        if self.of > 1 and self.answer == "undecided" and abs(self.difference) > self.margin:
            text += f", {'above' if self.difference > 0 else 'below'} if it stood alone"
        if self.told_apart and abs(self.difference) < self.delta:
            text += f", less than the {self.delta:g} that matters"
        return text + (f"; {self.need}" if self.need else "") + (f" ({self.note})" if self.note else "")


def judge(a: Arm, b: Arm, studies_variance: float, *, delta: float, studies: int, note: str = "") -> Order:
    """The rule of this module. `studies_variance` is the variance over studies of the difference of the two means,
    `studies` how many there are.

    What a seed and a study vary together is in both variances, of the studies and of the seeds: a test asks for a
    little more than it must. What an undecided order needs is reckoned with that part falling as seeds are added.

    The degrees of freedom are Welch and Satterthwaite's: those of the pools for the seeds, no end for the studies.
    Raises `ConfigurationError` for a delta that is not positive.
    """
    if not delta > 0:
        raise ConfigurationError(f"the smallest difference that matters is above 0, not {delta}")
    difference, seeds = a.mean - b.mean, min(a.seeds, b.seeds)
    if seeds < MIN_SEEDS:
        return Order("too few seeds", difference, seeds=seeds, delta=delta, note=note)
    of_seeds = [(a.pool.sd**2 * (1 / a.seeds + 1 / b.seeds), a.pool.freedom)]
    if a.pool is not b.pool and a.pool != b.pool:
        of_seeds = [(arm.pool.sd**2 / arm.seeds, arm.pool.freedom) for arm in (a, b)]
    variance = studies_variance + sum(part for part, _ in of_seeds)
    if math.isnan(variance):
        return Order("stored without intervals", difference, seeds=seeds, delta=delta, note=note)
    freedom = welch_freedom(of_seeds, studies_variance)
    se = max(math.sqrt(variance), 1e-12)
    t = stats.t(freedom) if math.isfinite(freedom) else stats.norm
    p = float(2 * t.sf(abs(difference) / se))
    p_delta = float(t.sf((delta - abs(difference)) / se))
    scatter = Scatter(
        max(0.0, studies_variance - sum(arm.with_studies / arm.seeds for arm in (a, b))),
        sum(arm.pool.sd**2 + arm.with_studies for arm in (a, b)),
        studies,
        welch_freedom(of_seeds),
    )
    margin = float(t.isf(ALPHA / 2)) * se
    return _answered(
        Order("undecided", difference, margin, seeds, delta, p, p_delta, freedom, note=note, scatter=scatter)
    )


def judge_change(change: float, se: float, freedom: float, *, values: int, trainings: int, delta: float) -> Order:
    """The rule of this module for how a score changes over a sweep of so many `values` of a setting, by the slope over
    all `trainings`: on the same studies, so what other studies would give is left out. What would decide it is in seeds
    of each value."""
    seeds, t = max(MIN_SEEDS - 1, trainings // values), stats.t(freedom)
    p, p_delta = float(2 * t.sf(abs(change) / se)), float(t.sf((delta - abs(change)) / se))
    scatter = Scatter(0.0, se**2 * trainings / values, 0, freedom)
    margin = float(t.isf(ALPHA / 2)) * se
    return _answered(Order("undecided", change, margin, seeds, delta, p, p_delta, freedom, scatter=scatter))


def welch_freedom(parts: Sequence[tuple[float, float]], certain: float = 0.0) -> float:
    """Degrees of freedom of a sum of variances, each (variance, freedom), and one that is known for sure (Welch,
    Satterthwaite)."""
    variance = certain + sum(part for part, _ in parts)
    known = sum(part**2 / freedom for part, freedom in parts if freedom and part)
    return variance**2 / known if known else math.inf


def _answered(one: Order) -> Order:
    """The answer that the p-values give; where it is undecided, with what it needs."""
    if one.p <= ALPHA:
        return replace(one, answer="above" if one.difference > 0 else "below", need=None)
    if one.p_delta <= ALPHA:
        return replace(one, answer="no difference", need=None)
    return replace(one, answer="undecided", need=_need(one) if one.scatter else None)


def _need(one: Order) -> Need:
    """The least that decides with the wanted power: more seeds each than there are, on these studies; else studies. Of
    several comparisons each test has its share of the level."""
    gap, level, scatter = abs(one.difference), ALPHA / one.of, one.scatter

    def shown(seeds: float) -> str:
        """What so many seeds each would show; "" for nothing."""
        of_seeds = scatter.of_seed / seeds
        variance = max(scatter.of_studies + of_seeds, 1e-24)
        share = of_seeds**2 * (one.seeds - 1) / (scatter.freedom * (seeds - 1))  # the pool's freedom grows with them
        freedom = min(variance**2 / share, _NO_END) if share else _NO_END
        se = math.sqrt(variance)
        if gap >= (_quantile(1 - level / 2, freedom) + _SURE) * se:
            return _ORDER
        return _ALIKE if _equivalence_power(gap, one.delta, se, _quantile(1 - level, freedom)) >= POWER else ""

    if shown(MOST_SEEDS):
        low, high = one.seeds, MOST_SEEDS  # `low` seeds are those that did not decide
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if shown(middle) else (middle, high)
        return Need(high, None, shown(high).format(one.delta))
    order_at = gap / (_quantile(1 - level / 2, _NO_END) + _SURE)  # the standard error at which the order would be seen
    at, shows = max((order_at, _ORDER), (_equivalence_at(gap, one.delta, level), _ALIKE))
    return Need(None, math.ceil(scatter.studies * scatter.of_studies / at**2), shows.format(one.delta))


_ORDER, _ALIKE = "an order as large as the one seen", "that none is larger than {:g}"
#: Degrees of freedom of what is known for sure, and the normal quantile of the power.
_NO_END, _SURE = 1e9, float(stats.norm.ppf(POWER))


def _quantile(level: float, freedom: float) -> float:
    return float(special.stdtrit(freedom, level))


def _equivalence_power(gap: float, delta: float, se: float, quantile: float) -> float:
    """How often two one-sided tests with that quantile show that a difference, `gap` in truth, is no larger than
    delta."""
    return float(special.ndtr((delta - gap) / se - quantile) - special.ndtr((-delta - gap) / se + quantile))


def _equivalence_at(gap: float, delta: float, level: float) -> float:
    """The standard error at which two one-sided tests show with the wanted power that the difference, `gap` in truth,
    is no larger than delta; 0 for never."""
    if gap >= delta:
        return 0.0
    z = _quantile(1 - level, _NO_END)

    def lacking(se: float) -> float:
        return _equivalence_power(gap, delta, se, z) - POWER

    low, high = delta * 1e-6, delta / z
    return float(brentq(lacking, low, high)) if lacking(low) > 0 else 0.0


def corrected(orders: Mapping[_Name, Order]) -> dict[_Name, Order]:
    """The comparisons that one sentence stands for, their p-values corrected together: each test is made at 5 % for all
    of them. Those that could not be made are left as they are and count for nothing."""
    tested = {name: one for name, one in orders.items() if one.answer in ANSWERS}
    if len(tested) < 2:
        return dict(orders)
    both = zip(
        tested, holm([one.p for one in tested.values()]), holm([one.p_delta for one in tested.values()]), strict=True
    )
    adjusted = {name: replace(tested[name], p=p, p_delta=p_delta, of=len(tested)) for name, p, p_delta in both}
    return {name: _answered(adjusted[name]) if name in adjusted else one for name, one in orders.items()}


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number, in their order: the smallest times n, the next times n - 1, never falling
    (Holm 1979)."""
    corrected_p, highest = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        highest = max(highest, min(1.0, p[at] * (len(p) - rank)))
        corrected_p[at] = highest
    return corrected_p
