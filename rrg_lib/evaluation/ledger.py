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
from rrg_lib.evaluation.exact import CMN, CONSISTENT, CONTRADICTED, NOT_REPRODUCED, REPRODUCED, STUDENT, check_value, run_check
from rrg_lib.evaluation.ledger_claims import (
    DRAWN,
    FAILS,
    HOLDS,
    NOT_RUN,
    OWN_DATA,
    UNDECIDED,
    Decision,
    by_results,
    check_format,
    number,
    own_table,
    printed_labels,
)
from rrg_lib.evaluation.measured import Measured, measured
from rrg_lib.evaluation.published import Published, published, same_elsewhere
from rrg_lib.shipped import table

if TYPE_CHECKING:
    from rrg_lib.results import StoredResult

#: Every verdict, in the order of the counts.
VERDICTS = (REPRODUCED, NOT_REPRODUCED, HOLDS, FAILS, UNDECIDED, CONSISTENT, CONTRADICTED, NOT_RUN)


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


def ledger(results: Sequence[StoredResult]) -> list[LedgerRow]:
    """A row for every value of `data/published.csv`, then one for every claim of `data/claims.csv`; `results` are our stored ones."""
    return [*(_value_row(value, results) for value in published()), *(_claim_row(claim, results) for claim in claims())]


def claims() -> tuple[Mapping[str, str], ...]:
    """The rows of `data/claims.csv`. Raises `AnnotationError` for an id given twice, or an order that is none."""
    rows = table("claims")
    for row in rows:
        check_format(row)
    if twice := [name for name, n in Counter(row["id"] for row in rows).items() if n > 1]:
        raise AnnotationError(f"data/claims.csv: the id {twice[0]!r} stands twice; give each claim its own")
    return rows


def counts(rows: Sequence[LedgerRow]) -> dict[str, dict[str, int]]:
    """Rows per verdict, for values and for claims: {"value": {verdict: n}, "claim": {verdict: n}}, every verdict named."""
    found = Counter((row.kind, row.verdict) for row in rows)
    return {kind: {verdict: found[kind, verdict] for verdict in VERDICTS} for kind in ("value", "claim")}


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
    own = measured(results, preset, value.dataset, value.metric, profile="gpu", labels=printed_labels(preset))
    return own or measured(results, preset, DRAWN, value.metric)


def _verdict_of(value: Published, preset: str | None, ours: Measured | None) -> tuple[str, str]:
    if check := check_value(value):
        return check.verdict, check.why
    if ours and ours.dataset in OWN_DATA and len(ours.protocols) > 1:
        return NOT_RUN, f"the seeds were not measured alike: {ours.protocol}"
    if ours and ours.dataset in OWN_DATA and not math.isnan(ours.low + ours.high):
        agrees = ours.low <= value.high and ours.high >= value.low
        return (REPRODUCED if agrees else NOT_REPRODUCED), f"{value.text} against {ours.low:.3f} to {ours.high:.3f}, {ours.spread.n} seeds"
    earlier = same_elsewhere(value)
    quoted = (
        f"; {'equals' if abs(earlier.value - value.value) <= earlier.half + value.half else f'not the {earlier.text} of'} {earlier.place}"
        if earlier
        else ""
    )
    return NOT_RUN, _why_not(value, preset) + quoted


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
        return f"needs MIMIC-CXR (credentialed access) and a GPU: rrg train mimic_cxr/{preset} --profile gpu --data-root FOLDER"
    return f"needs the real images and a GPU: rrg train iu_xray/{preset} --profile gpu --data-root FOLDER"


# --- claims ---------------------------------------------------------------------------------------------------------------------------------------


def _claim_row(claim: Mapping[str, str], results: Sequence[StoredResult]) -> LedgerRow:
    own, own_why = own_table(claim)
    verdict, why, shown = by_results(claim, results) if claim["ours"] else Decision(NOT_RUN, f"decided by {claim['decided_by']}")
    if claim["check"]:
        found = run_check(claim["check"])
        if found.verdict in (CONSISTENT, CONTRADICTED):
            own, own_why = found.verdict, found.why
        if not claim["ours"]:  # the check is all that decides it
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


def _shown(ours: Measured) -> tuple[str, ...]:
    interval = f"[{ours.low:.3f}, {ours.high:.3f}]"
    return f"{ours.spread.mean:.3f}", ours.where, str(ours.spread.n), number(ours.spread.sd), interval, ours.protocol


def _presets() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["preset"] for row in table("published_systems")}


def _facts() -> dict[tuple[str, str], str]:
    return {(row["paper"], row["system"]): row["fact"] for row in table("released_code")}
