"""What decides a claim: the numbers printed beside it, a check that needs no training, or our stored results.

- `order`: each of `better` is above its partner in `worse`; by `seed_scores.order` of every pair in each of `metrics`.
- `best setting`: `setting` = `value` of `better` is above the others; the same, against every other stored value, or
  every `larger` one.
- `trend`: a score rises with `setting`; by the slope over all stored trainings of the sweep.
- `measurement`: something else that was measured; by a function of `claim_measurements`, named by `check`.
- `check`: something that needs no training; by a function of `exact_checks`, named by `check`.
- `none`: what nothing stored speaks of; `decided_by` says what would.

All comparisons of a claim are corrected together (Holm). All above: it holds. One below: it fails, for it said "every".
None above and all within the smallest difference that matters: no such difference. Otherwise it is undecided, and the
reason says what would decide it. "Above" is better, for a metric of which lower is better "below" is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.metrics import REGISTRY
from rrg_lib.experiments.presets import PRESETS
from rrg_lib.models.decoding import EDITION_0_1, STORED_PROTOCOLS
from rrg_lib.replication.claim_measurements import MEASUREMENTS, ON_DRAWN
from rrg_lib.replication.decision_rule import MIN_SEEDS, Answer, Order, corrected, judge_change, smallest_difference
from rrg_lib.replication.printed_values import Compared, Published, compare_rows, values_of
from rrg_lib.replication.seed_scores import PROFILE_ORDER, Measured, measured, order, swept
from rrg_lib.replication.verdicts import DRAWN, OWN_DATA, Decision, Verdict
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

KINDS = ("order", "best setting", "trend", "measurement", "check", "none")
#: Whose words a claim is in: the paper states it (shortened here), or we read it out of a table or figure.
WORDINGS = ("stated", "our reading")


@dataclass(frozen=True)
class Claim:
    """One row of `data/claims.csv`. `better` and `worse` name presets, pair by pair; `printed_better` and
    `printed_worse` rows of the paper's `table`, those of `printed_worse` of `worse_table` where that is given; empty
    `printed_metrics` stand for all that both rows print."""

    id: str
    paper: str
    where: str
    dataset: str
    claim: str
    wording: str
    kind: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    setting: str
    value: float | None
    against: str
    metrics: tuple[str, ...]
    check: str
    table: str
    printed_better: tuple[str, ...]
    printed_worse: tuple[str, ...]
    worse_table: str
    printed_metrics: tuple[str, ...]
    decided_by: str
    released_code: str

    def __post_init__(self) -> None:
        if wrong := self._wrong():
            raise AnnotationError(f"data/claims.csv, {self.id}: {wrong}")

    def _wrong(self) -> str:
        """What is wrong with the row, "" for nothing."""
        if self.kind not in KINDS:
            return f"kind is {self.kind!r}; write one of {', '.join(KINDS)}"
        if self.wording not in WORDINGS:
            return f"wording is {self.wording!r}; write one of {', '.join(WORDINGS)}"
        given = {f.name for f in fields(self) if getattr(self, f.name) not in ("", (), None)}
        needs = {
            "order": {"better", "worse", "metrics"},
            "best setting": {"better", "setting", "value", "against", "metrics"},
            "trend": {"better", "setting", "metrics"},
            "measurement": {"check"},
            "check": {"check"},
            "none": set(),
        }[self.kind]
        if lacking := sorted(needs - given):
            return f"a claim of kind {self.kind!r} needs {', '.join(lacking)}"
        if extra := sorted(({"better", "worse", "setting", "value", "against", "metrics"} & given) - needs):
            return f"a claim of kind {self.kind!r} has no use for {', '.join(extra)}"
        if self.kind == "order" and len(self.better) != len(self.worse):
            return f"{len(self.better)} better systems for {len(self.worse)} worse ones; name them pair by pair"
        if unknown := [metric for metric in self.metrics if metric not in REGISTRY]:
            return f"metrics names {unknown[0]!r}, which is no metric; write some of {', '.join(REGISTRY)}"
        if self.against not in ("", "all", "larger"):
            return f"against is {self.against!r}; write all or larger"
        if bool(self.printed_better) != bool(self.printed_worse) or (self.printed_better and not self.table):
            return "a printed order needs table, printed_better and printed_worse"
        if len(self.printed_better) not in (0, 1, len(self.printed_worse)):
            return "printed_better names one row, or one for each of printed_worse"
        return ""

    @property
    def system(self) -> str:
        """What of ours it speaks of: "cmn > base", "cmn memory.top_k 32 > all"."""
        if self.kind == "order":
            chain = all(a == b for a, b in zip(self.worse, self.better[1:], strict=False))
            return (
                " > ".join((*self.better, self.worse[-1])) if chain else "; ".join(f"{a} > {b}" for a, b in self.pairs)
            )
        if self.kind == "best setting":
            return f"{self.better[0]} {self.setting} {self.value:g} > {self.against}"
        return f"{self.better[0]} over {self.setting}" if self.kind == "trend" else ""

    @property
    def is_gain(self) -> bool:
        """Whether it says that one system, or one setting, is better than others."""
        return self.kind in ("order", "best setting")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(zip(self.better, self.worse, strict=True))

    @property
    def printed_pairs(self) -> list[tuple[str, str]]:
        better = self.printed_better * (len(self.printed_worse) if len(self.printed_better) == 1 else 1)
        return list(zip(better, self.printed_worse, strict=True))


_LISTS = {"better", "worse", "metrics", "printed_better", "printed_worse", "printed_metrics"}


@cache
def claims() -> tuple[Claim, ...]:
    """The rows of `data/claims.csv`. Raises `AnnotationError` for a row that cannot be, or an id given twice."""
    rows = tuple(parsed(row) for row in table("claims"))
    ids = [claim.id for claim in rows]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise AnnotationError(f"data/claims.csv: the id {twice[0]!r} stands twice; give each claim its own")
    return rows


def parsed(row: Mapping[str, str]) -> Claim:
    """One row: lists are separated by semicolons. Raises `AnnotationError` for other columns, a value that is no
    number, or a row that cannot be."""
    names = [f.name for f in fields(Claim)]
    if list(row) != names:
        raise AnnotationError(
            f"data/claims.csv: expected the columns {', '.join(names)}, found {', '.join(map(str, row))}"
        )
    try:
        value = float(row["value"]) if row["value"] else None
    except ValueError:
        raise AnnotationError(f"data/claims.csv, {row['id']}: value is {row['value']!r}; write a number") from None
    split: dict[str, Any] = {name: tuple(part for part in row[name].split(";") if part) for name in _LISTS}
    return Claim(**{**row, **split, "value": value})


class PrintedOrder(NamedTuple):
    """Two printed rows of a claimed order and how they compare; `worse_table` where the second stands in another
    table."""

    better: str
    worse: str
    worse_table: str
    compared: Compared

    def __str__(self) -> str:
        there = f"{self.worse_table}: " if self.worse_table else ""
        return f"{self.better} > {there}{self.worse}: {self.compared}"


class OwnTable(NamedTuple):
    """Whether the numbers that a paper prints let its claim be, and why."""

    verdict: Verdict
    why: str


def own_table(claim: Claim) -> OwnTable | None:
    """Whether the printed numbers let a claimed order be, and how the rows compare; None where it prints none."""
    if not claim.printed_better:
        return None
    orders = printed_orders(claim)
    contradicted = any(one.compared.below for one in orders)
    return OwnTable(Verdict.CONTRADICTED if contradicted else Verdict.CONSISTENT, "; ".join(map(str, orders)))


def printed_orders(claim: Claim) -> list[PrintedOrder]:
    """The pairs of printed rows that a claim is about, compared."""
    return [
        PrintedOrder(
            better,
            worse,
            claim.worse_table,
            compare_rows(
                _printed(claim, claim.table, better),
                _printed(claim, claim.worse_table or claim.table, worse),
                claim.printed_metrics,
            ),
        )
        for better, worse in claim.printed_pairs
    ]


def _printed(claim: Claim, where: str, system: str) -> dict[str, Published]:
    return values_of(claim.paper, where, claim.dataset, system)


class Link(NamedTuple):
    """One comparison that a claim makes: what is to be better than what in which metric."""

    better: str
    worse: str
    metric: str

    def __str__(self) -> str:
        return f"{self.better} > {self.worse}, {self.metric}"


@dataclass(frozen=True)
class MeasuredPairs:
    """What decides a claimed gain: both systems of every comparison as we measured them, and how they compare, all
    corrected together."""

    pairs: Mapping[Link, tuple[Measured, Measured]]
    orders: Mapping[Link, Order]


@dataclass(frozen=True)
class MeasuredTrend:
    """What decides a claimed trend: the change of a score over the whole sweep, and every value's trainings."""

    change: float
    swept: Mapping[Any, Measured]


#: The profile in which a paper's own data is run as the paper did.
PUBLISHED_SETTING = "gpu"


def by_results(claim: Claim, results: Sequence[StoredResult], profile: str = PUBLISHED_SETTING) -> Decision:
    """A claim of kind order, best setting, trend or measurement, decided on the paper's own data where we ran it in
    `profile`, else on IU-Phantom."""
    if claim.kind == "measurement":
        return MEASUREMENTS[claim.check]()
    if claim.kind == "trend":
        return _trend(claim, results)
    return {"order": _order, "best setting": _best_setting}[claim.kind](claim, results, profile)


def printed_labels(preset: str) -> str | None:
    """What the printed rows of a gated memory were told: on the paper's own data that is what they must be compared
    with."""
    memory = PRESETS[preset].memory
    return "reference" if memory is not None and memory.gated else None


def _places(claim: Claim, replicated: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Dataset, profile and protocols to look in, in order: the paper's own data as it was published, then drawn
    studies, searched as our tables show them."""
    return [
        (claim.dataset, replicated, ("published",)),
        *((DRAWN, profile, STORED_PROTOCOLS) for profile in PROFILE_ORDER),
    ]


def _order(claim: Claim, results: Sequence[StoredResult], replicated: str) -> Decision:
    names = list(dict.fromkeys((*claim.better, *claim.worse)))
    for dataset, profile, protocols in _places(claim, replicated):
        # on a paper's own data its order was printed for what its memory was told; on ours no memory is told the
        # reference's labels
        labels = {name: printed_labels(name) if dataset in OWN_DATA else None for name in names}
        decided = {}
        for protocol in protocols:
            ours = {
                (n, m): measured(results, n, dataset, m, profile=profile, labels=labels[n], protocol=protocol)
                for n in names
                for m in claim.metrics
            }
            if all(ours.values()):
                decided[protocol] = {
                    Link(a, b, m): (ours[a, m], ours[b, m]) for a, b in claim.pairs for m in claim.metrics
                }
        if decided:
            return _decided(decided, own_data=dataset in OWN_DATA)
    lacking = [name for name in names if not all(measured(results, name, DRAWN, metric) for metric in claim.metrics)]
    missing = (
        f"nothing is stored of {' and '.join(lacking)}"
        if lacking
        else f"{' and '.join(names)} were not run in one profile"
    )
    return Decision(Verdict.NOT_RUN, f"{missing}; decided by {claim.decided_by}")


def _best_setting(claim: Claim, results: Sequence[StoredResult], replicated: str) -> Decision:
    """`value` against every other value that is stored, or against every larger one."""
    (preset,), best = claim.better, claim.value
    for dataset, profile, protocols in _places(claim, replicated):
        labels, decided = printed_labels(preset) if dataset in OWN_DATA else None, {}
        for protocol in protocols:
            runs = {
                m: swept(results, preset, claim.setting, dataset, m, profile=profile, labels=labels, protocol=protocol)
                for m in claim.metrics
            }
            pairs = {
                Link(f"{claim.setting} {best:g}", f"{value:g}", metric): (by_value[best], other)
                for metric, by_value in runs.items()
                for value, other in by_value.items()
                if best in by_value and value != best and (claim.against == "all" or value > best)
            }
            if pairs:
                decided[protocol] = pairs
        if decided:
            return _decided(decided, own_data=dataset in OWN_DATA)
    return Decision(
        Verdict.NOT_RUN, f"no other value of {claim.setting} is stored than the preset's; decided by {claim.decided_by}"
    )


def _decided(by_protocol: Mapping[str, Mapping[Link, tuple[Measured, Measured]]], *, own_data: bool) -> Decision:
    """By the first protocol that has seeds enough, or most; what the others say stands behind it, edition 0.1's other
    trainings by themselves."""
    seeds = {name: min(m.spread.n for pair in pairs.values() for m in pair) for name, pairs in by_protocol.items()}
    first = max(seeds, key=lambda name: min(seeds[name], MIN_SEEDS))
    decisions = {name: _verdict(pairs, own_data=own_data) for name, pairs in by_protocol.items()}
    others = {name: one.verdict.short for name, one in decisions.items() if name != first and seeds[name] >= MIN_SEEDS}
    of_old = others.pop(EDITION_0_1, "")
    why = decisions[first].why
    if others:
        why += f" [searched otherwise: {'; '.join(f'{name}: {short}' for name, short in others.items())}]"
    if of_old:
        why += f" [trainings of {EDITION_0_1}: {of_old}]"
    return decisions[first]._replace(why=why)


def _favours(link: Link, one: Order) -> Answer:
    """The answer of a comparison with "above" for better, whichever way the metric runs."""
    turned: dict[Answer, Answer] = {"above": "below", "below": "above"}
    return one.answer if REGISTRY[link.metric].higher_is_better else turned.get(one.answer, one.answer)


def answer_to_all(orders: Mapping[Link, Order]) -> Answer:
    """What all comparisons of a claim say of it together: "below" where one does, another answer where all give it."""
    every = {_favours(link, one) for link, one in orders.items()}
    return "below" if "below" in every else every.pop() if len(every) == 1 else "undecided"


def _verdict(pairs: Mapping[Link, tuple[Measured, Measured]], *, own_data: bool) -> Decision:
    orders = corrected({link: order(a, b) for link, (a, b) in pairs.items()})
    answers = {link: _favours(link, one) for link, one in orders.items()}
    evidence = MeasuredPairs(pairs, orders)
    if apart := [str(link) for link, answer in answers.items() if answer == "not measured alike"]:
        return Decision(Verdict.NOT_RUN, f"not measured alike: {'; '.join(apart)}", evidence)
    open_ = Verdict.OPEN if own_data else Verdict.UNDECIDED
    every = set(answers.values())
    if "too few seeds" in every:
        fewest = min(one.seeds for one in orders.values())
        return Decision(open_, f"{fewest} of the {MIN_SEEDS} seeds that an order needs", evidence)
    if "stored without intervals" in every:
        return Decision(open_, "stored without intervals: evaluate again", evidence)
    together = answer_to_all(orders)
    verdicts = _ON_OWN_DATA if own_data else ON_DRAWN
    why = "; ".join(f"{link}: {one}" for link, one in orders.items())
    return Decision(verdicts.get(together, open_), why, evidence)


#: What an answer of the rule says of a claim on the paper's own data.
_ON_OWN_DATA: dict[Answer, Verdict] = {
    "above": Verdict.REPRODUCED,
    "below": Verdict.NOT_REPRODUCED,
    "no difference": Verdict.NOT_REPRODUCED,
}


def _trend(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    """Whether the scores of a sweep rise with the doubling of a setting: the slope over all its trainings. They were
    scored on the same studies, so what other studies would have given is left out, and the reason says so."""
    (preset,) = claim.better
    (metric,) = claim.metrics
    by_value = swept(results, preset, claim.setting, DRAWN, metric)
    if len(by_value) < 3:
        return Decision(
            Verdict.NOT_RUN, f"fewer than three values of {claim.setting} are stored; decided by {claim.decided_by}"
        )
    x, y, n, sd = (
        np.array(part, dtype=float)
        for part in zip(
            *((math.log2(v), m.spread.mean, m.spread.n, m.spread.sd) for v, m in by_value.items()), strict=True
        )
    )
    fit = slope_of(x, y, n, np.nan_to_num(sd))
    doublings, delta = float(x.max() - x.min()), smallest_difference(metric)
    over_all = judge_change(
        fit.slope * doublings, fit.se * doublings, fit.freedom, values=len(n), trainings=int(n.sum()), delta=delta
    )
    why = (
        f"{metric} changes by {fit.slope:+.4f} ± {over_all.margin / doublings:.4f} with each doubling of "
        f"{claim.setting}, {over_all.difference:+.4f} ± {over_all.margin:.4f} from {min(by_value):g} to "
        f"{max(by_value):g}; {int(n.sum())} trainings on the same studies; {delta:g} would matter"
    )
    why += f"; {over_all.need}" if over_all.need else ""
    verdict = ON_DRAWN.get(over_all.answer, Verdict.UNDECIDED)
    return Decision(verdict, why, MeasuredTrend(over_all.difference, by_value))


class Slope(NamedTuple):
    slope: float
    se: float
    freedom: int


def slope_of(x: np.ndarray, mean: np.ndarray, n: np.ndarray, sd: np.ndarray) -> Slope:
    """Least squares over all trainings from the mean, number and standard deviation of those at each x: the line, its
    slope's standard error."""
    middle = np.average(x, weights=n)
    sxx = float((n * (x - middle) ** 2).sum())
    slope = float((n * (x - middle) * mean).sum() / sxx)
    off = mean - np.average(mean, weights=n) - slope * (x - middle)
    freedom = int(n.sum()) - 2
    return Slope(slope, math.sqrt(float((n * off**2 + (n - 1) * sd**2).sum()) / freedom / sxx), freedom)
