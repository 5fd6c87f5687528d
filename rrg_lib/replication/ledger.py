"""The ledger: every printed value and every claim of the four papers, beside what the released code does and what we
measured, with a verdict.

A verdict says no more than was done. *Reproduced* and *not reproduced* are for the paper's own data alone, or for what
was counted; what is measured on drawn studies *holds* or *fails on IU-Phantom*, or makes there *no difference that
matters*, which is no replication, and is *undecided* when seeds and studies vary by more than the difference.
*Contradicted by its own table* needs a contradiction that the printed rounding cannot explain. Whatever needs data or a
GPU that we have not had is *not run*, and says why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from scipy import stats

from rrg_lib.models.decoding import PROTOCOLS
from rrg_lib.replication.claims import (
    DRAWN,
    FAILS,
    HOLDS,
    NO_DIFFERENCE,
    NOT_RUN,
    OPEN,
    OWN_DATA,
    UNDECIDED,
    Claim,
    Decision,
    by_results,
    claims,
    number,
    own_table,
    printed_labels,
)
from rrg_lib.replication.decision_rule import MIN_SEEDS
from rrg_lib.replication.exact_checks import (
    CMN,
    CONSISTENT,
    CONTRADICTED,
    NOT_REPRODUCED,
    REPRODUCED,
    STUDENT,
    check_value,
    run_check,
)
from rrg_lib.replication.printed_values import Published, published, same_elsewhere
from rrg_lib.replication.seed_scores import Measured, measured
from rrg_lib.runtime.package_data import table

if TYPE_CHECKING:
    from rrg_lib.experiments.results import StoredResult

#: Every verdict, in the order of the counts.
VERDICTS = (REPRODUCED, NOT_REPRODUCED, OPEN, HOLDS, FAILS, NO_DIFFERENCE, UNDECIDED, CONSISTENT, CONTRADICTED, NOT_RUN)


@dataclass(frozen=True)
class LedgerRow:
    """One printed value or one claim. Empty text stands for "does not apply"; `own_table` compares a claim with the
    numbers printed beside it, `wording` says whether the paper states a claim or we read it out of its tables,
    `protocol` what two scores must have in common to be compared."""

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
    wording: str = ""


COLUMNS = tuple(f.name for f in fields(LedgerRow))


def ledger(results: Sequence[StoredResult]) -> list[LedgerRow]:
    """A row for every value of `data/published.csv`, then one for every claim of `data/claims.csv`; `results` are our
    stored ones."""
    return [*(_value_row(value, results) for value in published()), *(_claim_row(claim, results) for claim in claims())]


def counts(rows: Sequence[LedgerRow]) -> dict[str, dict[str, int]]:
    """Rows per verdict, for values and for claims: {"value": {verdict: n}, "claim": {verdict: n}}, every verdict
    named."""
    found = Counter((row.kind, row.verdict) for row in rows)
    return {kind: {verdict: found[kind, verdict] for verdict in VERDICTS} for kind in ("value", "claim")}


# --- printed values ---------------------------------------------------------------------------------------------------


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
        value.text,
        _facts().get((value.paper, value.system), ""),
        "",
        *(_shown(ours) if ours else (shown, "", "", "", "", "")),
        verdict,
        why,
    )


def _ours_of(value: Published, preset: str | None, results: Sequence[StoredResult]) -> Measured | None:
    if preset is None:
        return None
    own = measured(
        results, preset, value.dataset, value.metric, profile="gpu", labels=printed_labels(preset), protocol="published"
    )
    drawn = (
        [measured(results, preset, DRAWN, value.metric, protocol=protocol) for protocol in PROTOCOLS]
        if own is None
        else []
    )
    enough = [found for found in drawn if found]
    return own or max(
        enough, key=lambda found: min(found.spread.n, MIN_SEEDS), default=None
    )  # the first with seeds enough


def _verdict_of(value: Published, preset: str | None, ours: Measured | None) -> tuple[str, str]:
    if check := check_value(value):
        return check.verdict, check.why
    if ours and ours.dataset in OWN_DATA and len(ours.protocols) > 1:
        return NOT_RUN, f"the seeds were not measured alike: {ours.measured_by}"
    if ours and ours.dataset in OWN_DATA and not math.isnan(ours.low + ours.high):
        low, high = another_training(ours)
        agrees = low <= value.high and high >= value.low
        return (
            REPRODUCED if agrees else NOT_REPRODUCED
        ), f"{value.text} against {low:.3f} to {high:.3f} for one training more, {ours.spread.n} seeds"
    earlier = same_elsewhere(value)
    quoted = ""
    if earlier:
        same = abs(earlier.value - value.value) <= earlier.half + value.half
        quoted = f"; {'equals' if same else f'not the {earlier.text} of'} {earlier.place}"
    return NOT_RUN, _why_not(value, preset) + quoted


def another_training(ours: Measured) -> tuple[float, float]:
    """Where one training more would score with 95 %, on other studies of the same kind: what a printed value, one
    training's, is held against."""
    sd = ours.pool.sd if ours.pool.freedom else ours.spread.sd
    freedom = ours.pool.freedom or ours.spread.n - 1
    of_seeds = 0.0 if math.isnan(sd) else float(stats.t.ppf(0.975, freedom)) * sd * math.sqrt(1 + 1 / ours.spread.n)
    reach = math.hypot(of_seeds, float(stats.norm.ppf(0.975)) * ours.s_studies)
    return ours.spread.mean - reach, ours.spread.mean + reach


def _why_not(value: Published, preset: str | None) -> str:
    if value.paper == STUDENT and value.where == "Table 4":
        return "the classifier's labels and split of that paper are not known"
    if value.where.startswith("Figure"):
        return "a sweep or a figure on the paper's own data"
    if (value.paper, value.where) == (CMN, "Table 1"):
        return "a count of MIMIC-CXR, which needs credentialed access"
    if preset is None or "cited" in value.note or "replicated by the R2GenCMN" in value.note:
        return "another group's system, which this book does not build"
    if value.dataset == "mimic_cxr":
        return (
            f"needs MIMIC-CXR (credentialed access) and a GPU: rrg train mimic_cxr/{preset} --profile "
            f"gpu "
            f"--data-root FOLDER"
        )
    return f"needs the real images and a GPU: rrg train iu_xray/{preset} --profile gpu --data-root FOLDER"


# --- claims -----------------------------------------------------------------------------------------------------------


def _claim_row(claim: Claim, results: Sequence[StoredResult]) -> LedgerRow:
    own, own_why = own_table(claim)
    ours = claim.kind not in ("check", "none")
    verdict, why, shown = by_results(claim, results) if ours else Decision(NOT_RUN, f"decided by {claim.decided_by}")
    if claim.check and claim.kind != "measurement":
        found = run_check(claim.check)
        if found.verdict in (CONSISTENT, CONTRADICTED):
            own, own_why = found.verdict, found.why
        if not ours:  # the check is all that decides it
            verdict, why, shown = found.verdict, found.why, (found.ours, *shown[1:])
    if own == CONTRADICTED:
        verdict, why = CONTRADICTED, own_why + (f" (ours: {why})" if shown[1] else "")
    elif own and claim.wording == "stated" and verdict == NOT_RUN and not shown[1]:
        verdict, why = CONSISTENT, f"{own_why}; not measured: {why}"
    return LedgerRow(
        "claim",
        claim.id,
        claim.paper,
        claim.where,
        claim.dataset,
        claim.system,
        ";".join(claim.metrics),
        claim.claim,
        claim.released_code,
        f"{own}: {own_why}" if own else "",
        *shown,
        verdict,
        why,
        claim.wording,
    )


def _shown(ours: Measured) -> tuple[str, ...]:
    interval = f"[{ours.low:.3f}, {ours.high:.3f}]"
    return f"{ours.spread.mean:.3f}", ours.where, str(ours.spread.n), number(ours.spread.sd), interval, ours.measured_by


def _presets() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["preset"] for row in table("published_systems") if row["preset"]}


def _facts() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["fact"] for row in table("released_code")}
