"""The ledger: every printed value and every claim of the four papers, beside what the released code does and what we measured, with a verdict.

A verdict says no more than was done. *Reproduced* and *not reproduced* are for the paper's own data alone; what is measured on drawn studies *holds* or
*fails on IU-Phantom*, which is no replication, and is *undecided* there when seeds and studies vary by more than the difference. *Contradicted by its
own table* needs a contradiction that the printed rounding cannot explain. Whatever needs data or a GPU that we have not had is *not run*, and says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rrg_lib.errors import AnnotationError
from rrg_lib.evaluation.exact import CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED, STUDENT, check_value, run_check
from rrg_lib.evaluation.published import Published, compare, published, same_elsewhere, values_of
from rrg_lib.evaluation.statistics import Spread, over_seeds
from rrg_lib.shipped import table

if TYPE_CHECKING:
    from rrg_lib.results import StoredResult

HOLDS, FAILS, UNDECIDED = (f"{how} on IU-Phantom (not a replication)" for how in ("holds", "fails", "undecided"))
NOT_RUN = "not run"
#: Every verdict, in the order of the counts.
VERDICTS = (REPRODUCED, NOT_REPRODUCED, HOLDS, FAILS, UNDECIDED, CONSISTENT, CONTRADICTED, NOT_RUN)
#: The papers' own data, where measuring is replicating, and the drawn studies.
OWN_DATA, DRAWN = ("iu_xray", "mimic_cxr"), "iu_phantom"
#: Fewer seeds than these decide nothing about an order.
MIN_SEEDS = 3
#: Which profile's results are shown, the first that is there.
PROFILE_ORDER = ("gpu", "laptop", "ci")


@dataclass(frozen=True)
class LedgerRow:
    """One printed value or one claim. Empty text stands for "does not apply"; `own_table` compares a claim with the numbers printed beside it."""

    kind: str
    id: str
    paper: str
    where: str
    dataset: str
    system: str
    metric: str
    statement: str
    released_code: str
    own_table: str
    ours: str
    ours_on: str
    seeds: str
    sd: str
    interval: str
    protocol: str
    verdict: str
    why: str


COLUMNS = tuple(f.name for f in fields(LedgerRow))


@dataclass(frozen=True)
class Measured:
    """Our runs of one preset on one dataset in one profile: the spread of a score over seeds and the widest bootstrap interval of a seed."""

    dataset: str
    profile: str
    labels: str | None
    spread: Spread
    low: float
    high: float
    protocol: str

    @property
    def where(self) -> str:
        return f"{self.dataset}, {self.profile}" + (f", labels: {self.labels}" if self.labels else "")

    @property
    def variance(self) -> float:
        """Of the mean: of the studies, from the interval's width, and of the seeds."""
        return ((self.high - self.low) / 2 / 1.96) ** 2 + self.spread.sd**2 / self.spread.n


def ledger(results: Sequence[StoredResult]) -> list[LedgerRow]:
    """A row for every value of `data/published.csv`, then one for every claim of `data/claims.csv`; `results` are our stored ones."""
    return [*(_value_row(value, results) for value in published()), *(_claim_row(claim, results) for claim in claims())]


def claims() -> tuple[Mapping[str, str], ...]:
    """The rows of `data/claims.csv`. Raises `AnnotationError` for an id given twice."""
    rows = table("claims")
    if twice := [name for name, n in Counter(row["id"] for row in rows).items() if n > 1]:
        raise AnnotationError(f"data/claims.csv: the id {twice[0]!r} stands twice; give each claim its own")
    return rows


def counts(rows: Sequence[LedgerRow]) -> dict[str, dict[str, int]]:
    """Rows per verdict, for values and for claims: {"value": {verdict: n}, "claim": {verdict: n}}, every verdict named."""
    found = Counter((row.kind, row.verdict) for row in rows)
    return {kind: {verdict: found[kind, verdict] for verdict in VERDICTS} for kind in ("value", "claim")}


def measured(
    results: Sequence[StoredResult], preset: str, dataset: str, score: str, *, profile: str | None = None, labels: str | None = None
) -> Measured | None:
    """Our seeds of a preset, as it is, on a dataset: of `profile`, or of the largest that was run. None where nothing is stored.

    A memory that is gated by labels was told the classifier's unless `labels` says otherwise. Runs of other settings do not count.
    """
    found = [r for r in results if (r.experiment.preset, r.experiment.dataset) == (preset, dataset) and r.is_preset]
    found = [r for r in found if r.labels_at_test in (None, labels or "classifier") and score in r.evaluation.scores]
    for name in (profile,) if profile else PROFILE_ORDER:
        if runs := [r for r in found if r.experiment.profile == name]:
            break
    else:
        return None
    bounds = [r.evaluation.rows[0].intervals.get(score, (math.nan, math.nan)) for r in runs]
    made = runs[0].evaluation.provenance
    hashes = f"{made['protocol']['name']} {made['protocol']['hash']}, vocabulary {made['vocabulary']}, studies {made['studies']['hash']}"
    spread = over_seeds([r.evaluation.scores[score] for r in runs])
    return Measured(dataset, name, runs[0].labels_at_test, spread, min(b[0] for b in bounds), max(b[1] for b in bounds), hashes)


# --- printed values -------------------------------------------------------------------------------------------------------------------------------


def _value_row(value: Published, results: Sequence[StoredResult]) -> LedgerRow:
    preset = _presets().get((value.paper, value.system))
    ours = _ours_of(value, preset, results)
    verdict, why = _verdict_of(value, preset, ours)
    shown = check.ours if (check := check_value(value)) else ""
    return LedgerRow(
        "value",
        f"value-{value.row}",
        value.paper,
        value.where,
        value.dataset,
        value.system,
        value.metric,
        f"{value.value:g}",
        _facts().get((value.paper, value.system), ""),
        "",
        *(_shown(ours) if ours else (shown, "", "", "", "", "")),
        verdict,
        why,
    )


def _ours_of(value: Published, preset: str | None, results: Sequence[StoredResult]) -> Measured | None:
    if preset is None:
        return None
    # the printed rows of a gated memory were told the references' labels: on the paper's own data that is what they must be compared with
    own = measured(results, preset, value.dataset, value.metric, profile="gpu", labels=_printed_labels(preset))
    return own or measured(results, preset, DRAWN, value.metric)


def _printed_labels(preset: str) -> str | None:
    return "reference" if preset.startswith("xpronet") else None


def _verdict_of(value: Published, preset: str | None, ours: Measured | None) -> tuple[str, str]:
    if check := check_value(value):
        return check.verdict, check.why
    if ours and ours.dataset in OWN_DATA and not math.isnan(ours.low + ours.high):
        agrees = ours.low <= value.high and ours.high >= value.low
        return (REPRODUCED if agrees else NOT_REPRODUCED), f"{value.value:g} against {ours.low:.3f} to {ours.high:.3f}, {ours.spread.n} seeds"
    earlier = same_elsewhere(value)
    quoted = (
        f"; {'equals' if abs(earlier.value - value.value) <= earlier.half + value.half else f'not the {earlier.value:g} of'} {earlier.place}"
        if earlier
        else ""
    )
    return NOT_RUN, _why_not(value, preset) + quoted


def _why_not(value: Published, preset: str | None) -> str:
    if value.paper == STUDENT and value.where == "Table 4":
        return "the classifier's labels and split of that paper are not known"
    if value.where.startswith("Figure"):
        return "a sweep or a figure on the paper's own data"
    if (preset is None and value.where != "Table 1") or "cited" in value.note or "replicated by" in value.note:
        return "another group's system, which this book does not build"
    if value.dataset == "mimic_cxr":
        return "needs MIMIC-CXR (credentialed access) and a GPU"
    if preset is None:
        return "another group's system, which this book does not build"
    return f"needs the real images and a GPU: rrg train iu_xray/{preset} --profile gpu --data-root FOLDER"


# --- claims ---------------------------------------------------------------------------------------------------------------------------------------


def _claim_row(claim: Mapping[str, str], results: Sequence[StoredResult]) -> LedgerRow:
    own, own_why = _own_table(claim)
    verdict, why, shown = NOT_RUN, f"decided by {claim['decided_by']}", ("", "", "", "", "", "")
    if claim["ours"]:
        verdict, why, shown = _order(claim, results)
    if claim["check"]:
        found = run_check(claim["check"])
        decided = not claim["decided_by"].startswith("a sweep")
        own, own_why = (found.verdict, found.why) if found.verdict in (CONSISTENT, CONTRADICTED) else (own, own_why)
        if decided:
            verdict, why, shown = found.verdict, found.why, (found.ours, *shown[1:])
    if own == CONTRADICTED:
        verdict, why = CONTRADICTED, own_why + (f" (ours: {why})" if shown[1] else "")
    return LedgerRow(
        "claim",
        claim["id"],
        claim["paper"],
        claim["where"],
        claim["dataset"],
        claim["ours"],
        claim["ours_metric"],
        claim["claim"],
        claim["released_code"],
        f"{own}: {own_why}" if own else "",
        *shown,
        verdict,
        why,
    )


def _own_table(claim: Mapping[str, str]) -> tuple[str, str]:
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


def _printed_row(claim: Mapping[str, str], name: str) -> dict[str, Published]:
    where, colon, system = name.partition(": ")
    return values_of(claim["paper"], where if colon else claim["table"], claim["dataset"], system if colon else name)


def _order(claim: Mapping[str, str], results: Sequence[StoredResult]) -> tuple[str, str, tuple[str, ...]]:
    """Verdict, reason and our columns of a claim "A > B": on the paper's own data where we ran it, else on IU-Phantom."""
    names = claim["ours"].split(" > ")
    for dataset, profile in ((claim["dataset"], "gpu"), *((DRAWN, profile) for profile in PROFILE_ORDER)):
        # on a paper's own data its order was printed for what its memory was told; on ours no memory is told the reference's labels
        told = {name: _printed_labels(name) if dataset in OWN_DATA else None for name in names}
        a, b = (measured(results, name, dataset, claim["ours_metric"], profile=profile, labels=told[name]) for name in names)
        if a and b:
            return _decided(names, a, b, own=dataset in OWN_DATA)
    lacking = [name for name in names if not measured(results, name, DRAWN, claim["ours_metric"])]
    what = f"nothing is stored of {' and '.join(lacking)}" if lacking else f"{' and '.join(names)} were not run in one profile"
    return NOT_RUN, f"{what}; decided by {claim['decided_by']}", ("", "", "", "", "", "")


def _decided(names: Sequence[str], a: Measured, b: Measured, *, own: bool) -> tuple[str, str, tuple[str, ...]]:
    difference = a.spread.mean - b.spread.mean
    seeds = min(a.spread.n, b.spread.n)
    shown = (
        f"{a.spread.mean:.3f} - {b.spread.mean:.3f} = {difference:+.3f}",
        a.where if a.where == b.where else f"{a.where}; {b.where}",
        f"{a.spread.n}, {b.spread.n}",
        f"{_number(a.spread.sd)}, {_number(b.spread.sd)}",
        f"[{a.low:.3f}, {a.high:.3f}], [{b.low:.3f}, {b.high:.3f}]",
        a.protocol if a.protocol == b.protocol else f"{a.protocol}; {b.protocol}",
    )
    if a.protocol != b.protocol:
        return NOT_RUN, f"{' and '.join(names)} were not measured alike", shown
    if seeds < MIN_SEEDS:
        return (NOT_RUN if own else UNDECIDED), f"{seeds} of the {MIN_SEEDS} seeds that an order needs", shown
    margin = 1.96 * math.sqrt(a.variance + b.variance)
    why = f"the difference {difference:+.3f}, the margin of studies and seeds {margin:.3f}"
    if own and math.isnan(margin):
        return NOT_RUN, "stored without intervals: evaluate again", shown
    if own:
        return (REPRODUCED if difference > margin else NOT_REPRODUCED), why, shown
    return (UNDECIDED if not abs(difference) > margin else HOLDS if difference > 0 else FAILS), why, shown


def _shown(ours: Measured) -> tuple[str, ...]:
    interval = f"[{ours.low:.3f}, {ours.high:.3f}]"
    return f"{ours.spread.mean:.3f}", ours.where, str(ours.spread.n), _number(ours.spread.sd), interval, ours.protocol


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _presets() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["preset"] for row in table("published_systems")}


def _facts() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["fact"] for row in table("released_code")}
