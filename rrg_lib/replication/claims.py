"""What decides a claim: the numbers printed beside it, a check that needs no training, or our stored results.

| kind | claims | decided by |
|---|---|---|
| order | each of `better` is above its partner in `worse` | `measured.order` of every pair in each of `metrics` |
| best setting | `setting` = `value` of `better` is best | the same, against every stored value, or every `larger` one |
| trend | a score rises with `setting` | the slope over all stored trainings of the sweep |
| measurement | something else that was measured | a function of `claim_measurements`, named by `check` |
| check | something that needs no training | a function of `exact`, named by `check` |
| none | what nothing stored speaks of | `decided_by` says what would |

All comparisons of a claim are corrected together (Holm). All above: it holds. One below: it fails, for it said "every".
None above and all within the smallest difference that matters: no such difference. Otherwise it is undecided, and the
reason says what would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from rrg_lib.errors import AnnotationError
from rrg_lib.models.decoding import PROTOCOLS
from rrg_lib.replication.decision_rule import ALPHA, MIN_SEEDS, corrected, smallest_difference
from rrg_lib.replication.exact_checks import CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED
from rrg_lib.replication.printed_values import Published, compare, values_of
from rrg_lib.replication.seed_scores import PROFILE_ORDER, Measured, measured, order, swept
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

HOLDS, FAILS, NO_DIFFERENCE, UNDECIDED = (
    f"{how} on IU-Phantom (not a replication)" for how in ("holds", "fails", "no difference that matters", "undecided")
)
#: Measured on the paper's own data, and not enough to decide; and not measured.
OPEN, NOT_RUN = "undecided", "not run"
#: The papers' own data, where measuring is replicating, and the drawn studies.
OWN_DATA, DRAWN = ("iu_xray", "mimic_cxr"), "iu_phantom"
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
    found = tuple(parsed(row) for row in table("claims"))
    ids = [claim.id for claim in found]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise AnnotationError(f"data/claims.csv: the id {twice[0]!r} stands twice; give each claim its own")
    return found


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


class Decision(NamedTuple):
    """A verdict with its reason, and our columns of the ledger: ours, measured on, seeds, sd, interval, measured by."""

    verdict: str
    why: str
    shown: tuple[str, ...] = ("",) * 6


def own_table(claim: Claim) -> tuple[str, str]:
    """Whether the printed numbers let a claimed order be, and how the rows compare; empty where it prints none."""
    if not claim.printed_better:
        return "", ""
    shown, contradicted = [], False
    for better, worse in claim.printed_pairs:
        of = claim.worse_table or claim.table
        found = compare(_printed(claim, claim.table, better), _printed(claim, of, worse), claim.printed_metrics)
        contradicted |= bool(found.below)
        shown.append(f"{better} > {f'{of}: ' if claim.worse_table else ''}{worse}: {found}")
    return (CONTRADICTED if contradicted else CONSISTENT), "; ".join(shown)


def _printed(claim: Claim, where: str, system: str) -> dict[str, Published]:
    return values_of(claim.paper, where, claim.dataset, system)


def by_results(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    """A claim of kind order, best setting, trend or measurement, decided on the paper's own data where we ran it, else
    on IU-Phantom."""
    from rrg_lib.replication.claim_measurements import MEASUREMENTS

    if claim.kind == "measurement":
        return MEASUREMENTS[claim.check](results)
    return {"order": _order, "best setting": _best_setting, "trend": _trend}[claim.kind](claim, results)


def printed_labels(preset: str) -> str | None:
    """What the printed rows of a gated memory were told: on the paper's own data that is what they must be compared
    with."""
    return "reference" if preset.startswith("xpronet") else None


def _places(claim: Claim) -> list[tuple[str, str, tuple[str, ...]]]:
    """Dataset, profile and protocols to look in, in order: the paper's own data as it was published, then drawn
    studies, searched as our tables show them."""
    return [(claim.dataset, "gpu", ("published",)), *((DRAWN, profile, PROTOCOLS) for profile in PROFILE_ORDER)]


def _order(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    names = list(dict.fromkeys((*claim.better, *claim.worse)))
    for dataset, profile, protocols in _places(claim):
        # on a paper's own data its order was printed for what its memory was told; on ours no memory is told the
        # reference's labels
        told = {name: printed_labels(name) if dataset in OWN_DATA else None for name in names}
        decided = {}
        for protocol in protocols:
            found = {
                (n, m): measured(results, n, dataset, m, profile=profile, labels=told[n], protocol=protocol)
                for n in names
                for m in claim.metrics
            }
            if all(found.values()):
                decided[protocol] = {
                    f"{a} > {b}, {m}": (found[a, m], found[b, m]) for a, b in claim.pairs for m in claim.metrics
                }
        if decided:
            return _decided(decided, own=dataset in OWN_DATA)
    lacking = [name for name in names if not all(measured(results, name, DRAWN, metric) for metric in claim.metrics)]
    what = (
        f"nothing is stored of {' and '.join(lacking)}"
        if lacking
        else f"{' and '.join(names)} were not run in one profile"
    )
    return Decision(NOT_RUN, f"{what}; decided by {claim.decided_by}")


def _best_setting(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    """`value` against every other value that is stored, or against every larger one."""
    (preset,), best = claim.better, claim.value
    for dataset, profile, protocols in _places(claim):
        told, decided = printed_labels(preset) if dataset in OWN_DATA else None, {}
        for protocol in protocols:
            runs = {
                m: swept(results, preset, claim.setting, dataset, m, profile=profile, labels=told, protocol=protocol)
                for m in claim.metrics
            }
            pairs = {
                f"{claim.setting} {best:g} > {value:g}, {metric}": (found[best], other)
                for metric, found in runs.items()
                for value, other in found.items()
                if best in found and value != best and (claim.against == "all" or value > best)
            }
            if pairs:
                decided[protocol] = pairs
        if decided:
            return _decided(decided, own=dataset in OWN_DATA)
    return Decision(
        NOT_RUN, f"no other value of {claim.setting} is stored than the preset's; decided by {claim.decided_by}"
    )


def _decided(by_protocol: Mapping[str, Mapping[str, tuple[Measured, Measured]]], *, own: bool) -> Decision:
    """By the first protocol that has seeds enough, or most; what the others say stands behind it."""
    seeds = {name: min(m.spread.n for pair in pairs.values() for m in pair) for name, pairs in by_protocol.items()}
    first = max(seeds, key=lambda name: min(seeds[name], MIN_SEEDS))
    found = {name: _verdict(pairs, own=own) for name, pairs in by_protocol.items()}
    others = [
        f"{name}: {one.verdict.partition(' on IU')[0]}"
        for name, one in found.items()
        if name != first and seeds[name] >= MIN_SEEDS
    ]
    return found[first]._replace(
        why=found[first].why + (f" [searched otherwise: {'; '.join(others)}]" if others else "")
    )


def _verdict(pairs: Mapping[str, tuple[Measured, Measured]], *, own: bool) -> Decision:
    found = corrected({name: order(a, b) for name, (a, b) in pairs.items()})
    every = [m for pair in pairs.values() for m in pair]
    of = {
        answer: [name for name, one in found.items() if one.answer == answer]
        for answer in {one.answer for one in found.values()}
    }
    shown = (
        "; ".join(
            f"{name}: {a.spread.mean:.3f} - {b.spread.mean:.3f} = {a.spread.mean - b.spread.mean:+.3f}"
            for name, (a, b) in pairs.items()
        ),
        _each(m.where for m in every),
        _each(f"{a.spread.n}, {b.spread.n}" for a, b in pairs.values()),
        "; ".join(f"{number(a.spread.sd)}, {number(b.spread.sd)}" for a, b in pairs.values()),
        "; ".join(f"[{a.low:.3f}, {a.high:.3f}], [{b.low:.3f}, {b.high:.3f}]" for a, b in pairs.values()),
        _each(m.measured_by for m in every),
    )
    open_ = OPEN if own else UNDECIDED
    if "not measured alike" in of:
        return Decision(NOT_RUN, f"not measured alike: {'; '.join(of['not measured alike'])}", shown)
    if "too few seeds" in of:
        return Decision(
            open_, f"{min(one.seeds for one in found.values())} of the {MIN_SEEDS} seeds that an order needs", shown
        )
    if "stored without intervals" in of:
        return Decision(open_, "stored without intervals: evaluate again", shown)
    if "below" in of:
        verdict = NOT_REPRODUCED if own else FAILS
    elif set(of) == {"above"}:
        verdict = REPRODUCED if own else HOLDS
    elif set(of) == {"no difference"}:
        verdict = NOT_REPRODUCED if own else NO_DIFFERENCE
    else:
        verdict = open_
    return Decision(verdict, "; ".join(f"{name}: {one}" for name, one in found.items()), shown)


def _trend(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    """Whether the scores of a sweep rise with the doubling of a setting: the slope over all its trainings. They were
    scored on the same studies, so what other studies would have given is left out, and the reason says so."""
    (preset,) = claim.better
    (metric,) = claim.metrics
    found = swept(results, preset, claim.setting, DRAWN, metric)
    if len(found) < 3:
        return Decision(
            NOT_RUN, f"fewer than three values of {claim.setting} are stored; decided by {claim.decided_by}"
        )
    x, y, n, sd = (
        np.array(part, dtype=float)
        for part in zip(
            *((math.log2(v), m.spread.mean, m.spread.n, m.spread.sd) for v, m in found.items()), strict=True
        )
    )
    fit = slope_of(x, y, n, np.nan_to_num(sd))
    doublings, delta = float(x.max() - x.min()), smallest_difference(metric)
    change, reach = fit.slope * doublings, fit.se * doublings
    t = stats.t(fit.freedom)
    if 2 * t.sf(abs(change) / reach) <= ALPHA:
        verdict = HOLDS if change > 0 else FAILS
    else:
        verdict = NO_DIFFERENCE if abs(change) + t.isf(ALPHA) * reach < delta else UNDECIDED
    over = f"{min(found):g} to {max(found):g}"
    why = (
        f"{metric} changes by {fit.slope:+.4f} ± {t.isf(ALPHA / 2) * fit.se:.4f} with each doubling of "
        f"{claim.setting}, {change:+.4f} ± "
        f"{t.isf(ALPHA / 2) * reach:.4f} from {over}; {int(n.sum())} trainings on the same studies; {delta:g} would "
        f"matter"
    )
    first = next(iter(found.values()))
    return Decision(
        verdict,
        why,
        (f"{change:+.4f}", _each(m.where for m in found.values()), f"{int(n.min())}", "", "", first.measured_by),
    )


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


def _each(texts: Any) -> str:
    return "; ".join(dict.fromkeys(texts))


def number(value: float) -> str:
    """Three decimals, a dash for NaN."""
    return "–" if value != value else f"{value:.3f}"
