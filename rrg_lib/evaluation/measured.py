"""What our stored results say of a preset, and whether two presets can be told apart: the one rule by which the ledger decides an order.

A score of a trained system varies for two reasons: other studies would have given another one, and so would another training seed. The stored bootstrap
intervals hold the first, the spread of the seeds the second. Of the mean over n seeds

    variance = s²_studies + s²_seeds / n

where s_studies comes from the width of the intervals (the seeds are scored on the same studies, so averaging them does not shrink it). **A is above B
when the difference of the means exceeds t · sqrt(variance_A + variance_B)**, t the two-sided 95 % quantile of Student's distribution; its degrees of
freedom are Welch and Satterthwaite's, with n - 1 for the seeds of each and no end for the studies. Both systems were scored on the same studies, and
what is easy for one is easy for the other, so treating them as independent asks for more than a paired test would (`rrg compare` makes one from the
reports themselves). Fewer than three seeds decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from scipy import stats

from rrg_lib.errors import ConfigurationError
from rrg_lib.evaluation.report import FINDING_F1
from rrg_lib.evaluation.statistics import Spread, over_seeds
from rrg_lib.hashing import content_hash

if TYPE_CHECKING:
    from rrg_lib.presets import Experiment
    from rrg_lib.results import StoredResult

#: Fewer seeds than these decide nothing about an order.
MIN_SEEDS = 3
#: Which profile's results are shown, the first that is there.
PROFILE_ORDER = ("gpu", "laptop", "ci")
LEVEL = 0.95
#: How many standard deviations a stored interval reaches to both sides.
_REACH = float(stats.norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Measured:
    """Our runs of one system on one dataset in one profile, a seed each: the spread of a score over seeds, and over studies `low` and `high`, the lowest
    and highest bound of the seeds' intervals, and `s_studies`. `protocols` are the different ways in which they were measured: one, or they don't belong
    together. NaN stands for intervals that were not stored."""

    dataset: str
    profile: str
    labels: str | None
    spread: Spread
    low: float
    high: float
    s_studies: float
    protocols: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"{self.dataset}, {self.profile}" + (f", labels: {self.labels}" if self.labels else "")

    @property
    def protocol(self) -> str:
        return "; ".join(self.protocols)

    @property
    def s2_seeds(self) -> float:
        """Variance of the mean by the seeds; 0 for a single one, of whose spread nothing is known."""
        return self.spread.sd**2 / self.spread.n if self.spread.n > 1 else 0.0

    @property
    def variance(self) -> float:
        """Of the mean over seeds."""
        return self.s_studies**2 + self.s2_seeds


@dataclass(frozen=True)
class Order:
    """How A's score compares with B's: `how` is "above", "below" or "not told apart", or why nothing can be said: "too few seeds", "not measured alike",
    "stored without intervals"."""

    difference: float
    margin: float
    seeds: int
    how: str


def order(a: Measured, b: Measured) -> Order:
    """The rule of this module."""
    difference, seeds = a.spread.mean - b.spread.mean, min(a.spread.n, b.spread.n)
    margin = _margin(a, b)
    if len({*a.protocols, *b.protocols}) > 1:
        how = "not measured alike"
    elif seeds < MIN_SEEDS:
        how = "too few seeds"
    elif math.isnan(margin):
        how = "stored without intervals"
    else:
        how = "above" if difference > margin else "below" if difference < -margin else "not told apart"
    return Order(difference, margin, seeds, how)


def _margin(a: Measured, b: Measured) -> float:
    variance = a.variance + b.variance
    if math.isnan(variance):
        return math.nan
    seeds = sum(m.s2_seeds**2 / (m.spread.n - 1) for m in (a, b) if m.spread.n > 1)
    freedom = variance**2 / seeds if seeds else math.inf  # Welch and Satterthwaite; without a spread of seeds the normal distribution
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)


def measured(
    results: Sequence[StoredResult], preset: str, dataset: str, score: str, *, profile: str | None = None, labels: str | None = None
) -> Measured | None:
    """Our seeds of a preset, as it is, on a dataset: of `profile`, or of the largest that was run. None where nothing is stored.

    A memory that is gated by labels was told the classifier's unless `labels` says otherwise. Runs of other settings do not count.
    Raises `ConfigurationError` for a seed that is stored twice.
    """
    found = [r for r in _of(results, preset, dataset, labels) if r.is_preset]
    return _summary(found, score, profile)


def measured_as(results: Sequence[StoredResult], what: Experiment, score: str, *, labels: str | None = None) -> Measured | None:
    """Our seeds of an experiment with whatever settings it has, its own seed among them or not. None where nothing is stored. Raises as `measured`."""
    found = [r for r in _of(results, what.preset, what.dataset, labels) if _seedless(r.experiment) == _seedless(what)]
    return _summary(found, score, what.profile)


def swept(
    results: Sequence[StoredResult], preset: str, setting: str, dataset: str, score: str, *, profile: str | None = None, labels: str | None = None
) -> dict[Any, Measured]:
    """Value of a setting ("memory.top_k") -> our seeds with it, all other settings those of the preset; smallest first. Only of a profile where the
    preset's own value is stored too; empty where nothing else is stored than that."""
    part, _, name = setting.partition(".")
    for which in (profile,) if profile else PROFILE_ORDER:
        here = [r for r in _of(results, preset, dataset, labels) if r.experiment.profile == which and hasattr(getattr(r.experiment, part), name)]
        own = {_without(r, part, name) for r in here if r.is_preset}
        by_value: dict[Any, list[StoredResult]] = {}
        for r in here:
            if _without(r, part, name) in own:
                by_value.setdefault(getattr(getattr(r.experiment, part), name), []).append(r)
        found = {value: _summary(runs, score, which) for value, runs in sorted(by_value.items())}
        if len(found := {value: summary for value, summary in found.items() if summary}) > 1:
            return found
    return {}


def _of(results: Sequence[StoredResult], preset: str, dataset: str, labels: str | None) -> list[StoredResult]:
    found = [r for r in results if (r.experiment.preset, r.experiment.dataset) == (preset, dataset)]
    return [r for r in found if r.labels_at_test in (None, labels or "classifier")]


def _seedless(what: Experiment) -> dict[str, Any]:
    """The experiment's settings without the seed."""
    data = what.to_json()
    return {**data, "training": {**data["training"], "seed": None}}


def _without(result: StoredResult, part: str, name: str) -> str:
    """The experiment's settings but one and the seed, as a hash."""
    data = _seedless(result.experiment)
    return content_hash({**data, part: {**data[part], name: None}})


def _summary(runs: Sequence[StoredResult], score: str, profile: str | None) -> Measured | None:
    known = [r for r in runs if score in r.evaluation.scores]
    for name in (profile,) if profile else PROFILE_ORDER:
        if here := [r for r in known if r.experiment.profile == name]:
            break
    else:
        return None
    first = here[0]
    seeds = [r.experiment.training.seed for r in here]
    if twice := [seed for seed in seeds if seeds.count(seed) > 1]:
        names = ", ".join(r.name for r in here if r.experiment.training.seed == twice[0])
        raise ConfigurationError(f"seed {twice[0]} of {first.system} is stored twice ({names}); keep one of them in data/results")
    bounds = [r.evaluation.rows[0].intervals.get(score, (math.nan, math.nan)) for r in here]
    low, high = (pick(b[side] for b in bounds) for side, pick in enumerate((_least, _most)))
    s_studies = math.sqrt(fmean(((b[1] - b[0]) / 2 / _REACH) ** 2 for b in bounds))
    spread = over_seeds([r.evaluation.scores[score] for r in here])
    return Measured(
        first.experiment.dataset, name, first.labels_at_test, spread, low, high, s_studies, tuple(sorted({_protocol(r, score) for r in here}))
    )


def _least(values: Any) -> float:
    values = list(values)
    return math.nan if any(map(math.isnan, values)) else min(values)


def _most(values: Any) -> float:
    return -_least(-value for value in values)


def _protocol(result: StoredResult, score: str) -> str:
    """What must be equal for two scores to be compared: how references were made, the studies, the images, and who labelled."""
    made: Mapping[str, Any] = result.evaluation.provenance
    parts = [f"{made['protocol']['name']} {made['protocol']['hash']}", f"vocabulary {made['vocabulary']}", f"studies {made['studies']['hash']}"]
    parts.append(f"data {result.provenance['identity']['dataset']}")
    if score.startswith(FINDING_F1):
        parts.append(f"labeler {made['labeler']['version']} {made['labeler']['hash']}")
    return ", ".join(parts)
