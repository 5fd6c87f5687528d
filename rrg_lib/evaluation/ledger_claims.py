"""What decides a claim: the numbers printed beside it, a check that needs no training, or our stored results.

A claimed order ("cmn > mem > base" in some scores) and a claimed best setting ("memory.top_k 32 > all") are decided by one rule, `measured.order`, used
for every pair and every score that the claim speaks of. All above: it holds. One below: it fails, for it said "every". Otherwise it is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.exact import CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED
from rrg_lib.evaluation.measured import MIN_SEEDS, PROFILE_ORDER, Measured, Order, measured, order, swept
from rrg_lib.evaluation.published import Published, compare, values_of

if TYPE_CHECKING:
    from rrg_lib.results import StoredResult

Claim = Mapping[str, str]
HOLDS, FAILS, UNDECIDED = (f"{how} on IU-Phantom (not a replication)" for how in ("holds", "fails", "undecided"))
NOT_RUN = "not run"
#: The papers' own data, where measuring is replicating, and the drawn studies.
OWN_DATA, DRAWN = ("iu_xray", "mimic_cxr"), "iu_phantom"


class Decision(NamedTuple):
    """A verdict with its reason, and our columns of the ledger: ours, measured on, seeds, sd, interval, protocol."""

    verdict: str
    why: str
    shown: tuple[str, ...] = ("",) * 6


def own_table(claim: Claim) -> tuple[str, str]:
    """Whether the printed numbers let a claimed order be, and how the rows compare. "A > B; A > Table 2: C" names rows of `table` or of another."""
    if not claim["order"]:
        return "", ""
    metrics = [metric for metric in claim["metrics"].split(";") if metric]
    shown, contradicted = [], False
    for pair in claim["order"].split("; "):
        better, worse = (_printed_row(claim, name) for name in pair.split(" > "))
        found = compare(better, worse, metrics)
        contradicted |= bool(found.below)
        shown.append(f"{pair}: {found}")
    return (CONTRADICTED if contradicted else CONSISTENT), "; ".join(shown)


def _printed_row(claim: Claim, name: str) -> dict[str, Published]:
    where, colon, system = name.partition(": ")
    return values_of(claim["paper"], where if colon else claim["table"], claim["dataset"], system if colon else name)


def by_results(claim: Claim, results: Sequence[StoredResult]) -> Decision:
    """A claim with `ours` and `ours_metric`, decided on the paper's own data where we ran it, else on IU-Phantom."""
    decide = _best_setting if " > all" in claim["ours"] or " > larger" in claim["ours"] else _order
    return decide(claim, claim["ours_metric"].split(";"), results)


def printed_labels(preset: str) -> str | None:
    """What the printed rows of a gated memory were told: on the paper's own data that is what they must be compared with."""
    return "reference" if preset.startswith("xpronet") else None


def _places(claim: Claim) -> list[tuple[str, str]]:
    return [(claim["dataset"], "gpu"), *((DRAWN, profile) for profile in PROFILE_ORDER)]


def _order(claim: Claim, metrics: Sequence[str], results: Sequence[StoredResult]) -> Decision:
    names = claim["ours"].split(" > ")
    for dataset, profile in _places(claim):
        # on a paper's own data its order was printed for what its memory was told; on ours no memory is told the reference's labels
        told = {name: printed_labels(name) if dataset in OWN_DATA else None for name in names}
        found = {(n, m): measured(results, n, dataset, m, profile=profile, labels=told[n]) for n in names for m in metrics}
        if all(found.values()):
            pairs = {f"{a} > {b}, {m}": (found[a, m], found[b, m]) for a, b in pairwise(names) for m in metrics}
            return _decided(pairs, own=dataset in OWN_DATA)
    lacking = [name for name in names if not all(measured(results, name, DRAWN, metric) for metric in metrics)]
    what = f"nothing is stored of {' and '.join(lacking)}" if lacking else f"{' and '.join(names)} were not run in one profile"
    return Decision(NOT_RUN, f"{what}; decided by {claim['decided_by']}")


def _best_setting(claim: Claim, metrics: Sequence[str], results: Sequence[StoredResult]) -> Decision:
    """ "cmn memory.top_k 32 > all": 32 against every other value that is stored, or, "> larger", against every larger one."""
    subject, _, against = claim["ours"].partition(" > ")
    preset, setting, text = subject.split()
    best = float(text)
    for dataset, profile in _places(claim):
        told = printed_labels(preset) if dataset in OWN_DATA else None
        runs = {metric: swept(results, preset, setting, dataset, metric, profile=profile, labels=told) for metric in metrics}
        pairs = {
            f"{setting} {best:g} > {value:g}, {metric}": (found[best], other)
            for metric, found in runs.items()
            for value, other in found.items()
            if best in found and value != best and (against == "all" or value > best)
        }
        if pairs:
            return _decided(pairs, own=dataset in OWN_DATA)
    return Decision(NOT_RUN, f"no other value of {setting} is stored than the preset's; decided by {claim['decided_by']}")


def _decided(pairs: Mapping[str, tuple[Measured, Measured]], *, own: bool) -> Decision:
    found = {name: order(a, b) for name, (a, b) in pairs.items()}
    every = [m for pair in pairs.values() for m in pair]
    of = {how: [name for name, one in found.items() if one.how == how] for how in {one.how for one in found.values()}}
    shown = (
        "; ".join(f"{name}: {a.spread.mean:.3f} - {b.spread.mean:.3f} = {found[name].difference:+.3f}" for name, (a, b) in pairs.items()),
        _each(m.where for m in every),
        _each(f"{a.spread.n}, {b.spread.n}" for a, b in pairs.values()),
        "; ".join(f"{number(a.spread.sd)}, {number(b.spread.sd)}" for a, b in pairs.values()),
        "; ".join(f"[{a.low:.3f}, {a.high:.3f}], [{b.low:.3f}, {b.high:.3f}]" for a, b in pairs.values()),
        _each(m.protocol for m in every),
    )
    undecided = NOT_RUN if own else UNDECIDED
    if "not measured alike" in of:
        return Decision(NOT_RUN, f"not measured alike: {'; '.join(of['not measured alike'])}", shown)
    if "too few seeds" in of:
        return Decision(undecided, f"{min(one.seeds for one in found.values())} of the {MIN_SEEDS} seeds that an order needs", shown)
    if "stored without intervals" in of:
        return Decision(undecided, "stored without intervals: evaluate again", shown)
    if "below" in of:
        verdict = NOT_REPRODUCED if own else FAILS
    elif "not told apart" in of:
        verdict = NOT_REPRODUCED if own else UNDECIDED
    else:
        verdict = REPRODUCED if own else HOLDS
    return Decision(verdict, "; ".join(_reason(name, one) for name, one in found.items()), shown)


def _reason(name: str, one: Order) -> str:
    return f"{name}: {one.how}, the difference {one.difference:+.3f}, the margin of studies and seeds {one.margin:.3f}"


def _each(texts: Any) -> str:
    return "; ".join(dict.fromkeys(texts))


def number(value: float) -> str:
    """Three decimals, a dash for NaN."""
    return "–" if value != value else f"{value:.3f}"


def check_format(claim: Claim) -> None:
    """Raises `AnnotationError` for an `ours` that is neither an order of presets nor a best setting."""
    ours, metric = claim["ours"], claim["ours_metric"]
    subject, _, against = ours.partition(" > ")
    order_of_presets = " " not in subject and against
    best_setting = len(subject.split()) == 3 and against in ("all", "larger")
    if bool(ours) != bool(metric) or (ours and not order_of_presets and not best_setting):
        raise AnnotationError(
            f"data/claims.csv, {claim['id']}: ours is {ours!r} in {metric!r}; write PRESET > PRESET or PRESET SETTING VALUE > all, and the scores"
        )
